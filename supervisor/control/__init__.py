"""The control server, and the status it reports."""
