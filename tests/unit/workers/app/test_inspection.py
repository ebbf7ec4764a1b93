"""WSGI or ASGI, told by looking."""

from __future__ import annotations

import functools

import pytest

from gwctl.workers.app.inspection import inspect_application, looks_like_application


def wsgi(environ, start_response):
    return []


async def asgi(scope, receive, send):
    pass


class WsgiObject:
    def __call__(self, environ, start_response):
        return []

    def method(self, environ, start_response):
        return []


class AsgiObject:
    async def __call__(self, scope, receive, send):
        pass

    async def method(self, scope, receive, send):
        pass


class OldAsgi:
    def __init__(self, scope):
        self.scope = scope

    async def __call__(self, receive, send):
        pass


class WsgiIterable:
    """PEP 3333's application class: constructing it is the call."""

    def __init__(self, environ, start_response):
        pass

    def __iter__(self):
        return iter(())


class Endpoint:
    """Starlette's endpoints: awaited after construction."""

    def __init__(self, scope, receive, send):
        pass

    def __await__(self):
        yield


def catch_all(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def timed(method):
    @functools.wraps(method)
    def wrapper(self, *args, **kwargs):
        return method(self, *args, **kwargs)

    return wrapper


class WrappedWsgi:
    @timed
    def __call__(self, environ, start_response):
        return []


class WrappedAsgi:
    @timed
    async def __call__(self, scope, receive, send):
        pass


@functools.wraps(asgi)
def asgi_to_wsgi(environ, start_response):
    return []


def returns_coroutine(scope, receive, send):
    return asgi(scope, receive, send)


def with_extra(environ, start_response, debug=False):
    return []


@pytest.mark.parametrize(
    ("thing", "kind"),
    [
        (wsgi, "wsgi"),
        (lambda e, s: [], "wsgi"),
        (WsgiObject(), "wsgi"),
        (WsgiObject().method, "wsgi"),
        (WsgiIterable, "wsgi"),
        (functools.partial(with_extra, debug=True), "wsgi"),
        (with_extra, "wsgi"),
        (catch_all(wsgi), "wsgi"),
        (WrappedWsgi(), "wsgi"),
        (asgi_to_wsgi, "wsgi"),
        (asgi, "asgi"),
        (AsgiObject(), "asgi"),
        (AsgiObject().method, "asgi"),
        (functools.partial(asgi), "asgi"),
        (catch_all(asgi), "asgi"),
        (WrappedAsgi(), "asgi"),
        (returns_coroutine, "asgi"),
        (lambda s, r, x: None, "asgi"),
        (Endpoint, "asgi"),
        (OldAsgi, "asgi2"),
        (lambda scope: None, "asgi2"),
        (lambda *args: None, "unknown"),
    ],
)
def test_what_it_is(thing, kind):
    finding = inspect_application(thing)
    assert (finding.kind, finding.problem) == (kind, "")


async def generator(scope, receive, send):
    yield


async def two(environ, start_response):
    pass


async def none():
    pass


@pytest.mark.parametrize(
    ("thing", "problem"),
    [
        (7, "is not callable: it is an int"),
        (functools, "is a module, not an application"),
        (
            generator,
            "is an async generator (it has a `yield`): an ASGI application sends with `await send(...)`",
        ),
        (two, "is an async function called as (environ, start_response): ASGI is (scope, receive, send)"),
        (none, "is an async function without arguments: an async factory cannot be called here"),
        (WsgiObject, "is a class: it must be called to give an application"),
        (lambda: None, "takes no arguments: it looks like a factory"),
        (
            lambda config: None,
            "takes one argument; WSGI is (environ, start_response), ASGI is (scope, receive, send)",
        ),
    ],
)
def test_what_it_is_not(thing, problem):
    assert inspect_application(thing).problem == problem


def test_frameworks():
    from django.core.handlers.asgi import ASGIHandler
    from django.core.handlers.wsgi import WSGIHandler
    from falcon import App as FalconWsgi
    from falcon.asgi import App as FalconAsgi
    from fastapi import FastAPI
    from flask import Flask
    from quart import Quart
    from starlette.applications import Starlette

    for application in (Flask("x"), FalconWsgi()):
        assert inspect_application(application).kind == "wsgi"
        assert looks_like_application(application)
    for application in (FastAPI(), Starlette(), Quart("x"), FalconAsgi()):
        assert inspect_application(application).kind == "asgi"
        assert looks_like_application(application)
    # Instances need settings; the class's method is what is looked at.
    assert inspect_application(WSGIHandler.__new__(WSGIHandler)).kind == "wsgi"
    assert inspect_application(ASGIHandler.__new__(ASGIHandler)).kind == "asgi"


def test_only_names_that_are_certain_count_when_searching():
    assert looks_like_application(wsgi)
    assert looks_like_application(asgi)
    assert not looks_like_application(lambda a, b: None)
    assert not looks_like_application(WsgiIterable)
    assert not looks_like_application(print)
