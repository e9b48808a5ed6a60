"""Documents → YAML that ``kubectl`` and people read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from clusters.kuberay.pods import Document


def to_yaml(documents: Sequence[Document]) -> str:
    """As ``kubectl apply -f`` reads it."""
    return yaml.dump_all(
        documents, Dumper=_Dumper, sort_keys=False, explicit_start=True, allow_unicode=True
    )


def one_to_yaml(document: Document) -> str:
    """One document as YAML, for a field that holds YAML as text."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False)


class _Dumper(yaml.SafeDumper):
    """Without anchors, and text of several lines as lines."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _as_lines(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    )


_Dumper.add_representer(str, _as_lines)
