"""An ASGI application under the WSGI runners, and the loop it runs on."""
