"""Tables with named columns, from CSV, JSON lines, Parquet or a dataset.

- `positive`, `negative`[, `prompt`, `group`]: a pair a row
- `text`, `label`[, `prompt`, `group`, `pair`]: a text a row; rows with the same `pair`, one of each
  label, become a pair

With `prompt`, texts are what the assistant answers. In JSON and Parquet a text may be a list of
messages. Answers to one question are one topic. `--column text=review` gives the file's own name of
a column.
"""

from collections.abc import Sequence
from typing import Any

from virtuelens.concepts.format import read_text
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
from virtuelens.concepts.importing.files import (
    Record,
    read_csv,
    read_json_lines,
    read_parquet,
)
from virtuelens.concepts.importing.labels import meaning_of, read_label
from virtuelens.errors import PackError
from virtuelens.values.texts import Text

NAMES = ("text", "label", "group", "pair", "positive", "negative", "prompt")


def read_csv_columns(paths: Sequence[str], asked: Asked) -> Drafts:
    """CSV with a header line."""
    return from_records([r for path in paths for r in read_csv(path, asked)], asked)


def read_jsonl_columns(paths: Sequence[str], asked: Asked) -> Drafts:
    """One JSON object a line."""
    return from_records([r for path in paths for r in read_json_lines(path, asked)], asked)


def read_parquet_columns(paths: Sequence[str], asked: Asked) -> Drafts:
    """Parquet files."""
    return from_records([r for path in paths for r in read_parquet(path, asked)], asked)


def from_records(records: Sequence[Record], asked: Asked) -> Drafts:
    """Pairs or labelled texts, by the columns that the first row has."""
    first = records[0].value
    if asked.columns.get("positive", "positive") in first or "positive" in asked.columns:
        return _pairs(records, asked)
    if asked.columns.get("text", "text") not in first:
        has = ", ".join(map(str, first)) or "none"
        raise records[0].wrong(
            f"expected the columns text and label, or positive and negative; there are {has}. Name "
            "yours with --column text=NAME --column label=NAME."
        )
    return _texts(records, asked)


def named_columns(said: Sequence[str]) -> dict[str, str]:
    """`text=review` and the like, as a table of our names.

    Raises: PackError: not of this form, or none of our names.
    """
    out = {}
    for one in said:
        ours, equals, theirs = one.partition("=")
        if not equals or not theirs or ours not in NAMES:
            raise PackError(
                f"--column {one}: expected OURS=THEIRS with one of {', '.join(NAMES)}, as in "
                "text=review."
            )
        out[ours] = theirs
    return out


def _pairs(records: Sequence[Record], asked: Asked) -> Drafts:
    pairs, choices = [], []
    for record in records:
        sides = [_text(record, name, asked) for name in ("positive", "negative")]
        group, prompt = _optional(record, "group", asked), _prompt(record, asked)
        asked_both = {_question(side) for side in sides}
        topic = asked_both.pop() if len(asked_both) == 1 else "\n".join(s.words for s in sides)
        pairs.append(Pair(record.at, topic, sides[0], sides[1], group))
        said = [side.response for side in sides]
        if prompt and said[0] and said[1] and said[0] != said[1]:
            options = tuple(sorted((said[0], said[1])))
            choices.append(Choice(record.at, topic, prompt, options, options.index(said[0]),
                                  options.index(said[1]), group=group))
    sets = {"choice": Behaviour("target", "preferring the answer in the column positive")}
    return Drafts("the column positive", "the column negative", tuple(pairs), tuple(choices), sets,
                  _positions(pairs))


def _texts(records: Sequence[Record], asked: Asked) -> Drafts:
    singles: list[tuple[str, Single]] = []
    unlabelled = 0
    for record in records:
        label = read_label(record, _value(record, "label", asked), asked)
        if label is None:
            unlabelled += 1
            continue
        text, group = _text(record, "text", asked), _optional(record, "group", asked)
        singles.append((_optional(record, "pair", asked),
                        Single(record.at, _question(text), text, label, group)))
    pairs = _joined(singles)
    meaning = meaning_of(asked)
    return Drafts(meaning[0], meaning[1], tuple(pairs), positions=_positions(pairs)).with_notes(
        left_out(unlabelled, "rows without a label, or with one that was not asked for")
    )


def _joined(singles: Sequence[tuple[str, Single]]) -> list[Pair | Single]:
    """Rows that name the same pair become one; the others stay alone."""
    named: dict[str, list[Single]] = {}
    for name, single in singles:
        if name:
            named.setdefault(name, []).append(single)
    for name, of_pair in named.items():
        if sorted(s.label for s in of_pair) != [0, 1]:
            at = of_pair[-1].at
            labels = ", ".join(str(s.label) for s in of_pair)
            message = f"the pair {name!r} has the labels {labels}: expected one 1 and one 0."
            raise Record(at, {}).wrong(message)
        if of_pair[0].group != of_pair[1].group:
            theirs = " and ".join(repr(s.group) for s in of_pair)
            raise Record(of_pair[-1].at, {}).wrong(
                f"the pair {name!r} stands in the groups {theirs}: expected both sides in one."
            )
    out: list[Pair | Single] = [single for name, single in singles if not name]
    for one, zero in (sorted(p, key=lambda s: -s.label) for p in named.values()):
        out.append(Pair(one.at, one.topic, one.text, zero.text, one.group))
    return out


def _text(record: Record, name: str, asked: Asked) -> Text:
    value = _value(record, name, asked)
    if isinstance(value, str):
        said = record.words(value, name)
        prompt = _prompt(record, asked)
        return prompt.answered(said) if prompt else Text(raw=said)
    try:
        return read_text(value)
    except ValueError as error:
        raise record.wrong(f"{name!r}: {error}.") from None


def _prompt(record: Record, asked: Asked) -> Text | None:
    column = asked.columns.get("prompt", "prompt")
    if column not in record.value:
        return None
    return asked_of(record.said(column))


def _optional(record: Record, name: str, asked: Asked) -> str:
    """What the column says, or "" where there is none."""
    column = asked.columns.get(name, name)
    if column not in record.value:
        if name in asked.columns:
            record.get(column)  # it was asked for by name
        return ""
    value = record.value[column]
    return "" if value is None else str(value).strip()


def _value(record: Record, name: str, asked: Asked) -> Any:
    return record.get(asked.columns.get(name, name))


def _question(text: Text) -> str:
    """What a text answers; all of it, where it answers nothing."""
    if text.response is None:
        return text.words
    return text.raw or "\n".join(m.content for m in text.prompt_messages) or text.words


def _positions(pairs: Sequence[Pair | Single]) -> tuple[str, ...]:
    answered = all(t.response is not None for p in pairs for t in p.texts)
    prompts = all(t.messages and t.response is None for p in pairs for t in p.texts)
    return ("last", "response_mean") if answered else ("last_prompt",) if prompts else ("last",)
