"""Text as corpora hold it: bytes of some encoding, punctuation of some mood, JSON of some quality."""

from __future__ import annotations

import codecs
import hashlib
import json
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from cogaudio_rl.errors import DataError

_CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Each Chinese character by itself, or a number behind one would not be read as a number.
_LETTER = rf"[^\W_{_CJK}]"
_WORD = re.compile(rf"\d+(?:[.,:]\d+)*%?|[{_CJK}]|{_LETTER}+(?:'{_LETTER}+)*")
_GAP = re.compile(rf"(?<=[{_CJK}]) | (?=[{_CJK}])")
_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "＇": "'", "`": "'"})


def without_punctuation(text: str) -> str:
    """The words alone, so that "走吧？！" and "走吧……" are one text.

    Apostrophes and separators inside words and numbers stay; case stays.
    """
    words = _WORD.findall(unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)))
    return _GAP.sub("", " ".join(words))


def lexical(text: str) -> str:
    """What two sentences must share to be the same words: no punctuation, no case."""
    return without_punctuation(text).casefold()


def family_of(text: str) -> str:
    """A name for everything that has these words; empty where there are none.

    For corpora that do not number their sentences: the same words never stand in two splits.
    """
    words = lexical(text).encode("utf-8", "surrogatepass")
    return hashlib.sha256(words).hexdigest()[:16] if words else ""


def is_chinese(text: str) -> bool:
    return re.search(f"[{_CJK}]", text) is not None


def decode(raw: bytes, encodings: Sequence[str]) -> tuple[str, str]:
    """The text and the encoding it was in: by its mark, else UTF-8, else the first that fits.

    UTF-8 goes first because no other encoding's accents or Chinese pass for it, while nearly
    everything passes for GB 2312 or Latin-1. Raises DataError if none fits.
    """
    tried = _marked(raw) or ("utf-8", *encodings)
    for encoding in tried:
        try:
            return raw.decode(encoding).removeprefix("\ufeff"), _plain_name(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError(f"cannot be decoded as {' or '.join(tried)}; save it as UTF-8")


def _marked(raw: bytes) -> tuple[str, ...]:
    if raw.startswith(codecs.BOM_UTF8):
        return ("utf-8-sig",)
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return ("utf-16",)
    if b"\0" in raw:  # No text of one-byte units holds a zero; UTF-16 without its mark does.
        return ("utf-16-be", "utf-16-le") if raw[:1] == b"\0" else ("utf-16-le", "utf-16-be")
    return ()


def _plain_name(encoding: str) -> str:
    return {"utf-8-sig": "utf-8", "utf-16-le": "utf-16", "utf-16-be": "utf-16"}.get(
        encoding, encoding
    )


class Pairs(list[tuple[str, Any]]):
    """A JSON object as it stands in the file: a dict would drop keys that come twice."""


def parse_json(text: str, *, pairs: bool = False) -> Any:
    """``text`` as JSON, its objects as :class:`Pairs` if asked. Raises DataError if it is none."""
    try:
        return json.loads(text, object_pairs_hook=Pairs if pairs else None)
    except RecursionError:
        raise DataError("not JSON: nested too deeply") from None
    except ValueError as error:
        raise DataError(f"not JSON ({error})") from None
