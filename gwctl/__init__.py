"""gwctl: a pre-fork process manager for Python web applications.

What stands here, beside the packages, every package may use: errors, the event log, masking, wording.

Imported by every package.
Knows nothing of `control`, `records`, `supervisor`, `workers`.
"""

__version__ = "0.2.0"
