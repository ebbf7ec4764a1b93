"""From the `app` setting to something callable, or to a sentence that helps."""

from __future__ import annotations

import asyncio
import sys

import pytest

from gwctl.errors import AppLoadError
from gwctl.workers.app.loader import load

WSGI = "def application(environ, start_response): return []\n"
ASGI = "async def application(scope, receive, send): pass\n"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A function that writes modules of a project on sys.path and forgets them afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(**modules: str):
        for name, text in modules.items():
            path = tmp_path / (f"{name}.py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return tmp_path

    yield write
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) is None or str(tmp_path) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]


def failure(spec: str, worker: str = "auto") -> AppLoadError:
    with pytest.raises(AppLoadError) as caught:
        load(spec, worker, threads_given=False)
    return caught.value


def test_what_is_no_spec():
    assert str(failure("shop/wsgi.py")) == '"shop/wsgi.py" is a file, not a module. Write "shop.wsgi"'


@pytest.mark.parametrize(
    ("source", "worker", "threads_given", "expected"),
    [
        (WSGI, "auto", False, ("wsgi", "sync")),
        (WSGI, "auto", True, ("wsgi", "threads")),
        (WSGI, "threads", False, ("wsgi", "threads")),
        (WSGI, "asgi", False, ("wsgi", "asgi")),
        (ASGI, "auto", True, ("asgi", "asgi")),
        (ASGI, "sync", False, ("asgi", "sync")),
        (ASGI, "threads", False, ("asgi", "threads")),
    ],
)
def test_worker_class_and_interface(project, source, worker, threads_given, expected):
    project(shop=source)
    loaded = load("shop", worker, threads_given)
    assert (loaded.interface, loaded.worker_class.name) == expected
    assert loaded.spec == "shop:application"


@pytest.mark.parametrize(
    ("source", "spec"),
    [
        (WSGI, "shop:application"),
        ("def app(environ, start_response): return []\n", "shop:app"),
        ("def site(environ, start_response): return []\ndef helper(a, b): pass\n", "shop:site"),
        ("def create_app():\n  return lambda e, s: []\n", "shop:create_app()"),
        ("def make_app(debug=False):\n  return lambda e, s: []\n", "shop:make_app()"),
        (WSGI + "app = None\n", "shop:application"),
    ],
)
def test_a_module_alone(project, source, spec):
    project(shop=source)
    assert load("shop", "auto", threads_given=False).spec == spec


def test_a_module_with_several_applications(project):
    project(shop="def one(environ, start_response): pass\ndef two(environ, start_response): pass\n")
    assert str(failure("shop")) == "shop holds several applications: say which, shop:one or shop:two"


def test_a_module_with_none(project):
    project(shop="x = 1\n")
    assert str(failure("shop")) == (
        "shop has no application: no `application`, `app`, `create_app()` or `make_app()`, and nothing else "
        "that looks like one. Name it: shop:NAME (looked in shop.py)"
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "shop.wsgy",
            "cannot import shop.wsgy: no module named 'shop.wsgy'. There is shop/wsgi.py: did you mean shop.wsgi?",
        ),
        ("shp.wsgi", "cannot import shp.wsgi: no module named 'shp'. There is shop: did you mean shop.wsgi?"),
        (
            "shop.wsgi.application",
            (
                "cannot import shop.wsgi.application: no module named 'shop.wsgi.application'. shop.wsgi is a module, "
                "not a package. Did you mean shop.wsgi:application?"
            ),
        ),
        (
            "shop.wsgi:aplication",
            "shop.wsgi has no attribute 'aplication'. Did you mean shop.wsgi:application?",
        ),
        ("shop.wsgi:app", "shop.wsgi has no attribute 'app'. Did you mean shop.wsgi:application?"),
        ("shop.wsgi:site", "shop.wsgi has no attribute 'site' (looked in shop/wsgi.py)"),
        ("shop:wsgi", "shop:wsgi is a module, not an application. Did you mean shop.wsgi?"),
        ("shop.wsgi:RATE", "shop.wsgi:RATE is not callable: it is an int"),
        (
            "shop.wsgi:RATE()",
            "shop.wsgi:RATE is not callable, so it is no factory: write shop.wsgi:RATE without ()",
        ),
        (
            "shop.wsgi:make",
            "shop.wsgi:make takes no arguments: it looks like a factory. Did you mean shop.wsgi:make()?",
        ),
        ("shop.wsgi:make()", "shop.wsgi:make() returned None: does it lack a `return`?"),
        (
            "shop.wsgi:Shop",
            "shop.wsgi:Shop is a class: it must be called to give an application. Did you mean shop.wsgi:Shop()?",
        ),
        (
            "shop.wsgi:needs()",
            (
                "cannot call shop.wsgi:needs: needs() missing 1 required positional argument: 'config'. "
                "A factory's arguments are written as literals: shop.wsgi:needs('production')"
            ),
        ),
        ("shop.wsgi:later()", "shop.wsgi:later() is async: a factory is called before any event loop runs"),
        (
            "shop.wsgi:anything",
            (
                "shop.wsgi:anything takes any arguments, so it does not show whether it is WSGI or ASGI: "
                "set `worker` to sync, threads or asgi"
            ),
        ),
    ],
)
def test_mistakes(project, spec, message):
    project(
        **{"shop/__init__": "from shop import wsgi\n"},
        **{
            "shop/wsgi": WSGI
            + "RATE = 1\ndef make(): pass\ndef needs(config): pass\nasync def later(): pass\n"
            + "def anything(*args): pass\nclass Shop:\n  def __call__(self, environ, start_response): pass\n"
        },
    )
    error = failure(spec)
    assert str(error) == message
    assert error.traceback == ""


@pytest.mark.parametrize("spec", ["shop", "shop:application"])
def test_a_package_with_the_application_inside(project, spec):
    project(**{"shop/__init__": "", "shop/asgi": ASGI, "shop/wsgi": WSGI})
    assert str(failure(spec)).endswith(". There is shop/wsgi.py: did you mean shop.wsgi?")


def test_the_standard_library_is_not_what_was_meant(project):
    folder = project(shop=WSGI)
    assert str(failure("opcodes")) == (
        f"cannot import opcodes: no module named 'opcodes'. Looked in {folder} and the rest of sys.path; "
        "`chdir` and `pythonpath` set where."
    )


def test_a_missing_module_inside_is_not_the_one_that_was_named(project):
    folder = project(shop="import nothere\n")
    error = failure("shop")
    assert str(error) == "cannot import shop: ModuleNotFoundError: No module named 'nothere'"
    assert error.traceback.splitlines() == [
        f'  File "{folder}/shop.py", line 1, in <module>',
        "    import nothere",
        "ModuleNotFoundError: No module named 'nothere'",
    ]


def test_a_syntax_error_shows_line_and_caret(project):
    folder = project(shop="def f(:\n  pass\n")
    error = failure("shop")
    assert str(error) == f"cannot import shop: SyntaxError: invalid syntax ({folder}/shop.py, line 1)"
    assert "    def f(:\n          ^\n" in error.traceback


def test_sys_exit_at_import_is_a_failure(project):
    project(shop="import sys\nsys.exit(3)\n")
    assert str(failure("shop")) == "cannot import shop: it called sys.exit(3)"


def test_chained_exceptions_are_kept_without_our_frames(project):
    project(
        shop="def make():\n  try:\n    1/0\n  except ZeroDivisionError as e:\n    raise OSError('no') from e\n"
    )
    error = failure("shop:make()")
    assert str(error) == "cannot make the application: shop:make() failed: OSError: no"
    assert "ZeroDivisionError: division by zero" in error.traceback
    assert "The above exception was the direct cause" in error.traceback
    assert "gwctl" not in error.traceback
    assert "importlib" not in error.traceback


def test_worker_settles_what_cannot_be_told(project):
    project(shop="def application(*args): pass\n")
    assert load("shop", "asgi", threads_given=False).interface == "asgi"
    assert load("shop", "sync", threads_given=False).interface == "wsgi"


def test_asgi2_is_called_in_two_steps(project):
    project(
        shop="calls = []\nclass application:\n  def __init__(self, scope): calls.append(scope)\n"
        "  async def __call__(self, receive, send): calls.append((receive, send))\n"
    )
    loaded = load("shop", "auto", threads_given=False)
    assert loaded.interface == "asgi"
    asyncio.run(loaded.call("scope", "receive", "send"))
    assert sys.modules["shop"].calls == ["scope", ("receive", "send")]
