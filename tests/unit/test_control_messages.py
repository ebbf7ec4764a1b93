"""Lines of the control socket: whatever a client sends, the master answers or refuses it in words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.supervisor import control_messages as messages

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def refused(line: bytes) -> messages.RequestError:
    with pytest.raises(messages.RequestError) as caught:
        messages.decode_request(line)
    return caught.value


def decoded(line: bytes) -> tuple[object, object] | messages.RequestError:
    try:
        return messages.decode_request(line)
    except messages.RequestError as error:
        return error


@given(st.binary())
def test_any_bytes_are_a_request_or_refused(line: bytes) -> None:
    outcome = decoded(line)
    assert isinstance(outcome, tuple) or outcome.failure.message


@given(JSON, st.sampled_from([*messages.METHODS, "x"]), JSON)
def test_any_json_is_a_request_or_refused(number: object, method: str, params: object) -> None:
    line = json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode()
    outcome = decoded(line)
    if isinstance(outcome, messages.RequestError):
        assert outcome.id in {None, name_of(number)}
    else:
        assert outcome[0] == number
        assert isinstance(outcome[1], messages.METHODS[method])


def name_of(number: object) -> object:
    return number if isinstance(number, int | str) else None


def test_nesting_cannot_exhaust_the_master() -> None:
    deep = b'{"a":' * 10_000 + b"1" + b"}" * 10_000
    assert (
        refused(b'{"id": 1, "method": "status", "params": ' + deep + b"}").failure.message
        == "nested too deeply"
    )


@pytest.mark.parametrize("params", [{"size": 0}, {"size": 10**30}, {"delta": -5000}, {"size": "4"}, {}])
def test_a_scale_is_bounded(params: dict[str, object]) -> None:
    pool = {"pool": "web"} if params else {}
    error = refused(json.dumps({"id": 7, "method": "scale", "params": pool | params}).encode())
    assert (error.id, error.failure.code) == (7, messages.WRONG_PARAMETERS)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("status", messages.Status()),
        ("reload", messages.Reload()),
        ("stop", messages.Stop(quick=True)),
        ("scale", messages.Scale("web", 4)),
        ("scale", messages.Scale("web", delta=-1)),
    ],
)
def test_what_the_command_sends_is_what_the_master_reads(name: str, method: messages.Method) -> None:
    assert messages.decode_request(messages.encode_request(name, method, 3)) == (3, method)


def test_what_the_master_sends_is_what_the_command_reads() -> None:
    news = messages.Progress(3, "web", "boot", "ok", "0.4 s")
    assert messages.decode_incoming(messages.encode_progress(news)).params == news
    assert messages.decode_incoming(messages.encode_result(3, {"text": "x"})).result == {"text": "x"}
    failure = messages.Failure(1, "no", {"traceback": "y"})
    assert messages.decode_incoming(messages.encode_error(3, failure)).error == failure


def test_answers_are_text_whatever_the_machine_calls_its_things() -> None:
    """Folders, programs and exceptions may have names that are not UTF-8; the master must say them."""
    result = {"config": "/srv/\udcff", "workers": [{"request": "\ud800"}], "\udcfe": 1}
    line = messages.encode_result(5, result)
    assert json.loads(line)["result"] == {
        "config": "/srv/\\udcff",
        "workers": [{"request": "\\ud800"}],
        "\\udcfe": 1,
    }
    failure = messages.Failure(messages.WRONG_PARAMETERS, "in use by \udcff", {"traceback": "\udcff"})
    assert b"in use by \\\\udcff" in messages.encode_error(5, failure)
