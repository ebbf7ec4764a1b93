"""What a worker tells: counters, access log, tracebacks, throttled lines."""
