"""WSGI calls, their bodies in and their responses out."""
