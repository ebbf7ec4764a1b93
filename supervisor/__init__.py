"""The master process: binds, forks, watches and replaces workers; never imports the application."""
