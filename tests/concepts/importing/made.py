"""Imports as tests make them."""

from pathlib import Path

from virtuelens.concepts.importing import Imported, Wish, import_pack
from virtuelens.concepts.pack import Concept


def made(format: str, files: list[str], out: Path, **wish: object) -> Concept:
    """The concept that an import gives."""
    concept = imported(format, files, out, **wish).concept
    assert concept is not None
    return concept


def imported(format: str, files: list[str], out: Path, **wish: object) -> Imported:
    """What an import to `out/mine` gives."""
    return import_pack(format, files, Wish("mine", out, **wish))  # type: ignore[arg-type]
