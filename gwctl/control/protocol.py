"""What is said over the control socket: one JSON object a line, JSON-RPC 2.0 in shape.

    -> {"jsonrpc": "2.0", "id": 1, "method": "reload", "params": {}}
    <- {"jsonrpc": "2.0", "method": "progress", "params": {"id": 1, "pool": "web", "phase": "boot", ...}}
    <- {"jsonrpc": "2.0", "id": 1, "result": {"text": "adopted generation 2 ...", ...}}
    <- {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "...", "data": {...}}}

``events`` has what happened, one notification for each, and ends with an answer unless it is to follow:

    <- {"jsonrpc": "2.0", "method": "event", "params": {"id": 1, "event": {"kind": "worker_ready", ...}}}
    <- {"jsonrpc": "2.0", "method": "lost", "params": {"id": 1, "count": 12}}

``status``, ``metrics``, ``health``, ``diff`` and ``log_level`` are answered at once; ``reload``,
``rollback``, ``restart``, ``stop`` and ``scale`` when they are done, with progress on the way. Fields that a
side does not know are ignored, so that a newer command can talk to an older master. What a request needs
and has not, or has in another type or size, refuses it.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from gwctl.config.model.types import POOL_NAME, WEEK_S, WORKERS_MAX
from gwctl.json_text import encode
from gwctl.profile.lines import SECONDS_MAX
from gwctl.watched import Watched

REQUEST_BYTES_MAX: Final = 1 << 16
ANSWER_BYTES_MAX: Final = 1 << 24

# Codes of errors: those of JSON-RPC 2.0 for malformed requests, small positive ones for ours.
REFUSED: Final = 1
"""The request was understood and did not succeed; ``data`` says more."""
UNAVAILABLE: Final = 2
"""Not now: too many clients or requests."""
FORBIDDEN: Final = 3
NOT_JSON: Final = -32700
NOT_A_REQUEST: Final = -32600
NO_SUCH_METHOD: Final = -32601
WRONG_PARAMETERS: Final = -32602


LevelName = Literal["debug", "info", "warning", "error"]
"""Of the log and of events, the least severe first."""


class Status(msgspec.Struct, frozen=True):
    """Answered with the document of `gwctl.supervisor.control.status`."""


class Metrics(msgspec.Struct, frozen=True):
    """Answered with the figures of `gwctl.control.metrics.MasterMetrics`."""


class Health(msgspec.Struct, frozen=True):
    """Answered with a `gwctl.control.metrics.MasterHealth`."""


class Diff(msgspec.Struct, frozen=True):
    """Answered at once with `gwctl.control.difference.Differences`: what a reload would change."""


PoolName = Annotated[str, msgspec.Meta(pattern=rf"\A{POOL_NAME}\Z")]
PoolNames = Annotated[tuple[PoolName, ...], msgspec.Meta(max_length=100)]


class Reload(msgspec.Struct, frozen=True, omit_defaults=True):
    """A new generation; answered when it is adopted or refused."""

    pools: PoolNames = ()
    """Of these pools only, new ones among them; empty: of all."""


class Restart(msgspec.Struct, frozen=True, omit_defaults=True):
    """A reload without overlap; answered when the new workers serve, or one of them could not be had."""

    pools: PoolNames = ()
    """Of these pools only; empty: of all."""


class Upgrade(msgspec.Struct, frozen=True):
    """The program on disk in the place of the one that runs; answered when a generation of it is adopted."""


class Rollback(msgspec.Struct, frozen=True):
    """Back to the generation that is kept; answered when it serves, or is not gone back to."""


class Stop(msgspec.Struct, frozen=True):
    """Answered when the last worker is gone, just before the master is."""

    quick: bool = False


class Scale(msgspec.Struct, frozen=True, omit_defaults=True):
    """Set the pool's ``size``, change it by ``delta``, or ``auto``: one of them is given."""

    pool: Annotated[str, msgspec.Meta(min_length=1)]
    size: Annotated[int, msgspec.Meta(ge=1, le=WORKERS_MAX)] | None = None
    delta: Annotated[int, msgspec.Meta(ge=-WORKERS_MAX, le=WORKERS_MAX)] | None = None
    auto: bool = False
    """As the settings say: their size, or within their bounds by load."""

    def __post_init__(self) -> None:
        if self.auto:
            if self.size is not None or self.delta is not None:
                raise ValueError("`auto` is given beside a number: which one is meant?")
            return
        if self.size is None and self.delta is None:
            raise ValueError("neither `size` nor `delta` is given: how many workers shall there be?")
        if self.size is not None and self.delta:
            raise ValueError("both `size` and `delta` are given: which one is meant?")


class Events(msgspec.Struct, frozen=True, omit_defaults=True):
    """What happened lately and is still kept, the oldest first; answered when all of it is sent."""

    follow: bool = False
    """Go on with what happens from now on. That is never answered."""
    since_s: Annotated[float, msgspec.Meta(ge=0)] | None = None
    """Only what is not older."""
    last: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Only so many of what was."""
    kinds: Annotated[
        tuple[Annotated[str, msgspec.Meta(max_length=100)], ...], msgspec.Meta(max_length=100)
    ] = ()
    """Only these; a ``*`` stands for any part of a name. Empty: all."""
    level: LevelName = "debug"
    """Only this and what is worse."""


class LogLevel(msgspec.Struct, frozen=True, omit_defaults=True):
    """Have the log say more, or less; without ``level`` say how it is."""

    level: LevelName | None = None
    for_s: Annotated[float, msgspec.Meta(gt=0, le=WEEK_S)] | None = None
    """For so long; None: until the next reload."""

    def __post_init__(self) -> None:
        if self.for_s is not None and self.level is None:
            raise ValueError("`for_s` is given without `level`: which one shall it be?")


class Dump(msgspec.Struct, frozen=True):
    """Say what workers are at, with their stacks; answered when they have said it, after a second at most."""

    worker: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    """``web.2``, or all of ``web``."""


class Requests(msgspec.Struct, frozen=True):
    """Say what workers serve at this moment; answered as `Dump` is, and sooner."""

    worker: Annotated[str, msgspec.Meta(max_length=100)] = ""
    """``web.2``, or all of ``web``; empty: all."""


class Profile(msgspec.Struct, frozen=True, omit_defaults=True):
    """Sample workers' stacks for some seconds; answered when they have begun, with a socket for each.

    The sockets are descriptors that come with the answer, in the order of its ``workers``: what each worker
    says over its own is in `gwctl.profile.lines`. Who does not take them has asked for nothing.
    """

    worker: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    """``web.2``, or all of ``web``."""
    seconds: Annotated[float, msgspec.Meta(gt=0, le=SECONDS_MAX)] = 10.0
    memory: bool = False
    """Note allocations instead, by tracemalloc, which slows the workers down."""


class TakeOver(msgspec.Struct, frozen=True):
    """Give copies of all listening sockets to another master, which is to take this one's place.

    Answered at once with an `Offer` and descriptors, or refused. Only for root and the master's own user.
    """

    pid: Annotated[int, msgspec.Meta(ge=1, le=1 << 31)]
    """Of the new master, as that sees it: for the log."""
    patience_s: Annotated[float, msgspec.Meta(gt=0, le=WEEK_S)]
    """It is ready within this, or never."""


class Offered(msgspec.Struct, frozen=True):
    """An address in force, and how many of the descriptors are its listening sockets."""

    name: str
    """As of `gwctl.supervisor.listeners.stored.name_of`."""
    count: Annotated[int, msgspec.Meta(ge=0)]


class Offer(msgspec.Struct, frozen=True):
    """What answers `TakeOver`. Its descriptors: the line between both, the control socket, the rest."""

    pid: int
    program: str
    control_inode: tuple[int, int]
    listeners: tuple[Offered, ...]


class Recycle(msgspec.Struct, frozen=True, omit_defaults=True):
    """Replace workers that serve, one after the other; answered at once with their pids."""

    pool: Annotated[str, msgspec.Meta(min_length=1)]
    slot: Annotated[int, msgspec.Meta(ge=0, lt=WORKERS_MAX)] | None = None
    """Only that in this slot."""


Method = (
    Status
    | Metrics
    | Health
    | Diff
    | Reload
    | Rollback
    | Restart
    | Upgrade
    | Stop
    | Scale
    | Recycle
    | Events
    | LogLevel
    | Dump
    | Requests
    | Profile
    | TakeOver
)

METHODS: Final[dict[str, type[Method]]] = {
    "status": Status,
    "metrics": Metrics,
    "health": Health,
    "reload": Reload,
    "upgrade": Upgrade,
    "rollback": Rollback,
    "restart": Restart,
    "stop": Stop,
    "scale": Scale,
    "recycle": Recycle,
    "events": Events,
    "log_level": LogLevel,
    "dump": Dump,
    "requests": Requests,
    "profile": Profile,
    "diff": Diff,
    "take_over": TakeOver,
}


class Progress(msgspec.Struct, frozen=True):
    """A phase that was reached; ``outcome`` as in `gwctl.supervisor.core.actions.Progress`."""

    id: int | str
    pool: str
    phase: str
    outcome: str
    detail: str = ""
    watched: Watched | msgspec.UnsetType = msgspec.UNSET
    """Of ``watch`` and ``watch-all``: both generations side by side, as far as they have got."""


class Happened(msgspec.Struct, frozen=True):
    """One event, as of `gwctl.records.happening`."""

    id: int | str
    event: dict[str, Any]


class Lost(msgspec.Struct, frozen=True):
    """So many events, of whatever kind, are kept no more and were not sent."""

    id: int | str
    count: int


News = Progress | Happened | Lost
_NEWS: Final[dict[str, type[News]]] = {"progress": Progress, "event": Happened, "lost": Lost}


class Request(msgspec.Struct, frozen=True):
    method: str
    id: Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)] | str
    params: dict[str, Any] = {}
    jsonrpc: Literal["2.0"] = "2.0"


class Failure(msgspec.Struct, frozen=True):
    code: int
    message: str
    data: dict[str, Any] = {}


class Incoming(msgspec.Struct, frozen=True):
    """Any line from the master: news has a ``method``, a last word ``result`` or ``error``."""

    method: str | None = None
    id: int | str | None = None
    params: msgspec.Raw = msgspec.Raw()
    result: dict[str, Any] | None = None
    error: Failure | None = None


_decode_request: Final = msgspec.json.Decoder(Request).decode
_decode_incoming: Final = msgspec.json.Decoder(Incoming).decode


class RequestError(Exception):
    """A line that is no request we know; ``failure`` is the answer, ``id`` whom to give it to."""

    def __init__(self, failure: Failure, request: int | str | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.id = request


def decode_request(line: bytes) -> tuple[int | str, Method]:
    """Parse one line of a client.

    Raises:
        RequestError: With the answer to give.
    """
    try:
        request = _decode_request(line)
    except msgspec.ValidationError as error:
        raise RequestError(Failure(NOT_A_REQUEST, str(error))) from None
    except ValueError as error:  # a DecodeError; bytes that are no text; digits without end
        raise RequestError(Failure(NOT_JSON, str(error))) from None
    except RecursionError:
        raise RequestError(Failure(NOT_JSON, "nested too deeply")) from None
    kind = METHODS.get(request.method)
    if kind is None:
        text = f"no method {request.method!r}: there are {', '.join(METHODS)}"
        raise RequestError(Failure(NO_SUCH_METHOD, text), request.id)
    try:
        return request.id, msgspec.convert(request.params, kind)
    except msgspec.ValidationError as error:
        raise RequestError(Failure(WRONG_PARAMETERS, str(error)), request.id) from None


def decode_incoming(line: bytes) -> Incoming:
    """Parse one line of the master.

    Raises:
        ValueError: It is not one.
    """
    try:
        return _decode_incoming(line)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def decode_news(incoming: Incoming) -> News | None:
    """Understand a line that has a ``method``; None: it is of a kind that is not known here.

    Raises:
        ValueError: It is not what its method says.
    """
    kind = _NEWS.get(incoming.method or "")
    try:
        return None if kind is None else msgspec.json.decode(incoming.params, type=kind)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def encode_request(method: str, params: Method, request: int) -> bytes:
    return encode(Request(method, request, msgspec.to_builtins(params))) + b"\n"


def encode_progress(progress: Progress) -> bytes:
    return encode({"jsonrpc": "2.0", "method": "progress", "params": progress}) + b"\n"


def encode_event(request: int | str, event: bytes) -> bytes:
    """``event`` is JSON already."""
    params = {"id": request, "event": msgspec.Raw(event)}
    return encode({"jsonrpc": "2.0", "method": "event", "params": params}) + b"\n"


def encode_lost(request: int | str, count: int) -> bytes:
    return encode({"jsonrpc": "2.0", "method": "lost", "params": Lost(request, count)}) + b"\n"


def encode_result(request: int | str, result: dict[str, Any]) -> bytes:
    return encode({"jsonrpc": "2.0", "id": request, "result": result}) + b"\n"


def encode_error(request: int | str | None, failure: Failure) -> bytes:
    return encode({"jsonrpc": "2.0", "id": request, "error": failure}) + b"\n"
