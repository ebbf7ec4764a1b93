"""The application: found, imported, started; what it may do to its process, and how that is bounded."""
