"""How an utterance lies in the columns of a Parquet file, derived from the fields it has.

Column ``audio`` is struct{bytes, path}: the file as it was, and a name to know its format by. Beside it
stand ``sample_rate_hz``, ``num_samples`` and the other fields under their own names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pyarrow as pa

from cogaudio_rl.types import Utterance

_AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_CLIP = {"sample_rate_hz": pa.int64(), "num_samples": pa.int64()}
_PLAIN = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}

ALWAYS_THERE = ("audio", *_CLIP)
"""Columns without which a shard cannot be heard."""


def to_row(utterance: Utterance, encoded: bytes, suffix: str) -> dict[str, Any]:
    """A row of :data:`SCHEMA`; ``encoded`` is the file of its sound, and ``suffix`` that file's."""
    row = _packed(utterance)
    clip = row.pop("audio")
    if clip is None:
        return row | dict.fromkeys(ALWAYS_THERE)
    del clip["path"]
    return row | clip | {"audio": {"bytes": encoded, "path": utterance.id + suffix}}


def to_record(row: dict[str, Any], path: str) -> dict[str, Any]:
    """What a manifest's line would hold of a row, with its sound at ``path``."""
    record = {name: _unpacked(value) for name, value in row.items()}
    clip = {name: record.pop(name) for name in _CLIP}
    record["audio"] = None if clip["num_samples"] is None else {"path": path, **clip}
    return record


def _packed(value: Any) -> Any:
    """A value as arrow takes it; a mapping becomes a list of pairs, since columns have fixed names."""
    if is_dataclass(value):
        return {f.name: _packed(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return [{"key": key, "value": entry} for key, entry in value.items()]
    return value


def _unpacked(value: Any) -> Any:
    """Undo :func:`_packed`."""
    if isinstance(value, dict):
        return {name: _unpacked(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return {pair["key"]: pair["value"] for pair in value}
    return value


def _arrow_type(hint: Any) -> Any:
    """The arrow type of a field of a value; None is allowed everywhere."""
    if get_origin(hint) is UnionType:
        (hint,) = (part for part in get_args(hint) if part is not type(None))
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        return pa.struct([(f.name, _arrow_type(hints[f.name])) for f in fields(hint)])
    if get_origin(hint) is Mapping:
        key, value = get_args(hint)
        return pa.list_(pa.struct([("key", _arrow_type(key)), ("value", _arrow_type(value))]))
    return _PLAIN[hint]


def _hf_feature(kind: Any) -> Any:
    """What `datasets` calls an arrow type, as it writes that into a file's metadata."""
    if kind == _AUDIO:
        return {"_type": "Audio"}
    if pa.types.is_struct(kind):
        return {field.name: _hf_feature(field.type) for field in kind}
    if pa.types.is_list(kind):
        return [_hf_feature(kind.value_type)]
    dtype = "float64" if pa.types.is_float64(kind) else str(kind)
    return {"_type": "Value", "dtype": dtype}


def _schema() -> Any:
    own = {field.name: field.type for field in _arrow_type(Utterance) if field.name != "audio"}
    columns = {"audio": _AUDIO, **_CLIP, **own}
    features = {name: _hf_feature(kind) for name, kind in columns.items()}
    told = json.dumps({"info": {"features": features}})
    return pa.schema(list(columns.items()), metadata={"huggingface": told})


SCHEMA = _schema()
"""Every column, with what `datasets` has to know to see the Audio feature in it."""
