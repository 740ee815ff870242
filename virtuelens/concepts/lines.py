"""JSON lines and TOML read strictly: every problem is kept with its file and line."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from virtuelens.errors import PackError


class Line(NamedTuple):
    """One JSON object of a file and where it stands."""

    path: Path
    number: int
    value: dict[str, Any]


class Problems:
    """What is wrong with a pack, in the order found; reading goes on after each."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, path: Path, line: int | None, message: str) -> None:
        """Note a problem of a line, or of a file as a whole."""
        where = shown(path) if line is None else f"{shown(path)}:{line}"
        self.found.append(f"{where}: {message}")

    def raise_any(self) -> None:
        """Raise the first problem, saying how many others there are.

        Raises: PackError: something was noted.
        """
        if self.found:
            others = len(self.found) - 1
            raise PackError(self.found[0] + (f" (and {others} more like this)" if others else ""))


def shown(path: Path) -> str:
    """The path as a message names it: relative to where we are, if it is below."""
    path = path.absolute()
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def read_lines(path: Path, problems: Problems) -> Iterator[Line]:
    """The objects of a JSON-lines file; blank lines are passed over.

    Raises: PackError: the file cannot be read at all.
    """
    text = _decoded(path, problems)
    # only \n ends a line: str.splitlines would also cut at U+2028 inside a string
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(
                line, object_pairs_hook=_no_key_twice, parse_constant=_no_constant
            )
            json.dumps(value, ensure_ascii=False).encode()
        except json.JSONDecodeError as error:
            problems.add(path, number, f"not valid JSON ({error.msg}, column {error.colno})")
        except UnicodeEncodeError:
            problems.add(path, number, "half of a surrogate pair (\\ud800 to \\udfff)")
        except RecursionError:
            problems.add(path, number, "nested too deeply: expected one flat object")
        except ValueError as error:
            problems.add(path, number, str(error))
        else:
            if isinstance(value, dict):
                yield Line(path, number, value)
            else:
                kind = type(value).__name__
                problems.add(path, number, f"expected an object {{...}}, found a {kind}")


def read_toml(path: Path) -> tuple[dict[str, Any], str]:
    """The table in a TOML file, and its text.

    Raises: PackError: missing, not UTF-8, not TOML (with the line), or nested too deeply.
    """
    problems = Problems()
    text = _decoded(path, problems)
    problems.raise_any()
    try:
        return tomllib.loads(text), text
    except RecursionError:
        problems.add(path, None, "nested too deeply")
        problems.raise_any()
        raise
    except tomllib.TOMLDecodeError as error:
        said = str(error)
        at = re.search(r"\(at line (\d+), column \d+\)", said)
        line = int(at[1]) if at else text.count("\n") + 1
        said = re.sub(r" ?\(at [^)]*\)$", "", said)
        problems.add(path, line, f"not valid TOML ({said})")
        problems.raise_any()
        raise


def line_of_key(text: str, keys: tuple[str, ...]) -> int:
    """The line where a (nested) key of a TOML text is set, or where its table begins; else 1."""
    table: tuple[str, ...] = ()
    best, depth = 1, 0
    for number, line in enumerate(text.split("\n"), start=1):
        if header := re.match(r"\s*\[([^\[\]]+)\]", line):
            table = tuple(k.strip().strip("\"'") for k in header[1].split("."))
            here = table
        elif key := re.match(r"\s*([\w.\"'-]+)\s*=", line):
            here = (*table, *(k.strip("\"'") for k in key[1].split(".")))
        else:
            continue
        if len(here) > depth and here == keys[: len(here)]:
            best, depth = number, len(here)
    return best


def _decoded(path: Path, problems: Problems) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise PackError(f"{shown(path)} is missing.") from error
    except OSError as error:
        raise PackError(f"{shown(path)} cannot be read ({error.strerror}).") from error
    if data.startswith(b"\xef\xbb\xbf"):
        problems.add(path, 1, "begins with a byte-order mark: save it as UTF-8 without BOM")
        data = data[3:]
    try:
        return data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        byte = data[error.start]
        problems.add(path, line, f"byte 0x{byte:02x} is not valid UTF-8: save the file as UTF-8")
        return data.decode("utf-8", errors="replace").replace("\r\n", "\n")


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [k for k, _ in pairs]
        twice = next(k for k in names if names.count(k) > 1)
        raise ValueError(f"key {twice!r} stands twice in one object")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")
