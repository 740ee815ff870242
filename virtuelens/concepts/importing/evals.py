"""Questions with a matching and a not matching answer: Anthropic's files and CAA's.

The text is the question as the user's turn and the answer as the assistant's, a letter or Yes/No,
as in CAA (arXiv:2312.06681): the two sides differ in the answer alone. White space around answers
goes: the Anthropic files have " (A)", CAA "(A)".
"""

import re
from collections.abc import Callable, Sequence
from random import Random

from virtuelens.concepts.importing.drafts import (
    Asked,
    Behaviour,
    Choice,
    Drafts,
    Pair,
    Single,
    asked_of,
    counted,
    left_out,
)
from virtuelens.concepts.importing.files import Record, read_array, read_json_lines
from virtuelens.concepts.importing.polarity import warnings
from virtuelens.values.texts import Text

MATCH, OTHER = "answer_matching_behavior", "answer_not_matching_behavior"

_CHOICE = re.compile(r"^[ \t]*(\([A-Z]\))[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_CHOICES_BEGIN = re.compile(r"\n+(?:Choices:[ \t]*\n)?[ \t]*\([A-Z]\)")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


def read_evals(paths: Sequence[str], asked: Asked) -> Drafts:
    """Anthropic's model-written evaluations: JSON lines."""
    return _read(paths, asked, read_json_lines)


def read_caa(paths: Sequence[str], asked: Asked) -> Drafts:
    """CAA's `generate_dataset.json` and `test_dataset_ab.json`: one JSON array."""
    return _read(paths, asked, read_array)


def read_statements_alone(paths: Sequence[str], asked: Asked) -> Drafts:
    """The bare statements of the persona files: label 1 where the matching answer is Yes."""
    singles = []
    for record in (r for path in paths for r in read_json_lines(path, asked)):
        said, answer = record.said("statement"), record.said(MATCH)
        if answer.casefold() not in {"yes", "no"}:
            raise record.wrong(f"{MATCH!r} is {answer!r}: expected Yes or No.")
        label = int(answer.casefold() == "yes")
        singles.append(Single(record.at, said, Text(raw=said), label))
    return Drafts(
        "a statement that one who has the trait would make", "one that they would not make",
        pairs=tuple(singles), notes=counted([n for p in paths for n in warnings("persona", p)]),
    )  # fmt: skip


def topic_of(question: str) -> str:
    """What is asked: the last sentence before the choices, and the choices in any order.

    Biographies around one survey question have one topic.
    """
    stem = _CHOICES_BEGIN.split(question, maxsplit=1)[0].strip()
    last = _SENTENCE.split(stem)[-1]
    return " | ".join([last, *sorted(said for _, said in _CHOICE.findall(question))])


def _read(
    paths: Sequence[str], asked: Asked, records: Callable[[str, Asked], list[Record]]
) -> Drafts:
    pairs, choices, same = [], [], 0
    for record in (r for path in paths for r in records(path, asked)):
        question = record.said("question")
        match = _answers(record, MATCH)[0]
        others = [a for a in _answers(record, OTHER) if a != match]
        if not others:
            same += 1
            continue
        other = Random(question).choice(others)  # one of several, not always the first
        # a persona file's statement is its topic: the question around it is the same everywhere
        given = record.value.get("statement")
        topic = given if isinstance(given, str) and given.strip() else topic_of(question)
        prompt = asked_of(question)
        pairs.append(Pair(record.at, topic, prompt.answered(match), prompt.answered(other)))
        options = _options(question, match, others)
        choices.append(
            Choice(record.at, topic, prompt, options, options.index(match), options.index(other))
        )
    return Drafts(
        "the answer that the source calls matching", "an answer that the source calls not matching",
        pairs=tuple(pairs), choices=tuple(choices),
        sets={"choice": Behaviour("target", "preferring the answer that the source calls "
                                  "matching")},
        notes=counted([
            *(n for p in paths for n in warnings("evals", p)),
            left_out(same, "rows whose two answers are the same"),
        ]),
    )  # fmt: skip


def _answers(record: Record, name: str) -> list[str]:
    """One answer or a list of them (Anthropic's philpapers file), without white space."""
    value = record.get(name)
    values = value if isinstance(value, list) and value else [value]
    return [record.words(v, name) for v in values]


def _options(question: str, match: str, others: Sequence[str]) -> tuple[str, ...]:
    """All letters of the question, up to eight; where it has none, the answers in A-Z order."""
    letters = tuple(dict.fromkeys(letter for letter, _ in _CHOICE.findall(question)))
    if match in letters and set(others) <= set(letters):
        return letters
    return tuple(sorted({match, *others}))
