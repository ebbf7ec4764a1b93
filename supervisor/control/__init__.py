"""The control server, and the status it reports.

Imported by what makes a master. What is said over the socket is `gwctl.control`, which its clients know
too; what is asked for goes to the core as an event, and its answer comes back as an action.
"""
