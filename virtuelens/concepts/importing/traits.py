"""Trait files of assistant-axis and persona vectors: system instructions and questions."""

from collections.abc import Sequence

from virtuelens.concepts.importing.drafts import Asked, Drafts, Pair, asked_of
from virtuelens.concepts.importing.files import Record, read_object


def read_traits(paths: Sequence[str], asked: Asked) -> Drafts:
    """Every question under every `pos` and its `neg` instruction, grouped by instruction.

    The contrast stands in the system instruction, so it may not cross splits; the question is the
    same on both sides. There are no answers in the file: it is read where one would begin.
    """
    pairs = [
        pair for path in paths for record in [read_object(path, asked)] for pair in _pairs(record)
    ]
    return Drafts(
        "a system instruction to show the trait", "an instruction to show its opposite",
        pairs=tuple(pairs), positions=("last_prompt",),
    ).with_notes(
        "the contrast is in the system instruction: a probe may read the instruction and not the "
        "trait. Better texts are the answers that a model gives under each of them",
    )


def _pairs(record: Record) -> list[Pair]:
    instructions, questions = record.get("instruction"), record.get("questions")
    if not isinstance(instructions, list) or not isinstance(questions, list):
        raise record.wrong("'instruction' and 'questions' have to be lists.")
    out = []
    for i, both in enumerate(instructions, start=1):
        if not isinstance(both, dict) or not {"pos", "neg"} <= set(both):
            raise record.wrong(f"instruction {i} is not an object with pos and neg.")
        pos, neg = (record.words(both[side], side) for side in ("pos", "neg"))
        for question in questions:
            said = record.words(question, "a question")
            sides = (asked_of(said, system=pos), asked_of(said, system=neg))
            out.append(Pair(record.at, pos, *sides, f"instruction-{i}", {"instruction": i}))
    return out
