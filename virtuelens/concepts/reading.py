"""The files of a pack: which there are, and what each line of them says."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar, get_args

from pydantic import BaseModel, ValidationError

from virtuelens.concepts.format import (
    ChoiceLine,
    NeutralLine,
    PairLine,
    SingleLine,
    first_problem,
)
from virtuelens.concepts.lines import Line, Problems, read_lines, shown
from virtuelens.values.texts import ChoiceItem, Example, Split, Text

MARKER = "concept.toml"
SPLITS: tuple[Split, ...] = get_args(Split)

Form = TypeVar("Form", bound=BaseModel)


def find_files(
    folder: Path, kind: str, dialect: str, expected: tuple[str, ...], problems: Problems
) -> dict[str, Path]:
    """The dialect's files of `pairs/` or `behaviour/` by set; others' are not looked at.

    A set of behaviour that is expected must be there, and so must the main set of pairs.
    """
    root = folder.resolve()
    found = {}
    for path in sorted((folder / kind).glob("*.jsonl")):
        spoken, _, name = path.stem.partition(".")
        if spoken != dialect:
            continue
        if not path.resolve().is_relative_to(root):
            problems.add(path, None, "leads outside the pack: copy the file into it")
        elif name in expected:
            found[name] = path
        elif kind == "pairs":
            problems.add(path, None, f"unknown set {name!r}: expected {', '.join(expected)}")
        else:
            problems.add(
                path, None, f"{MARKER} does not name this set: add "
                f"[dialects.{dialect}.behaviour.{name}] with kind and of",
            )
    for name in ("main",) if kind == "pairs" else expected:
        path = folder / kind / f"{dialect}.{name}.jsonl"
        if name not in found and not path.exists():
            needed = "a pack fits on these pairs" if kind == "pairs" else f"{MARKER} names this set"
            problems.add(path, None, f"is missing: {needed}")
    return {name: found[name] for name in expected if name in found}


def read_examples(files: Mapping[str, Path], problems: Problems) -> tuple[Example, ...]:
    """All examples, split by split, the two sides of a pair one after the other."""
    seen: dict[str, Line] = {}
    out: list[Example] = []
    for split in SPLITS:
        if split not in files:
            continue
        before = len(problems.found)
        of_split: list[Example] = []
        for line in read_lines(files[split], problems):
            if _is_new(line, seen, problems):
                of_split += _examples_of(line, split, problems)
        if len(problems.found) == before and len({e.label for e in of_split}) < 2:
            what = f"holds only label {of_split[0].label}" if of_split else "is empty"
            problems.add(files[split], None, f"{what}: expected examples of both labels")
        out += of_split
    return tuple(out)


def read_items(
    files: Mapping[str, Path], problems: Problems
) -> dict[str, tuple[ChoiceItem, ...]]:
    """The forced choices of each set."""
    seen: dict[str, Line] = {}
    out = {}
    for name, path in files.items():
        before = len(problems.found)
        items = []
        for line in read_lines(path, problems):
            item = _read(line, ChoiceLine, problems)
            if item is not None and _is_new(line, seen, problems):
                choices = tuple(item.choices)
                items.append(ChoiceItem(item.id, item.group, item.prompt, choices, item.target))
        if not items and len(problems.found) == before:
            problems.add(path, None, "is empty: expected one item a line")
        out[name] = tuple(items)
    return out


def read_neutral(path: Path, problems: Problems) -> tuple[Text, ...]:
    """The texts of a file of neutral ones."""
    before = len(problems.found)
    read = [_read(line, NeutralLine, problems) for line in read_lines(path, problems)]
    texts = tuple(t for n in read if n is not None and (t := n.text or n.messages))
    if not texts and len(problems.found) == before:
        problems.add(path, None, "is empty: expected one text a line")
    return texts


def _examples_of(line: Line, split: Split, problems: Problems) -> list[Example]:
    if "text" in line.value or "label" in line.value:
        one = _read(line, SingleLine, problems)
        if one is None:
            return []
        alone = f"group {one.group}"  # without partners, labels may be exchanged within the group
        return [Example(one.id, one.text, one.label, one.group, alone, split, one.latents)]
    pair = _read(line, PairLine, problems)
    if pair is None:
        return []
    return [
        Example(f"{pair.id}/{side}", text, label, pair.group, pair.id, split, pair.latents)
        for side, text, label in (("positive", pair.positive, 1), ("negative", pair.negative, 0))
    ]


def _read(line: Line, form: type[Form], problems: Problems) -> Form | None:
    try:
        return form.model_validate(line.value)
    except ValidationError as error:
        problems.add(line.path, line.number, first_problem(error, form)[1])
        return None


def _is_new(line: Line, seen: dict[str, Line], problems: Problems) -> bool:
    name = line.value.get("id")
    if not isinstance(name, str):
        return True  # its own problem is noted elsewhere
    first = seen.setdefault(name, line)
    if first is not line:
        problems.add(
            line.path, line.number,
            f"id {name!r} is used twice, first in {shown(first.path)}:{first.number}",
        )
    return first is line
