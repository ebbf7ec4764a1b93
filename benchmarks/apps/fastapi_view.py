"""A FastAPI view: a route with a number in it, a query parameter, a JSON answer."""

from __future__ import annotations

from fastapi import FastAPI

asgi = FastAPI()


@asgi.get("/items/{item}")
async def show(item: int, q: str) -> dict[str, int | str]:
    return {"item": item, "q": q}
