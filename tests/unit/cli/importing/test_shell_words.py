"""Which words of a command line start a server."""

from __future__ import annotations

import pytest

from gwctl.cli.importing import shell_words

STARTS = {
    "gunicorn shop": ("gunicorn", ["shop"]),
    "/srv/venv/bin/gunicorn shop": ("gunicorn", ["shop"]),
    "python -m uvicorn main:app": ("uvicorn", ["main:app"]),
    "python3.12 -u -m gunicorn shop": ("gunicorn", ["shop"]),
    "exec gunicorn shop": ("gunicorn", ["shop"]),
    "PORT=1 gunicorn -b :$PORT shop": ("gunicorn", ["-b", ":1", "shop"]),
    "env PORT=1 gunicorn -b :${PORT} shop": ("gunicorn", ["-b", ":1", "shop"]),
    "poetry run gunicorn shop": ("gunicorn", ["shop"]),
    "uv run --frozen uvicorn main:app": ("uvicorn", ["main:app"]),
    "tini -- gunicorn shop": ("gunicorn", ["shop"]),
    "sh -c 'gunicorn shop'": ("gunicorn", ["shop"]),
    "/bin/bash -lc 'cd /srv && exec gunicorn shop'": ("gunicorn", ["shop"]),
    "bash -c \"sh -c 'gunicorn shop'\"": ("gunicorn", ["shop"]),
    "manage migrate && gunicorn shop || false": ("gunicorn", ["shop"]),
    "fastapi run app.py --port 80": ("fastapi", ["app.py", "--port", "80"]),
    "gunicorn -b :${PORT:-80} -w ${W-2} shop": ("gunicorn", ["-b", ":80", "-w", "2", "shop"]),
    "gunicorn -b :$UNKNOWN shop": ("gunicorn", ["-b", ":$UNKNOWN", "shop"]),
    "gunicorn \\\n  -w 2 \\\n  shop": ("gunicorn", ["-w", "2", "shop"]),
    "waitress-serve --port=80 shop:app": ("waitress", ["--port=80", "shop:app"]),
    "ddtrace-run gunicorn shop": ("gunicorn", ["shop"]),
}


@pytest.mark.parametrize("text", STARTS)
def test_a_server_is_found(text: str) -> None:
    found = shell_words.find(shell_words.split(text), "", {})
    assert found is not None
    assert (found.server.name, found.words) == STARTS[text]


@pytest.mark.parametrize(
    "text",
    ["", "npm start", "pip install gunicorn", "python manage.py runserver", "python -m http.server", "sh script.sh", "sh -c",
     "echo gunicorn", "python -m", "&& ;"],
)  # fmt: skip
def test_no_server_is_found(text: str) -> None:
    assert shell_words.find(shell_words.split(text), "", {}) is None


def test_what_stands_before_it_is_told() -> None:
    found = shell_words.find(
        shell_words.split("migrate && ddtrace-run gosu shop:www gunicorn shop; sleep 1"), "Procfile:1", {}
    )
    assert found is not None
    assert [(line.setting, line.value) for line in found.lines] == [("user", "shop"), ("group", "www")]
    assert [left.origin for left in found.left] == [
        "Procfile:1 ddtrace-run",
        "Procfile:1 migrate",
        "Procfile:1 sleep 1",
    ]
