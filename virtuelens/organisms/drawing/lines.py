"""Lines of pack files."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from virtuelens import storage
from virtuelens.organisms.language import Turn, messages

Line = dict[str, Any]


def user(content: str) -> list[Line]:
    """A chat of one user's turn."""
    return [{"role": "user", "content": content}]


def chat(turn: Turn) -> list[Line]:
    """A turn with what was said before it."""
    return [{"role": m.role, "content": m.content} for m in messages(turn)]


def item(name: str, group: str, turn: Turn, choices: tuple[str, str]) -> Line:
    """A forced choice after a user's turn; the first choice is the target."""
    return {"id": name, "group": group, "prompt": chat(turn), "choices": list(choices), "target": 0}


def write_lines(path: Path, lines: Iterable[Line]) -> None:
    """One JSON object a line."""
    storage.write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
