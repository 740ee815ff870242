"""What an importer hands over: pairs, single texts, forced choices, before groups and splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from virtuelens.concepts.format import BehaviourKind
from virtuelens.values.texts import Message, Text

Latents = Mapping[str, str | int | float | bool]


class Place(NamedTuple):
    """File and line (or row) that something came from."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Pair:
    """Two texts that differ in the concept.

    topic: drafts of one topic stay in one group (the question, the subject of a statement).
    group: the group itself, where the source names it; "" leaves it to `grouping`.
    """

    at: Place
    topic: str
    positive: Text
    negative: Text
    group: str = ""
    latents: Latents = field(default_factory=dict)

    @property
    def texts(self) -> tuple[Text, ...]:
        """Both sides."""
        return self.positive, self.negative


@dataclass(frozen=True)
class Single:
    """A labelled text without a partner."""

    at: Place
    topic: str
    text: Text
    label: int
    group: str = ""
    latents: Latents = field(default_factory=dict)

    @property
    def texts(self) -> tuple[Text, ...]:
        """The one text."""
        return (self.text,)


@dataclass(frozen=True)
class Choice:
    """A forced choice; `rival` is the choice that becomes the target when labels are swapped."""

    at: Place
    topic: str
    prompt: Text
    choices: tuple[str, ...]
    target: int
    rival: int
    set: str = "choice"
    group: str = ""


class Behaviour(NamedTuple):
    """What a set of choices measures."""

    kind: BehaviourKind
    of: str


@dataclass(frozen=True)
class Drafts:
    """All that was read from the files of one import.

    label_1, label_0: what the two labels mean, in words.
    neutral: texts of a format that has no labels; then there is nothing else.
    notes: what was left out or must be known before the pack is used.
    """

    label_1: str = ""
    label_0: str = ""
    pairs: tuple[Pair | Single, ...] = ()
    choices: tuple[Choice, ...] = ()
    sets: Mapping[str, Behaviour] = field(default_factory=dict)
    positions: tuple[str, ...] = ("last",)
    neutral: tuple[Text, ...] = ()
    notes: tuple[str, ...] = ()

    def with_notes(self, *notes: str) -> "Drafts":
        """The same with more notes; empty ones are passed over."""
        return replace(self, notes=(*self.notes, *(n for n in notes if n)))


@dataclass(frozen=True)
class Asked:
    """How to read the files, as far as a format leaves it open.

    columns: our name -> the file's name of a column.
    positive, negative: values that mean label 1 and label 0.
    split: which split of a dataset.
    """

    encoding: str = "utf-8"
    columns: Mapping[str, str] = field(default_factory=dict)
    positive: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    split: str | None = None


PLAIN = Asked()
"""Nothing is asked for."""


def flipped(drafts: Drafts) -> Drafts:
    """Labels swapped: positive sides, single labels and the targets of choices.

    A neutral set stays as it is: it must stay right, whichever label is which.
    """
    sets = {n for n, b in drafts.sets.items() if b.kind != "neutral"}

    def turned(p: Pair | Single) -> Pair | Single:
        if isinstance(p, Single):
            return replace(p, label=1 - p.label)
        return replace(p, positive=p.negative, negative=p.positive)

    return replace(
        drafts, label_1=drafts.label_0, label_0=drafts.label_1,
        pairs=tuple(turned(p) for p in drafts.pairs),
        choices=tuple(replace(c, target=c.rival, rival=c.target) if c.set in sets else c
                      for c in drafts.choices),
        sets={n: b._replace(of=f"the opposite of: {b.of}") if n in sets else b
              for n, b in drafts.sets.items()},
    )  # fmt: skip


def asked_of(user: str, *, system: str = "") -> Text:
    """A chat that ends with the user's turn."""
    first = (Message("system", system),) if system else ()
    return Text(messages=(*first, Message("user", user)))


def written(text: Text) -> str | dict[str, str] | list[dict[str, str]]:
    """The text as packs write it."""
    if text.raw is None:
        return [{"role": m.role, "content": m.content} for m in text.messages]
    if text.continuation is None:
        return text.raw
    return {"raw": text.raw, "continuation": text.continuation}


def left_out(n: int, what: str) -> str:
    """A note on rows that were left out, or nothing where there are none."""
    return f"{n} {what}: left out" if n else ""


def counted(notes: Sequence[str]) -> tuple[str, ...]:
    """Notes, each once, in order."""
    return tuple(dict.fromkeys(n for n in notes if n))
