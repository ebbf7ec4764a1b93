"""The policy of the master: pure, deterministic, without IO, clock or randomness."""
