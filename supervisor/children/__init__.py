"""The master's processes: forked, watched, listened to, explained and reaped.

Imported by the master, the control server and the upgrade. It reports facts as events and decides
nothing: who is started, told and killed, and what is said of it, is the core's.
"""
