"""What a file looks like from outside: its layout and the names in its first record."""

import csv
import json
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

Shape = Literal["lines", "array", "objects", "object", "csv", "tsv", "text", "parquet", "folder",
                "unknown"]  # fmt: skip
_HEAD = 1_000_000


class Look(NamedTuple):
    """Layout, keys of the first record (or columns), and the first row where there is no header."""

    shape: Shape
    keys: frozenset[str] = frozenset()
    first: tuple[str, ...] = ()


def look(path: str) -> Look:
    """A guess from the first megabyte; never an error."""
    file = Path(path)
    if file.is_dir():
        return Look("folder")
    try:
        with file.open("rb") as f:
            data = f.read(_HEAD)
    except OSError:
        return Look("unknown")
    if data[:4] == b"PAR1":
        return Look("parquet", _parquet_columns(path))
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace").lstrip()
    if text[:1] in {"{", "["}:
        return _json(text)
    return _plain(text, is_csv=file.suffix.casefold() == ".csv")


def _plain(text: str, *, is_csv: bool) -> Look:
    first = re.split(r"[\r\n]", text, maxsplit=1)[0]
    if "\t" in first:
        return Look("tsv", first=tuple(first.split("\t")))
    if is_csv:
        try:
            return Look("csv", frozenset(next(csv.reader([first]), [])))
        except csv.Error:  # a field of more than 128 thousand characters
            return Look("csv")
    return Look("text" if text else "unknown")


def _json(text: str) -> Look:
    if text[0] == "[":
        return Look("array", _keys(_first(text, text.find("{"))))
    value = _first(text, 0)
    if value is None:  # longer than what was looked at, or broken: try the first value inside
        inner = _first(text, text.find("{", 1))
        return Look("objects", _keys(inner)) if inner else Look("unknown")
    _, end = json.JSONDecoder().raw_decode(text)
    if text[end:].strip():
        return Look("lines", _keys(value))
    if value and all(isinstance(v, dict) for v in value.values()):
        return Look("objects", _keys(next(iter(value.values()))))
    return Look("object", _keys(value))


def _first(text: str, at: int) -> dict[str, Any] | None:
    if at < 0:
        return None
    try:
        value, _ = json.JSONDecoder().raw_decode(text, at)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _keys(value: dict[str, Any] | None) -> frozenset[str]:
    """The keys, and those of objects inside as a.b."""
    out = set(value or ())
    for key, inner in (value or {}).items():
        if isinstance(inner, dict):
            out |= {f"{key}.{k}" for k in inner}
    return frozenset(out)


def _parquet_columns(path: str) -> frozenset[str]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return frozenset(parquet.read_schema(path).names)
    except (pa.ArrowException, OSError):
        return frozenset()
