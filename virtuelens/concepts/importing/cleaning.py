"""What is left out before groups are made: repeats, contradictions, and what stands elsewhere."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from virtuelens.concepts.importing.drafts import (
    Asked,
    Drafts,
    Pair,
    Place,
    Single,
    left_out,
)
from virtuelens.concepts.importing.table import IMPORTERS, guess
from virtuelens.concepts.pack import load_concept
from virtuelens.concepts.reading import MARKER
from virtuelens.concepts.surface import normalised, words_of
from virtuelens.errors import PackError
from virtuelens.values.texts import Text


def cleaned(drafts: Drafts) -> Drafts:
    """Without repeated texts, and without texts that stand with both labels."""
    labels: dict[str, set[int]] = defaultdict(set)
    for p in drafts.pairs:
        for text, label in _labelled(p):
            labels[normalised(text)].add(label)
    torn = {key for key, found in labels.items() if len(found) > 1}
    kept: list[Pair | Single] = []
    seen: set[tuple[str, ...]] = set()
    # a whole file may stand in one line, so the place alone does not tell drafts apart
    contradicted: set[tuple[Place, str]] = set()
    repeated = both = 0
    for p in drafts.pairs:
        keys = tuple(normalised(text) for text, _ in _labelled(p))
        if torn & set(keys):
            contradicted.add((p.at, p.topic))
            both += 1
        elif keys in seen:
            repeated += 1
        else:
            seen.add(keys)
            kept.append(p)
    items = {(c.set, normalised(c.prompt), c.choices): c for c in reversed(drafts.choices)}
    choices = [
        c for c in drafts.choices
        if items[c.set, normalised(c.prompt), c.choices] is c
        and (c.at, c.topic) not in contradicted
    ]
    return replace(drafts, pairs=tuple(kept), choices=tuple(choices)).with_notes(
        left_out(repeated, "repeated texts or pairs"),
        left_out(both, "texts or pairs that stand with both labels"),
    )


def without(drafts: Drafts, other: str, asked: Asked) -> tuple[Drafts, int]:
    """The drafts whose question (or text) does not also stand in a pack or file, and how many do.

    Compared are the words before the answer, case folded; a final "Answer:" does not count.

    Raises: PackError: `other` is neither a pack nor a file of a known format.
    """
    known = {_question(text) for text in _texts_of(other, asked)}
    kept = replace(
        drafts,
        pairs=tuple(p for p in drafts.pairs if not known & {_question(t) for t in p.texts}),
        choices=tuple(c for c in drafts.choices if _question(c.prompt) not in known),
        neutral=tuple(t for t in drafts.neutral if _question(t) not in known),
    )
    gone = len(drafts.pairs) + len(drafts.neutral) - len(kept.pairs) - len(kept.neutral)
    return kept, gone


def _texts_of(other: str, asked: Asked) -> Iterable[Text]:
    path = Path(other)
    if path.is_file():
        fits = guess(other)
        if not fits:
            raise PackError(f"{other} is in no format that is known: --without takes a pack, too.")
        plain = Asked(asked.encoding)
        found = IMPORTERS[fits[0]].read([other], plain)
        return [
            *(t for p in found.pairs for t in p.texts), *(c.prompt for c in found.choices),
            *found.neutral,
        ]
    concept = load_concept(path if (path / MARKER).is_file() else other)
    return [
        *(e.text for e in concept.examples),
        *(item.prompt for b in concept.behaviours for item in b.items),
    ]


def _question(text: Text) -> str:
    """The words before the response; all of a text that has none."""
    said = text.raw or "\n".join(m.content for m in text.prompt_messages)
    words = words_of(said)
    return " ".join(words[:-1] if words[-1:] == ["answer"] else words)


def _labelled(p: Pair | Single) -> Collection[tuple[Text, int]]:
    if isinstance(p, Single):
        return ((p.text, p.label),)
    return ((p.positive, 1), (p.negative, 0))
