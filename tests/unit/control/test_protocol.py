"""Lines of the control socket: whatever a client sends, the master answers or refuses it in words."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.control import protocol as messages
from gwctl.watched import Served, Watched

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


REQUESTS = [
    b'{"jsonrpc": "2.0", "id": 1, "method": "status", "params": {}}',
    b'{"id": "x", "method": "scale", "params": {"pool": "web", "delta": -1}}',
    b'{"id": 1, "method": "events", "params": {"kinds": ["worker_*"], "since_s": 1.5, "last": 3}}',
    b'{"id": 1, "method": "log_level", "params": {"level": "debug", "for_s": 60}}',
    b'{"method": "event", "params": {"id": 1, "event": {"kind": "worker_ready"}}}',
]


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


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "`pool`"),
        ({"size": 4}, "`pool`"),
        ({"pool": None, "size": 4}, "$.pool"),
        ({"pool": ["web"], "size": 4}, "$.pool"),
        ({"pool": "", "size": 4}, "$.pool"),
        ({"pool": "web"}, "neither `size` nor `delta`"),
        ({"pool": "web", "sise": 4}, "neither `size` nor `delta`"),
        ({"pool": "web", "size": None, "delta": None}, "neither `size` nor `delta`"),
        ({"pool": "web", "size": 4, "delta": 1}, "both `size` and `delta`"),
        *(({"pool": "web", "size": bad}, "$.size") for bad in (0, -1, 10**30, 1025, "4", True, 1.5, [4], {})),
        *(({"pool": "web", "delta": bad}, "$.delta") for bad in (-5000, 1025, 10**30, "1", False, 0.5)),
    ],
)
def test_a_scale_says_which_pool_and_how_many(params: dict[str, object], said: str) -> None:
    error = refused(json.dumps({"id": 7, "method": "scale", "params": params}).encode())
    assert (error.id, error.failure.code) == (7, messages.WRONG_PARAMETERS)
    assert said in error.failure.message


@given(
    st.one_of(
        st.binary(),
        st.tuples(
            st.sampled_from(REQUESTS), st.integers(0, 100), st.integers(0, 20), st.binary(max_size=8)
        ).map(lambda each: each[0][: each[1]] + each[3] + each[0][each[1] + each[2] :]),
    )
)
def test_whatever_comes_is_a_request_or_refused(line: bytes) -> None:
    """Bytes of any kind, and requests with a piece of them exchanged."""
    with suppress(messages.RequestError):
        assert isinstance(messages.decode_request(line)[1], messages.Method)
    with suppress(ValueError):
        messages.decode_news(messages.decode_incoming(line))


@pytest.mark.parametrize("quick", [None, 1, 0, "true", [], {}])
def test_a_stop_is_quick_or_not(quick: object) -> None:
    error = refused(json.dumps({"id": 7, "method": "stop", "params": {"quick": quick}}).encode())
    assert (error.failure.code, "$.quick" in error.failure.message) == (messages.WRONG_PARAMETERS, True)


@pytest.mark.parametrize("method", messages.METHODS)
@pytest.mark.parametrize("params", [None, [], [1], "web", 4, True])
def test_parameters_are_an_object(method: str, params: object) -> None:
    error = refused(json.dumps({"id": 7, "method": method, "params": params}).encode())
    assert (error.failure.code, "$.params" in error.failure.message) == (messages.NOT_A_REQUEST, True)


@pytest.mark.parametrize(
    "line",
    [
        {"method": "status"},
        {"id": None, "method": "status"},
        {"id": True, "method": "status"},
        {"id": 1.5, "method": "status"},
        {"id": 1 << 70, "method": "status"},
        {"id": 1},
        {"id": 1, "method": None},
        {"id": 1, "method": ["status"]},
        {"id": 1, "method": "status", "jsonrpc": "1.0"},
        {"id": 1, "method": "status", "jsonrpc": 2.0},
        [{"id": 1, "method": "status"}],
        "status",
        None,
    ],
)
def test_what_is_no_request_is_refused(line: object) -> None:
    assert refused(json.dumps(line).encode()).failure.code == messages.NOT_A_REQUEST


@pytest.mark.parametrize("method", ["", "STATUS", " status", "status ", "Status", "__class__"])
def test_an_unknown_method_is_told_which_there_are(method: str) -> None:
    error = refused(json.dumps({"id": 7, "method": method}).encode())
    assert (error.id, error.failure.code) == (7, messages.NO_SUCH_METHOD)
    assert "status, metrics, health, reload" in error.failure.message


@pytest.mark.parametrize("method", messages.METHODS)
def test_what_a_newer_command_adds_is_ignored(method: str) -> None:
    needed = {
        "scale": {"pool": "web", "delta": 0},
        "dump": {"worker": "web.2"},
        "profile": {"worker": "web.2"},
        "recycle": {"pool": "web"},
        "take_over": {"pid": 12, "patience_s": 60},
    }
    params = needed.get(method, {})
    plain = messages.decode_request(json.dumps({"id": 7, "method": method, "params": params}).encode())
    more = {"id": 7, "method": method, "params": params | {"new": 1}, "new": [2]}
    assert messages.decode_request(json.dumps(more).encode()) == plain


def test_what_an_older_command_sends_is_understood() -> None:
    """It wrote out its defaults: no size, a change of nothing."""
    line = b'{"id": 1, "method": "scale", "params": {"pool": "web", "size": %s, "delta": %s}}'
    assert messages.decode_request(line % (b"4", b"0"))[1] == messages.Scale("web", 4, 0)
    assert messages.decode_request(line % (b"null", b"-1"))[1] == messages.Scale("web", delta=-1)


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
    assert messages.decode_news(messages.decode_incoming(messages.encode_progress(news))) == news
    assert b"watched" not in messages.encode_progress(news)
    seen = Watched("web", "watch", 3.0, Served(1, 10, 0, 0.02), Served(2, 4, 1), 2.0, 2.0, 50)
    news = messages.Progress(3, "web", "watch", "", "3 of 30 s", seen)
    assert messages.decode_news(messages.decode_incoming(messages.encode_progress(news))) == news
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
