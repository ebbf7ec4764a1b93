"""The master's processes: forked, watched, listened to, explained and reaped."""
