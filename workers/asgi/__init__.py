"""ASGI requests and their extensions."""
