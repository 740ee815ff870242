"""From a pack's folder to a `Concept`, with every problem named by file and line.

    probes/<name>/concept.toml                           what it is, what it is not, positions
                  pairs/<dialect>.<split>.jsonl          split: main, shifted or transfer
                  behaviour/<dialect>.<set>.jsonl        forced choices
                  card.md
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from virtuelens import catalog, storage
from virtuelens.concepts.format import BehaviourKind, ConceptTable, first_problem
from virtuelens.concepts.lines import Problems, line_of_key, read_toml, shown
from virtuelens.concepts.reading import (
    MARKER,
    SPLITS,
    find_files,
    read_examples,
    read_items,
    read_neutral,
)
from virtuelens.errors import PackError
from virtuelens.values.texts import ChoiceItem, Example, Split, Text

_NAME = re.compile(r"[a-z][a-z0-9_-]*")


@dataclass(frozen=True)
class Behaviour:
    """Forced choices that measure one thing.

    kind: `target` must move when one steers along the concept; a `companion` is expected to move
        too and is only reported; a `neighbour` must move less; a `neutral` set must stay right.
    of: what it measures, in words.
    """

    name: str
    kind: BehaviourKind
    of: str
    items: tuple[ChoiceItem, ...]


@dataclass(frozen=True)
class Prompts:
    """What one would write into a system prompt to get the target behaviour, or its contrary.

    The baseline that a steer is compared with.
    """

    toward: str
    away: str


@dataclass(frozen=True)
class Concept:
    """A concept pack in one dialect.

    positions: rows of the positions table that make sense for these texts.
    prompts: None where the pack has none in this dialect.
    examples: all splits, in the order of the files; the two sides of a pair stand side by side.
    hash: SHA-256 over concept.toml and the files of this dialect.
    """

    name: str
    version: str
    title: str
    definition: str
    is_not: tuple[str, ...]
    theory: str
    author: str
    licence: str
    confounds: tuple[str, ...]
    dialect: str
    note: str
    positions: tuple[str, ...]
    examples: tuple[Example, ...]
    behaviours: tuple[Behaviour, ...]
    hash: str
    path: Path
    prompts: Prompts | None = None

    def in_split(self, split: Split) -> tuple[Example, ...]:
        """The examples of one split (none, where the pack has no such file)."""
        return tuple(e for e in self.examples if e.split == split)

    def n_pairs(self, split: Split) -> int:
        """Pairs of one split, and texts that have no partner: the lines of its file."""
        return sum(e.label == 1 or e.id != f"{e.pair}/negative" for e in self.in_split(split))


@dataclass(frozen=True)
class ConceptSummary:
    """What a list shows of a pack.

    beside: the concept that it is a rival account or a part of; "" for a pack in its own right.
    """

    name: str
    version: str
    title: str
    dialects: tuple[str, ...]
    path: Path
    beside: str = ""


def load_concept(concept: str | Path, *, dialect: str = "english") -> Concept:
    """The pack of that name, or in that folder, in one dialect.

    Raises: PackError: there is no such pack or dialect, or a file is not as it should be; the
    message begins with file and line.
    """
    folder = _folder(concept)
    table = _table(folder)
    spoken = table.dialects.get(dialect)
    if spoken is None:
        raise PackError(
            f"{table.name} has no pairs in the dialect {dialect!r}: it has "
            f"{', '.join(table.dialects)}. Choose one of them, or add "
            f"[dialects.{dialect}] to {shown(folder / MARKER)}."
        )
    problems = Problems()
    pairs = find_files(folder, "pairs", dialect, SPLITS, problems)
    sets = find_files(folder, "behaviour", dialect, tuple(spoken.behaviour), problems)
    examples = read_examples(pairs, problems)
    items = read_items(sets, problems)
    problems.raise_any()
    return Concept(
        name=table.name, version=table.version, title=table.title,
        definition=table.definition.strip(), is_not=tuple(table.is_not),
        theory=table.theory.strip(), author=table.author, licence=table.licence,
        confounds=tuple(table.confounds), dialect=dialect, note=spoken.note.strip(),
        positions=tuple(spoken.positions), examples=examples,
        behaviours=tuple(
            Behaviour(name, b.kind, b.of, items[name]) for name, b in spoken.behaviour.items()
        ),
        hash=_hash(folder, [folder / MARKER, *pairs.values(), *sets.values()]), path=folder,
        prompts=Prompts(spoken.prompts.toward, spoken.prompts.away) if spoken.prompts else None,
    )  # fmt: skip


def list_concepts() -> list[ConceptSummary]:
    """All packs on the search path, by name.

    Raises: PackError: one of them has a concept.toml that cannot be read.
    """
    found = []
    for name in catalog.names("probes", MARKER):
        folder = _folder(name)
        table = _table(folder)
        found.append(
            ConceptSummary(name, table.version, table.title, tuple(table.dialects), folder,
                           table.beside)
        )
    return found


def load_neutral(dialect: str) -> tuple[Text, ...]:
    """Texts of no particular concern in that dialect, for measuring side effects.

    Raises: PackError: none for this dialect, or a broken line.
    """
    files: dict[str, Path] = {}
    for folder in catalog.folders("probes"):
        for path in sorted(folder.glob("neutral/*.jsonl")):
            files.setdefault(path.stem, path)
    if dialect not in files:
        raise PackError(
            f"No neutral texts in the dialect {dialect!r}: there are some in "
            f"{', '.join(sorted(files)) or 'none'}. Write probes/neutral/{dialect}.jsonl, "
            'one {"text": "..."} a line.'
        )
    problems = Problems()
    texts = read_neutral(files[dialect], problems)
    problems.raise_any()
    return texts


def _folder(concept: str | Path) -> Path:
    """A name is looked up in the catalogue first; anything else is a path."""
    if isinstance(concept, str) and (found := catalog.find("probes", concept, MARKER)):
        return found
    path = Path(concept)
    if (path / MARKER).is_file():
        return path
    if path.is_dir():
        raise PackError(f"{shown(path)} holds no {MARKER}: it is not a concept pack.")
    known = ", ".join(catalog.names("probes", MARKER)) or "none"
    raise PackError(
        f"No concept pack {str(concept)!r}: the known ones are {known}. Give one of these names "
        "or the folder of a pack."
    )


def _table(folder: Path) -> ConceptTable:
    path = folder / MARKER
    value, text = read_toml(path)
    problems = Problems()
    try:
        table = ConceptTable.model_validate(value)
    except ValidationError as error:
        keys, message = first_problem(error, ConceptTable)
        raise PackError(f"{shown(path)}:{line_of_key(text, keys)}: {message}") from error
    if table.name != folder.resolve().name:
        problems.add(
            path, line_of_key(text, ("name",)),
            f"name is {table.name!r}, its folder {folder.resolve().name!r}: they must be the same",
        )
    for dialect, spoken in table.dialects.items():
        for name in (dialect, *spoken.behaviour):
            if not _NAME.fullmatch(name):
                problems.add(
                    path, line_of_key(text, ("dialects", dialect)),
                    f"{name!r} cannot be part of a file name: use small letters, digits, _ and -",
                )
    problems.raise_any()
    return table


def _hash(folder: Path, files: list[Path]) -> str:
    named = {p.relative_to(folder).as_posix(): storage.sha256_file(p) for p in files}
    return storage.sha256_text(json.dumps(named, sort_keys=True))
