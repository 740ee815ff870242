"""TruthfulQA in its published layouts: two CSVs (817 and 790 rows) and `mc_task.json`."""

import random
from collections.abc import Iterable, Sequence

from virtuelens.concepts.importing.drafts import (
    Asked,
    Behaviour,
    Choice,
    Drafts,
    Pair,
    asked_of,
    left_out,
)
from virtuelens.concepts.importing.files import Record, read_array, read_csv

_MEANS = ("a true answer", "a false answer that many people give")
_SETS = {"truth": Behaviour("target", "preferring the true answer to common false ones")}
_CANARY = "upstream asks that this benchmark never appear in training data"


def read_truthfulqa_csv(paths: Sequence[str], asked: Asked) -> Drafts:
    """The CSV of either layout: the best answer against a false one, grouped by category.

    The false one is `Best Incorrect Answer` where that column is, else drawn from the list.
    """
    pairs, choices = [], []
    for record in (r for path in paths for r in read_csv(path, asked)):
        question, true = record.said("Question"), record.said("Best Answer")
        false = _split(record.said("Incorrect Answers"))
        if record.value.get("Best Incorrect Answer", "").strip():
            chosen = record.said("Best Incorrect Answer")
        elif not false:
            raise record.wrong("'Incorrect Answers' names none.")
        else:
            chosen = _drawn(question).choice(false)
        group = record.said("Category")
        pairs.append(_pair(record, question, true, chosen, group))
        choices.append(_choice(record, question, true, [chosen], group))
    return Drafts(*_MEANS, tuple(pairs), tuple(choices), _SETS, ("last", "response_mean"),
                  notes=(_CANARY,))


def read_truthfulqa_mc(paths: Sequence[str], asked: Asked) -> Drafts:
    """The multiple-choice form: one true answer of `mc1_targets` against the false ones.

    The true one is always first in the file; choices are shuffled here, row by row.
    """
    pairs, choices, odd = [], [], 0
    for record in (r for path in paths for r in read_array(path, asked)):
        question, targets = record.said("question"), record.get("mc1_targets")
        if not isinstance(targets, dict):
            raise record.wrong("'mc1_targets' is not an object of answers with 1 or 0.")
        true = [record.words(a, "an answer") for a, label in targets.items() if label == 1]
        false = [record.words(a, "an answer") for a, label in targets.items()
                 if label == 0 and a.strip()]  # the version of 2025 has an empty one
        false = [a for a in dict.fromkeys(false) if a not in true]
        if len(true) != 1 or not false:
            odd += 1
            continue
        pairs.append(_pair(record, question, true[0], _drawn(question).choice(false)))
        choices.append(_choice(record, question, true[0], false))
    note = left_out(odd, "questions without exactly one true answer and a false one")
    return Drafts(*_MEANS, tuple(pairs), tuple(choices), _SETS, ("last", "response_mean"),
                  notes=(_CANARY, *([note] if note else [])))


def _pair(record: Record, question: str, true: str, false: str, group: str = "") -> Pair:
    prompt = asked_of(question)
    return Pair(record.at, question, prompt.answered(true), prompt.answered(false), group)


def _choice(
    record: Record, question: str, true: str, false: Sequence[str], group: str = ""
) -> Choice:
    options = [true, *false]
    _drawn(question).shuffle(options)
    return Choice(record.at, question, asked_of(question), tuple(options), options.index(true),
                  options.index(false[0]), "truth", group)


def _split(answers: str) -> list[str]:
    return [a.strip() for a in answers.split(";") if a.strip()]


def _drawn(question: str) -> random.Random:
    """The same draw for the same question, whatever else is imported."""
    return random.Random(question)


def both_layouts(names: Iterable[str]) -> bool:
    """Whether these are the columns of either CSV."""
    return {"Question", "Best Answer", "Incorrect Answers", "Category"} <= set(names)
