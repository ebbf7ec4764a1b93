"""What the world around a master is told: systemd, pid file, terminal."""
