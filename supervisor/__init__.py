"""The master process: binds, forks, watches and replaces workers; never imports the application.

Imported by the commands that start one. It knows nothing of how a worker serves, but for the one door through
which it forks (`children.fork`), and starts neither threads nor event loops of others.
"""
