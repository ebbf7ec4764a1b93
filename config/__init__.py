"""gw.toml, environment and flags to typed settings."""
