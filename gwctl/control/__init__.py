"""The control socket as both its ends see it: paths, messages, the client, and finding a master."""
