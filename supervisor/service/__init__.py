"""What the world around a master is told: systemd, pid file, terminal.

Imported by what makes a master. It reads the state of a fleet and changes nothing in it.
"""
