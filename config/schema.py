"""The settings' structs as data: what each setting is called, may hold and means.

Everything that treats settings alike (the walk over a file, GWCTL_ names, the reference,
``gwctl init``) reads `Setting` objects instead of type annotations. msgspec does the
reading of annotations; this module only gives its findings the words they are shown with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import inspect

from gwctl.config import toml_writer
from gwctl.config.model.admin import AdminSettings
from gwctl.config.model.control import ControlSettings
from gwctl.config.model.log import LogSettings
from gwctl.config.model.settings import MasterSettings, PoolSettings, Settings
from gwctl.config.model.statsd import StatsdSettings

Path = tuple[str, ...]
"""Below a pool (``("timeouts", "linger_s")``) or below the whole file, as said."""

REQUIRED: Final = msgspec.NODEFAULT
TABLES: Final[dict[str, type[msgspec.Struct]]] = {
    "master": MasterSettings,
    "control": ControlSettings,
    "admin": AdminSettings,
    "statsd": StatsdSettings,
    "log": LogSettings,
}
"""Tables that there is one of, beside those of the pools."""


class Setting(msgspec.Struct, frozen=True):
    """One field of a struct. `gwctl.config.model.settings` says what ``extra`` may hold."""

    name: str
    kind: inspect.Type
    default: Any
    """`REQUIRED` when there is none."""
    description: str
    example: Any
    words: tuple[str, ...]
    """What it chooses from, in the order of the settings' own text; empty for other kinds."""
    extra: dict[str, Any]

    @property
    def table(self) -> type[msgspec.Struct] | None:
        """The struct of a setting that is a table of settings."""
        return self.kind.cls if isinstance(self.kind, inspect.StructType) else None

    @property
    def otherwise(self) -> type[msgspec.Struct] | None:
        """The struct of a setting that is a value, or else a table of settings."""
        kinds = self.kind.types if isinstance(self.kind, inspect.UnionType) else ()
        return next((each.cls for each in kinds if isinstance(each, inspect.StructType)), None)

    @property
    def unit(self) -> str:
        """In which its number counts; empty for what is no measure."""
        if self.name.endswith("_bytes_per_s"):
            return "bytes per second"
        if self.name.endswith("_s"):
            return "seconds"
        return "bytes" if "_bytes" in self.name else ""

    @property
    def expected(self) -> str:
        """What to write, in words: ``a number of seconds``."""
        return self.expected_of(self.kind)

    def expected_of(self, kind: inspect.Type) -> str:
        """The same for one of the kinds that it may be."""
        match kind:
            case inspect.BoolType():
                return "true or false"
            case inspect.IntType():
                return f"a whole number of {self.unit}" if self.unit else "a whole number"
            case inspect.FloatType():
                return f"a number of {self.unit}" if self.unit else "a number"
            case inspect.StrType():
                return self.extra.get("form", "text") if isinstance(self.kind, inspect.UnionType) else "text"
            case inspect.LiteralType():
                return one_of(self.words)
            case inspect.UnionType():
                *others, last = map(self.expected_of, kind.types)
                return f"{', '.join(others)} or {last}"
            case inspect.VarTupleType():
                return "a list of texts"
        return "a table"


@cache
def settings_of(struct: type[msgspec.Struct]) -> dict[str, Setting]:
    """Describe the fields of a table of the settings, in their order."""
    annotations = get_type_hints(struct, include_extras=True)
    return {field.name: _setting(field, annotations[field.name]) for field in _tables()[struct].fields}


@cache
def _tables() -> Mapping[type[msgspec.Struct], inspect.StructType]:
    """Each as msgspec describes it, with all that is below: so it is asked once, for the whole."""
    return {table.cls: table for table in _tables_in(inspect.type_info(Settings))}


def _tables_in(kind: inspect.Type) -> Iterator[inspect.StructType]:
    match kind:
        case inspect.StructType():
            yield kind
            for field in kind.fields:
                yield from _tables_in(field.type)
        case inspect.Metadata():
            yield from _tables_in(kind.type)
        case inspect.DictType():
            yield from _tables_in(kind.value_type)
        case inspect.UnionType():
            for each in kind.types:
                yield from _tables_in(each)


def leaves(struct: type[msgspec.Struct], above: Path = ()) -> dict[Path, Setting]:
    """Describe everything below a struct that is no table, by its path there.

    A setting that is a value or a table is there, and what its table has, too.
    """
    found: dict[Path, Setting] = {}
    for name, setting in settings_of(struct).items():
        if setting.table is None:
            found[*above, name] = setting
        if (table := setting.table or setting.otherwise) is not None:
            found |= leaves(table, (*above, name))
    return found


@cache
def pool_leaves() -> dict[Path, Setting]:
    return leaves(PoolSettings)


@cache
def table_leaves(name: str) -> dict[Path, Setting]:
    """Describe what is below one of `TABLES`."""
    return leaves(TABLES[name])


def setting_at(path: Path) -> Setting | None:
    """Find the setting of a path in the whole file; for ``pool.web.env.DEBUG`` that of ``env``."""
    match path:
        case (table, *rest) if table in TABLES:
            return table_leaves(table).get(tuple(rest))
        case ("pool", _, "env", _):
            return pool_leaves()["env",]
        case ("pool", _, *rest):
            return pool_leaves().get(tuple(rest))
    return None


def one_of(words: Sequence[str]) -> str:
    """Write ``"a", "b" or "c"``."""
    quoted = [toml_writer.text(word) for word in words]
    return " or ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1])))


def bounds(kind: inspect.Type) -> str:
    """The range of a number, as in ``not in 1..1024``; empty for what has none."""
    match kind:
        case inspect.UnionType():
            return next(filter(None, map(bounds, kind.types)), "")
        case inspect.IntType() | inspect.FloatType():
            return _range(kind)
    return ""


def within(kind: inspect.IntType | inspect.FloatType, value: float) -> bool:
    """Tell whether a number keeps the bounds; nan keeps none."""
    return (
        (kind.ge is None or value >= kind.ge)
        and (kind.gt is None or value > kind.gt)
        and (kind.le is None or value <= kind.le)
        and (kind.lt is None or value < kind.lt)
    )


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    low = kind.ge if kind.ge is not None else kind.gt
    if low is None or kind.lt is not None:
        raise TypeError("bounds are written as ge or gt, and le")
    above = "above " if kind.ge is None else ""
    if kind.le is None:
        return f"{above or 'at least '}{toml_writer.number(low)}"
    if above:
        return f"above {toml_writer.number(low)}, at most {toml_writer.number(kind.le)}"
    return f"{toml_writer.number(low)}..{toml_writer.number(kind.le)}"


def _words(annotation: Any) -> tuple[str, ...]:
    """The words of the Literals in an annotation; msgspec tells them too, but sorted."""
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal:
        return arguments
    return tuple(word for each in arguments for word in _words(each))


def _setting(field: inspect.Field, annotation: Any) -> Setting:
    kind, schema, extra = field.type, {}, {}
    if isinstance(kind, inspect.Metadata):
        schema, extra = kind.extra_json_schema or {}, kind.extra or {}
        kind = kind.type
    default = field.default
    if field.default_factory is not msgspec.NODEFAULT:
        default = field.default_factory()
    example = next(iter(schema.get("examples", ())), None)
    return Setting(
        field.name, kind, default, schema.get("description", ""), example, _words(annotation), extra
    )
