"""Files read into records with their line: JSON in three layouts, CSV, TSV, Parquet, plain text.

Nothing is executed and nothing unpickled; a file that is not what was expected is refused with
its line.
"""

import bisect
import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from virtuelens.concepts.importing.drafts import Asked, Place
from virtuelens.concepts.lines import shown
from virtuelens.errors import PackError

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class UnreadableError(PackError):
    """A file cannot be read whatever its format: missing, empty, or in another encoding."""


@dataclass(frozen=True)
class Record:
    """One row or object; `number` counts those of a JSON value, which may stand in one line."""

    at: Place
    value: dict[str, Any]
    number: int = 1

    def wrong(self, message: str) -> PackError:
        """An error that names this place, to be raised."""
        which = f" (element {self.number})" if self.at.line == 1 < self.number else ""
        return PackError(visible(f"{self.at}{which}: {message}"))

    def get(self, name: str) -> Any:
        """The value of a column; `a.b` looks into an object.

        Raises: PackError: there is no such column.
        """
        value: Any = self.value
        for part in [name] if name in value else name.split("."):
            if not isinstance(value, dict) or part not in value:
                has = ", ".join(map(str, self.value)) or "nothing"
                raise self.wrong(f"{name!r} is missing: this row has {has}.")
            value = value[part]
        return value

    def said(self, name: str) -> str:
        """The words in a column, without white space around them.

        Raises: PackError: there is no such column, or no words in it.
        """
        return self.words(self.get(name), name)

    def words(self, value: Any, name: str) -> str:
        """A value that has to be words.

        Raises: PackError: it is something else, or empty.
        """
        if not isinstance(value, str):
            raise self.wrong(f"{name!r} is {type(value).__name__}, expected text.")
        if not value.strip():
            raise self.wrong(f"{name!r} is empty.")
        return value.strip()


def read_json_lines(path: str, asked: Asked) -> list[Record]:
    """The objects of a JSON-lines file; blank lines are passed over."""
    text = decoded(path, asked.encoding)
    if text.lstrip()[:1] == "[":
        raise PackError(f"{_name(path)}:1: begins with '[': expected JSON lines, one {{...}} each.")
    out = []
    # only \n ends a line: str.splitlines would also cut at U+2028 inside a string
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            at = Place(_name(path), number)
            value, end = _json(line.lstrip(), 0, at)
            if line.lstrip()[end:].strip():
                raise PackError(f"{at}: something follows the JSON value: expected one each line.")
            if not isinstance(value, dict):
                raise PackError(f"{at}: expected an object {{...}}, found a {type(value).__name__}")
            out.append(Record(at, value))
    return out


def read_array(path: str, asked: Asked) -> list[Record]:
    """The objects of a file that is one JSON array."""
    found = _elements(path, asked, "[", "]", "one JSON array [{...}, ...]")
    return _some(list(found), path, "no object in its array")


def read_objects(path: str, asked: Asked) -> list[Record]:
    """The objects of a file that is one JSON object of objects."""
    found = _elements(path, asked, "{", "}", "one JSON object of objects")
    return _some(list(found), path, "nothing in its object")


def read_object(path: str, asked: Asked) -> Record:
    """A file that is one JSON object."""
    text = decoded(path, asked.encoding)
    at = Place(_name(path), 1)
    value, end = _json(text.lstrip(), 0, at)
    if not isinstance(value, dict) or text.lstrip()[end:].strip():
        raise PackError(f"{at}: expected one JSON object and nothing after it.")
    return Record(at, value)


def read_csv(path: str, asked: Asked) -> list[Record]:
    """The rows of a comma-separated file under its header line."""
    rows = read_rows(path, asked, delimiter=",", quoted=True)
    at, header = next(rows, (Place(_name(path), 1), []))
    if len(set(header)) < len(header):
        twice = next(h for h in header if header.count(h) > 1)
        raise PackError(f"{at}: two columns are called {twice!r}.")
    out = []
    for place, row in rows:
        if len(row) != len(header):
            raise PackError(
                f"{place}: {len(row)} fields, the header names {len(header)}: is a comma in a "
                "field not quoted?"
            )
        out.append(Record(place, dict(zip(header, row, strict=True))))
    return _some(out, path, "no row under its header")


def read_rows(
    path: str, asked: Asked, *, delimiter: str, quoted: bool
) -> Iterator[tuple[Place, list[str]]]:
    """The rows of a delimited file without header, each with the line it begins in."""
    text = decoded(path, asked.encoding)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
    )
    begins = 1
    try:
        for row in reader:
            if row:
                yield Place(_name(path), begins), row
            begins = reader.line_num + 1
    except csv.Error as error:
        raise PackError(f"{Place(_name(path), begins)}: not readable as CSV ({error}).") from error


def read_parquet(path: str, asked: Asked) -> list[Record]:
    """The rows of a Parquet file, counted from 1."""
    import pyarrow as pa
    from pyarrow import parquet

    del asked  # Parquet has its own encoding
    _need(path)
    try:
        rows = parquet.read_table(path).to_pylist()
    except (pa.ArrowException, OSError) as error:
        said = str(error).split("\n", maxsplit=1)[0]
        raise PackError(f"{_name(path)}: not readable as Parquet ({said}).") from error
    records = [Record(Place(_name(path), i), row) for i, row in enumerate(rows, start=1)]
    return _some(records, path, "no row in it")


def decoded(path: str, encoding: str) -> str:
    """The text of a file without byte-order mark, lines ended by \\n.

    Raises: UnreadableError: absent, a folder, empty, or not in this encoding.
    """
    data = _need(path).read_bytes()
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UnreadableError(
            f"{_name(path)}:{line}: byte 0x{data[error.start]:02x} is not valid {encoding}: name "
            "the file's encoding, for example --encoding iso-8859-1."
        ) from error
    except LookupError as error:
        raise UnreadableError(f"No text encoding {encoding!r}: try utf-8 or iso-8859-1.") from error
    if not text.strip():
        raise UnreadableError(f"{_name(path)} is empty.")
    return text.replace("\r\n", "\n")


def _elements(
    path: str, asked: Asked, opens: str, closes: str, expected: str
) -> Iterator[Record]:
    """The elements of one array or object, each with the line it begins in."""
    text = decoded(path, asked.encoding)
    ends = [m.start() for m in re.finditer("\n", text)]

    def place(at: int) -> Place:
        return Place(_name(path), bisect.bisect_left(ends, at) + 1)

    def after(at: int, mark: str) -> int:
        at = _space(text, at)
        if text[at : at + 1] != mark:
            raise PackError(f"{place(at)}: not valid JSON (expected {mark!r}).")
        return _space(text, at + 1)

    at = _space(text, 0)
    if text[at] != opens:
        raise PackError(f"{place(at)}: begins with {text[at]!r}: expected {expected}.")
    at, number = _space(text, at + 1), 0
    while text[at : at + 1] != closes:
        begins, number = at, number + 1
        if opens == "{":
            _, at = _json(text, at, place(at))
            at = after(at, ":")
        value, at = _json(text, at, place(at))
        if not isinstance(value, dict):
            found = type(value).__name__
            raise PackError(f"{place(begins)}: found a {found}: expected {expected}.")
        yield Record(place(begins), value, number)
        at = _space(text, at)
        if text[at : at + 1] != closes:
            at = after(at, ",")
    if text[at + 1 :].strip():
        raise PackError(f"{place(at)}: something follows the end of the JSON value.")


def _some(records: list[Record], path: str, missing: str) -> list[Record]:
    if not records:
        raise UnreadableError(f"{_name(path)} is empty: there is {missing}.")
    return records


def _json(text: str, at: int, place: Place) -> tuple[Any, int]:
    try:
        value, end = json.JSONDecoder().raw_decode(text, at)
        if _SURROGATE.search(text, at, end):  # else all of it is Unicode, as the file is
            json.dumps(value, ensure_ascii=False).encode()
        return value, end
    except UnicodeEncodeError:
        raise PackError(f"{place}: half of a surrogate pair (\\ud800 to \\udfff).") from None
    except json.JSONDecodeError as error:
        line = place.line + text.count("\n", at, error.pos)
        raise PackError(f"{place.file}:{line}: not valid JSON ({error.msg}).") from error
    except (RecursionError, ValueError) as error:  # too deep; an integer of thousands of digits
        raise PackError(f"{place}: not usable JSON (too deep or too large).") from error


def _space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _need(path: str) -> Path:
    file = Path(path)
    if file.is_dir():
        raise UnreadableError(
            f"{_name(path)} is a folder: name its files, or use the format dataset."
        )
    if not file.is_file():
        raise UnreadableError(f"{_name(path)} is missing: expected a file.")
    try:
        file.open("rb").close()
    except OSError as error:
        raise UnreadableError(f"{_name(path)} cannot be read ({error.strerror}).") from error
    return file


def _name(path: str) -> str:
    return shown(Path(path))


def short_name(path: str) -> str:
    """A file with its folder: many published files are called alike."""
    return "/".join(Path(path).resolve().parts[-2:])


def visible(message: str) -> str:
    """One line without control characters: it may quote a file."""
    said = " ".join(message.split())
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in said)
