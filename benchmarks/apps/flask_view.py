"""A Flask view: a route with a number in it, a query parameter, a JSON answer."""

from __future__ import annotations

from typing import Any

from flask import Flask, request

wsgi = Flask(__name__)


@wsgi.get("/items/<int:item>")
def show(item: int) -> dict[str, Any]:
    return {"item": item, "q": request.args["q"]}
