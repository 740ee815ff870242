"""What is wished for, where it comes from, and what was made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from virtuelens import storage
from virtuelens.concepts.check import CheckRow
from virtuelens.concepts.importing.drafts import PLAIN, Asked
from virtuelens.concepts.importing.files import short_name
from virtuelens.concepts.lines import shown
from virtuelens.concepts.pack import Concept
from virtuelens.values.texts import Example, Split

DIALECT = "english"
_SPLITS: tuple[Split, ...] = ("main", "shifted")
UNKNOWN_LICENCE = "unknown: see the source"


@dataclass(frozen=True)
class Wish:
    """What the pack should be, beside what its files say.

    definition, licence: "" where they are not known; the pack then says so.
    flip: swap the two labels.
    without: packs or files whose questions are left out.
    overwrite: replace a pack that is there (never another folder).
    """

    name: str
    out: Path = Path()
    definition: str = ""
    licence: str = ""
    flip: bool = False
    without: tuple[str, ...] = ()
    overwrite: bool = False
    seed: int = 0
    asked: Asked = PLAIN


@dataclass(frozen=True)
class Source:
    """Where a pack comes from.

    names: the files, each with its folder, or hub ids.
    hashes: name -> SHA-256; "" for what is not a file here.
    """

    format: str
    names: tuple[str, ...]
    hashes: Mapping[str, str]
    licence: str
    flipped: bool
    seed: int

    @classmethod
    def of(cls, format: str, files: Sequence[str], wish: Wish) -> "Source":
        """Hashes of the files, and of every file in a folder."""
        hashes: dict[str, str] = {}
        names = []
        for file in files:
            path = Path(file)
            name = short_name(file) if path.exists() else file  # a hub id stays as it is
            names.append(name)
            if path.is_dir():
                inside = sorted(p for p in path.rglob("*") if p.is_file())
                hashes |= {f"{name}/{p.relative_to(path).as_posix()}": storage.sha256_file(p)
                           for p in inside}  # fmt: skip
            else:
                hashes[name] = storage.sha256_file(path) if path.is_file() else ""
        licence = wish.licence or UNKNOWN_LICENCE
        return cls(format, tuple(names), hashes, licence, wish.flip, wish.seed)

    @property
    def said(self) -> str:
        """Files, hashes and format in one sentence."""
        named = ", ".join(
            f"{name} (sha256 {digest})" if digest else f"{name} (from the hub)"
            for name, digest in self.hashes.items()
        )
        return f"Imported by virtuelens from {named}, format {self.format}."


@dataclass(frozen=True)
class Imported:
    """What was written.

    concept: None where the format has no labels and neutral texts were written.
    grouped_by: what the groups are, in words.
    labels: what label 0 and label 1 mean.
    surface: rows of the pack's check that say what words and length alone give away.
    """

    folder: Path
    source: Source
    concept: Concept | None
    n_neutral: int
    grouped_by: str
    labels: tuple[str, str]
    notes: tuple[str, ...]
    checks: tuple[CheckRow, ...]

    @property
    def surface(self) -> tuple[CheckRow, ...]:
        """The rows with an interval: AUROC of classifiers that see no model."""
        return tuple(r for r in self.checks if r.interval is not None)

    @property
    def flagged(self) -> tuple[CheckRow, ...]:
        """Rows that do not pass."""
        return tuple(r for r in self.checks if not r.passed)

    def as_json(self) -> dict[str, Any]:
        """What the command line prints as JSON."""
        return {
            "folder": str(self.folder), "format": self.source.format,
            "files": dict(self.source.hashes), "licence": self.source.licence,
            "neutral": self.n_neutral, "counts": self.counts, "grouped_by": self.grouped_by,
            "label_1": self.labels[1], "label_0": self.labels[0], "notes": list(self.notes),
            "surface": {r.name: {"auroc": r.value, "interval": r.interval} for r in self.surface},
            "flagged": [r.name for r in self.flagged],
        }  # fmt: skip

    def lines(self) -> list[str]:
        """The same for people."""
        where = shown(self.folder)
        notes = [f"  note: {n}" for n in self.notes]
        if self.concept is None:
            return [f"Wrote {where}: {self.n_neutral} neutral texts (this format has no labels, so "
                    "it is no concept pack; see its card.md).", *notes]  # fmt: skip
        counts = ", ".join(f"{n} {part}" for part, n in self.counts.items())
        main = self.concept.in_split("main")
        first = [next(e for e in main if e.label == label) for label in (1, 0)]
        return [
            f"Wrote {where}: {counts}. Grouped by {self.grouped_by}.",
            f"  label 1: {self.labels[1]}", f"  label 0: {self.labels[0]}",
            *(f"  first, label {e.label}: {_short(e)}" for e in first), *notes,
            *(f"  {r.name}: AUROC {r.value:.2f}" + ("" if r.passed else f"  look: {r.advice}")
              for r in self.surface),
            *(f"  {r.name}: {r.value:g}  look: {r.advice}"
              for r in self.flagged if r.interval is None),
            f"Write its definition and what it is not into {where}/concept.toml, then: virtuelens "
            f"concepts show {where}",
        ]  # fmt: skip

    @property
    def counts(self) -> dict[str, int]:
        """Pairs (or single texts) of each split, items of each behaviour set."""
        if self.concept is None:
            return {}
        splits = {s: self.concept.n_pairs(s) for s in _SPLITS}
        return splits | {f"items of {b.name}": len(b.items) for b in self.concept.behaviours}


def _short(example: Example) -> str:
    """The end of a text, where the label is."""
    said = " ".join(example.text.words.split())
    return repr(said if len(said) <= 160 else "..." + said[-157:])
