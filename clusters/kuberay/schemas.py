"""Strict validation against the schemas of KubeRay's CRDs: a field they do not know is an error.

A Kubernetes API server drops unknown fields of a custom resource without a word, so a typo would be
found when the cluster does not do what was asked.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from clusters.kuberay.pods import Document
from cogaudio_rl.errors import ConfigError, DataError

Schema = dict[str, Any]
Schemas = Mapping[str, Schema]
"""A closed schema by kind."""

_VERSION = "v1"
_INT32 = {"minimum": -(2**31), "maximum": 2**31 - 1}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_METADATA: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63},
        "namespace": {"type": "string"},
        "labels": _TEXTS,
        "annotations": _TEXTS,
    },
    "required": ["name"],
    "additionalProperties": False,
}
"""Of an object itself: CRDs leave it to Kubernetes."""


@functools.cache
def read_schemas(folder: Path) -> Schemas:
    """CRDs (``*.yaml``, as KubeRay's helm chart has them) in a folder. Raises DataError."""
    schemas: dict[str, Schema] = {}
    for path in sorted(folder.glob("*.yaml")):
        definition = yaml.load(path.read_text("utf-8"), Loader=_LOADER)
        if not isinstance(definition, dict):
            continue
        if definition.get("kind") != "CustomResourceDefinition":
            continue
        spec = definition["spec"]
        for version in spec["versions"]:
            if version["name"] == _VERSION:
                schemas[spec["names"]["kind"]] = _of_object(spec, version["schema"])
    if not schemas:
        raise DataError(
            f"{str(folder)!r} holds no CustomResourceDefinition with version {_VERSION}"
        )
    return schemas


def check(document: Document, schemas: Schemas) -> None:
    """Raises ConfigError naming the first field that is wrong. Kinds of Kubernetes' own pass."""
    if not str(document.get("apiVersion", "")).startswith("ray.io/"):
        return
    kind = document.get("kind", "")
    if kind not in schemas:
        known = ", ".join(sorted(schemas))
        raise ConfigError(f"kind {kind!r} has no schema; the schemas are of: {known}")
    for path, message in problems(document, schemas[kind]):
        raise ConfigError(f"{kind} {path}: {message}")


def problems(document: Document, schema: Schema) -> Iterator[tuple[str, str]]:
    """(path, what is wrong) of each error."""
    from jsonschema import Draft202012Validator, validators

    validator = validators.extend(
        Draft202012Validator, {"x-kubernetes-list-map-keys": _keys_are_unique}
    )
    for error in validator(schema).iter_errors(document):
        yield ".".join(str(part) for part in error.absolute_path), error.message


def closed(schema: Schema) -> Schema:
    """The same schema in JSON Schema's words, with no field beside those that it names."""
    out: Schema = {}
    for key, value in schema.items():
        if key in ("properties", "patternProperties"):
            out[key] = {name: closed(one) for name, one in value.items()}
        elif key in ("items", "additionalProperties", "not") and isinstance(value, dict):
            out[key] = closed(value)
        else:
            out[key] = (
                value  # anyOf too: it narrows what stands beside it, closed it would refuse all
            )
    if schema.get("x-kubernetes-int-or-string"):
        out["type"] = ["integer", "string"]
    elif schema.get("nullable"):
        out["type"] = [schema["type"], "null"]
    if schema.get("format") == "int32":
        out = {**_INT32, **out}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields", False)
    if schema.get("type") == "object" and not is_open:
        out.setdefault("additionalProperties", False)
    return out


def _of_object(spec: Schema, schema: Schema) -> Schema:
    whole = closed(schema["openAPIV3Schema"])
    properties = whole["properties"] | {
        "metadata": _METADATA,
        "apiVersion": {"const": f"{spec['group']}/{_VERSION}"},
        "kind": {"const": spec["names"]["kind"]},
    }
    required = ["apiVersion", "kind", "metadata", "spec"]
    return whole | {"properties": properties, "required": required}


def _keys_are_unique(
    _validator: Any, keys: list[str], items: Any, _schema: Schema
) -> Iterator[Any]:
    from jsonschema import ValidationError

    if not isinstance(items, list):
        return
    seen: set[tuple[Any, ...]] = set()
    for item in items:
        at = tuple(item.get(key) for key in keys) if isinstance(item, dict) else ()
        if at in seen:
            yield ValidationError(f"{dict(zip(keys, at, strict=True))} is listed twice")
        seen.add(at)


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
