"""The facts of "How to Catch an AI Liar" (arXiv:2309.15840): JSON objects of objects."""

from collections.abc import Sequence

from virtuelens.concepts.importing.drafts import (
    Asked,
    Behaviour,
    Choice,
    Drafts,
    Pair,
    Single,
    asked_of,
    left_out,
)
from virtuelens.concepts.importing.files import Record, read_objects
from virtuelens.errors import PackError


def read_facts(paths: Sequence[str], asked: Asked) -> Drafts:
    """A question with its true answer against the balanced false one, grouped by kind of answer."""
    pairs, choices, same = [], [], 0
    for record in (r for path in paths for r in read_objects(path, asked)):
        if "false_answer" not in record.value:
            raise record.wrong(
                "'false_answer' is missing: the made-up questions have no true answer. Give them "
                "with the facts to the format unknowable."
            )
        question, true = record.said("question"), record.said("answer")
        balanced = "false_answer_balanced" in record.value
        false = record.said("false_answer_balanced" if balanced else "false_answer")
        if true == false:
            same += 1
            continue
        group = record.said("answer_group" if "answer_group" in record.value else "category")
        prompt = asked_of(question)
        pairs.append(Pair(record.at, question, prompt.answered(true), prompt.answered(false),
                          group, {"category": record.said("category")}))
        options = tuple(sorted((true, false)))
        choices.append(Choice(record.at, question, prompt, options, options.index(true),
                              options.index(false), "truth", group))
    drafts = Drafts(
        "the true answer", "a false answer of the same kind", tuple(pairs), tuple(choices),
        {"truth": Behaviour("target", "preferring the true answer to a false one")},
        ("last", "response_mean"),
    )
    return drafts.with_notes(left_out(same, "questions whose false answer is the true one"))


def read_unknowable(paths: Sequence[str], asked: Asked) -> Drafts:
    """Questions alone, from both files: label 1 where nobody can know (made-up people, numbers)."""
    singles = [
        _question(record) for path in paths for record in read_objects(path, asked)
    ]
    if len({s.label for s in singles}) < 2:
        raise PackError(
            f"{singles[0].at.file}: only {'made-up questions' if singles[0].label else 'facts'}: "
            "give both files, questions_1000_all.json and questions_made_up_all.json."
        )
    return Drafts("a question that nobody can answer", "a question that has an answer",
                  pairs=tuple(singles), positions=("last_prompt",))


def _question(record: Record) -> Single:
    question, made_up = record.said("question"), "false_answer" not in record.value
    return Single(record.at, question, asked_of(question), int(made_up),
                  latents={"category": record.said("category")})
