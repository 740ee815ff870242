"""Valence by sentence and by word: GoEmotions (TSV) and the VADER lexicon."""

import re
from collections.abc import Sequence
from pathlib import Path

from virtuelens.concepts.importing.drafts import Asked, Drafts, Single, left_out
from virtuelens.concepts.importing.files import Record, decoded, read_rows
from virtuelens.errors import PackError
from virtuelens.values.texts import Text

# The paper's grouping (arXiv:2005.00547, figure 2); confusion, curiosity, realization and surprise
# are ambiguous there, and neutral is neither.
PLEASANT = ("admiration", "amusement", "approval", "caring", "desire", "excitement", "gratitude",
            "joy", "love", "optimism", "pride", "relief")  # fmt: skip
UNPLEASANT = ("anger", "annoyance", "disappointment", "disapproval", "disgust", "embarrassment",
              "fear", "grief", "nervousness", "remorse", "sadness")  # fmt: skip
OTHERS = ("confusion", "curiosity", "realization", "surprise", "neutral")
ALL = (*sorted((*PLEASANT, *UNPLEASANT, *OTHERS[:-1])), "neutral")
"""Label names in their published order, for files without a labels.txt beside them."""

STRONG = 1.0
"""Mean rating (-4 to 4) from which a word counts as pleasant or unpleasant."""


def read_goemotions(paths: Sequence[str], asked: Asked) -> Drafts:
    """Comments whose emotions are all pleasant (label 1) or all unpleasant (label 0).

    `--positive` and `--negative` take other emotions. Quoted as CSV is, without a header.
    """
    one = asked.positive or tuple(e for e in PLEASANT if e not in asked.negative)
    zero = asked.negative or tuple(e for e in UNPLEASANT if e not in asked.positive)
    if twice := sorted(set(one) & set(zero)):
        raise PackError(f"The emotion {twice[0]!r} is both --positive and --negative.")
    for name in (*one, *zero):
        if name not in ALL:
            raise PackError(f"No emotion {name!r}: GoEmotions has {', '.join(ALL)}.")
    singles, mixed = [], 0
    for path in paths:
        names = _names(path, asked)
        for at, row in read_rows(path, asked, delimiter="\t", quoted=True):
            record = Record(at, {"text": row[0]})
            felt = _emotions(record, row, names)
            if felt <= set(one) or felt <= set(zero):
                said = record.said("text")
                label = int(felt <= set(one))
                singles.append(Single(at, said, Text(raw=said), label,
                                      latents={"emotions": ",".join(sorted(felt))}))
            else:
                mixed += 1
    drafts = Drafts(", ".join(one), ", ".join(zero), pairs=tuple(singles))
    return drafts.with_notes(
        left_out(mixed, "comments with other or mixed emotions"),
        "labels of single comments are noisy (three to five raters); masks such as [NAME] are "
        "part of the published text",
    )


def read_vader(paths: Sequence[str], asked: Asked) -> Drafts:
    """Single words rated at least 1 (label 1) or at most -1 (label 0) on -4 to 4.

    Emoticons, numbers and weaker words are left out. Words that begin alike (five letters) stay
    together, since most are forms of one stem.
    """
    singles, weak = [], 0
    for path in paths:
        for at, row in read_rows(path, asked, delimiter="\t", quoted=False):
            record = Record(at, {})
            if len(row) < 2:
                raise record.wrong("expected word and mean rating, separated by a tab.")
            mean = _number(record, row[1])
            if not re.fullmatch(r"[a-z]{3,}", row[0]) or abs(mean) < STRONG:
                weak += 1
                continue
            singles.append(Single(at, row[0][:5], Text(raw=row[0]), int(mean > 0),
                                  latents={"rating": mean}))
    drafts = Drafts("a word rated pleasant", "a word rated unpleasant", pairs=tuple(singles))
    return drafts.with_notes(
        left_out(weak, "entries that are no plain word or rated within ±1"),
        "these are words without a sentence: what is read is the meaning of one word",
    )


def _emotions(record: Record, row: list[str], names: Sequence[str]) -> set[str]:
    if len(row) < 2 or not re.fullmatch(r"\d+(,\d+)*", row[1]):
        raise record.wrong("expected text, label numbers and id, separated by tabs.")
    numbers = [int(n) for n in row[1].split(",")]
    if max(numbers) >= len(names):
        raise record.wrong(f"label {max(numbers)} is outside 0 to {len(names) - 1}.")
    return {names[n] for n in numbers}


def _names(path: str, asked: Asked) -> Sequence[str]:
    beside = Path(path).parent / "labels.txt"
    return decoded(str(beside), asked.encoding).split() if beside.is_file() else ALL


def _number(record: Record, said: str) -> float:
    try:
        return float(said)
    except ValueError:
        raise record.wrong(f"the rating {said!r} is not a number.") from None
