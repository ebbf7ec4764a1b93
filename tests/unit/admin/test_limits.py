"""Places: so many altogether, half of them for one client, and each is given back whatever happens."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from gwctl.admin.http import RefusedError
from gwctl.admin.limits import Places


def test_places_are_given_back() -> None:
    places = Places(2, "streams")
    for _ in range(5):
        with pytest.raises(ZeroDivisionError), places.one("a"):
            raise ZeroDivisionError
    with (
        places.one(""),
        places.one(""),
        pytest.raises(RefusedError, match="2 streams are open already"),
        places.one(""),
    ):
        pass
    with places.one(""), places.one(""):
        pass


def test_one_client_takes_half_of_them() -> None:
    places = Places(4, "streams")
    with ExitStack() as taken:
        taken.enter_context(places.one("a"))
        taken.enter_context(places.one("a"))
        with pytest.raises(RefusedError, match="2 streams of yours are open already") as caught:
            taken.enter_context(places.one("a"))
        assert (caught.value.status, caught.value.fields) == (503, (("retry-after", "1"),))
        taken.enter_context(places.one("b"))
        taken.enter_context(places.one(""))
        with pytest.raises(RefusedError, match="4 streams are open already"):
            taken.enter_context(places.one("c"))


def test_who_is_not_known_apart_takes_all() -> None:
    places = Places(4, "streams")
    with ExitStack() as taken:
        for _ in range(4):
            taken.enter_context(places.one(""))
