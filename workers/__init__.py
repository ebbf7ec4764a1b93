"""What runs in a worker process: boot, the HTTP/1.1 engine and its three runners."""
