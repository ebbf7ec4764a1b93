"""The ``app`` setting as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.config.app_spec import AppSpec, AppSpecError, parse

GOOD = {
    "shop": AppSpec("shop"),
    "shop.wsgi": AppSpec("shop.wsgi"),
    "shop.wsgi:application": AppSpec("shop.wsgi", ("application",)),
    " shop : api.app ": AppSpec("shop", ("api", "app")),
    "shop:create_app()": AppSpec("shop", ("create_app",), call=True),
    "shop:Shop.make('x', 1, debug=True)": AppSpec(
        "shop", ("Shop", "make"), call=True, args=("x", 1), kwargs={"debug": True}
    ),
}


@pytest.mark.parametrize(("text", "spec"), GOOD.items(), ids=GOOD)
def test_good(text: str, spec: AppSpec) -> None:
    assert parse(text) == spec


NEITHER = (
    " is neither an attribute (application, api.app) nor a factory with literals as arguments "
    "(create_app(), create_app('production'))"
)
BAD = {
    "": ("names no application", 'Write "module:application"'),
    ":app": ("'' is not the name of a module", 'Write "module:application"'),
    "shop/wsgi.py": ("is a file, not a module", 'Write "shop.wsgi"'),
    "./shop/wsgi.py:app": ("is a file, not a module", 'Write "shop.wsgi:app"'),
    "wsgi.py:app": ("is a file, not a module", 'Write "wsgi:app"'),
    "etc/shop.toml": ("is a settings file, not an application", "Give it with -c etc/shop.toml"),
    "my-shop:app": ("'my-shop' is not the name of a module", 'Did you mean "my_shop:app"?'),
    "shop..wsgi": ("'shop..wsgi' is not the name of a module", 'Write "module:application"'),
    "class:app": ("'class' is not the name of a module", 'Write "module:application"'),
    "shop:": ("has nothing after the colon", 'Write "shop:application", or "shop" alone'),
    "shop:app[0]": (f"'app[0]'{NEITHER}", ""),
    "shop:make(x)": (f"'make(x)'{NEITHER}", ""),
    "shop:make(**{})": (f"'make(**{{}})'{NEITHER}", ""),
    "shop:make()()": (f"'make()()'{NEITHER}", ""),
    "shop:make(": (f"'make('{NEITHER}", ""),
}


@pytest.mark.parametrize(("text", "told"), BAD.items(), ids=BAD)
def test_bad(text: str, told: tuple[str, str]) -> None:
    with pytest.raises(AppSpecError) as caught:
        parse(text)
    assert (str(caught.value), caught.value.hint) == told


@given(st.text(max_size=20) | st.text(st.sampled_from("ab.:()[]'\"=*, "), max_size=20))
def test_any_text_is_a_spec_or_told(text: str) -> None:
    try:
        spec = parse(text)
    except AppSpecError:
        return
    assert spec.module
