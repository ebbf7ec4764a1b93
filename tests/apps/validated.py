"""The WSGI test applications inside wsgiref's validator, which watches both sides of PEP 3333.

The validator allows ``read`` of ``wsgi.input`` only with a size; what frameworks do beyond the
letter there is not what is tested, so the stream that they see is the server's own.
"""

from __future__ import annotations

import importlib
from wsgiref.validate import InputWrapper, validator


def _validated(module: str, name: str):
    application = getattr(importlib.import_module(module), name)

    def unwrapped(environ, start_response):
        if isinstance(environ["wsgi.input"], InputWrapper):
            environ["wsgi.input"] = environ["wsgi.input"].input
        return application(environ, start_response)

    return validator(unwrapped)


def bare():
    return _validated("wsgi_bare", "application")


def flask():
    return _validated("flask_app", "app")


def falcon():
    return _validated("falcon_app", "wsgi")


def django():
    return _validated("django_project.wsgi", "application")
