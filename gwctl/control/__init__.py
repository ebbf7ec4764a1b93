"""The control socket as both its ends see it: paths, messages, the client, the status, and finding a master.

Imported by the commands and the supervisor, of which it knows neither.
"""
