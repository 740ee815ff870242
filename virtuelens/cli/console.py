"""Where the command line writes: results on standard output, everything else on standard error."""

import json
import shutil
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
"""The option that every command has."""

out = Console(highlight=False, emoji=False)  # `organism:parrot:` is a name
err = Console(stderr=True, highlight=False, emoji=False)


def fail(message: str) -> None:
    """One red line on standard error."""
    err.print(f"[bold red]error:[/] {_safe(message)}", soft_wrap=True)


def note(message: str) -> None:
    """A plain line on standard error, so that it never mixes with results."""
    err.print(_safe(message), soft_wrap=True)


def _safe(message: str) -> str:
    """Names of files and models stand in messages: nothing of them may steer the terminal."""
    from virtuelens.reports.words import visible

    return escape("\n".join(visible(line) for line in message.split("\n")))


def program() -> str:
    """What a user types to call us: the bare name, or the path where that is not on the PATH."""
    return "virtuelens" if shutil.which("virtuelens") else sys.argv[0]


def print_json(value: Any) -> None:
    """A JSON value, and nothing else, on standard output."""
    print(json.dumps(value, indent=1, ensure_ascii=False))  # noqa: T201 (rich would wrap it)
