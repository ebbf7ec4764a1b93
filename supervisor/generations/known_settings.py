"""Settings as another version of gwctl handed them over: what this one knows of them.

Settings that this version does not know are left out, new ones have their defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import msgspec

from gwctl.errors import UpgradeError

Table = TypeVar("Table", bound=msgspec.Struct)


def struct_from(table: type[Table], values: Mapping[str, Any]) -> Table:
    """Make a struct of settings from those of ``values`` that it has.

    Raises:
        UpgradeError: A value is none that this version allows.
    """
    try:
        return msgspec.convert(_known(table, values), table)
    except msgspec.ValidationError as error:
        raise UpgradeError(f"a setting in force is none that this version knows: {error}") from None


def _known(kind: Any, value: Any) -> Any:
    """``value`` without the fields that the structs in ``kind`` do not have."""
    if isinstance(value, Mapping):
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            types = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
            return {name: _known(types[name], each) for name, each in value.items() if name in types}
        if get_origin(kind) is dict:
            return {name: _known(get_args(kind)[1], each) for name, each in value.items()}
    if get_origin(kind) in {Union, UnionType}:
        for each in get_args(kind):
            if isinstance(each, type) and issubclass(each, msgspec.Struct):
                return _known(each, value)
    return value
