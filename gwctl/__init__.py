"""gwctl: a pre-fork process manager for Python web applications."""

__version__ = "0.2.0"
