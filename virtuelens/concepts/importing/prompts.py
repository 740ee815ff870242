"""Texts without labels, for side effects of steering; and XSTest, which has labels upstream.

A format without labels makes no concept pack: it is written as neutral texts, of which only the
user's turn is kept. Answers stay out: some have placeholders that a probe would find.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from virtuelens.concepts.importing.drafts import Asked, Drafts, Single, asked_of, left_out
from virtuelens.concepts.importing.files import (
    Record,
    decoded,
    read_array,
    read_csv,
    read_json_lines,
)
from virtuelens.concepts.importing.labels import read_label
from virtuelens.values.texts import Text

COLUMNS = ("prompt", "question", "probe")


def read_instructions(paths: Sequence[str], asked: Asked) -> Drafts:
    """`instruction` and `input` (or the first of `instances`): Alpaca, identity, self-instruct."""
    texts = []
    for record in _any_json(paths, asked):
        said = record.said("instruction")
        instances = record.value.get("instances")
        first = instances[0] if isinstance(instances, list) and instances else record.value
        given = first.get("input") if isinstance(first, dict) else ""
        if isinstance(given, str) and given.strip():
            said = f"{said}\n\n{record.words(given, 'input')}"
        texts.append(asked_of(said))
    return _neutral(texts)


def read_turns(paths: Sequence[str], asked: Asked) -> Drafts:
    """The first of `turns`: MT-bench and Vicuna-bench."""
    texts = []
    later = 0
    for record in (r for path in paths for r in read_json_lines(path, asked)):
        turns = record.get("turns")
        if not isinstance(turns, list) or not turns:
            raise record.wrong("'turns' is not a list of texts.")
        texts.append(asked_of(record.words(turns[0], "a turn")))
        later += len(turns) > 1
    return _neutral(texts).with_notes(
        left_out(later, "second turns, which refer to the model's own answer")
    )


def read_prompts(paths: Sequence[str], asked: Asked) -> Drafts:
    """One user turn a row, from a column called prompt, question or probe."""
    texts = []
    for path in paths:
        tabular = Path(path).suffix.casefold() == ".csv"
        for record in read_csv(path, asked) if tabular else _any_json([path], asked):
            if "answer_matching_behavior" in record.value:
                raise record.wrong("this row has answers: it is no plain prompt.")
            name = next((c for c in COLUMNS if c in record.value), COLUMNS[0])
            texts.append(asked_of(record.said(name)))
    return _neutral(texts)


def read_books(paths: Sequence[str], asked: Asked) -> Drafts:
    """Paragraphs of plain text between Project Gutenberg's marks, lines joined."""
    texts = []
    for path in paths:
        text = decoded(path, asked.encoding)
        begins = re.search(r"^\*\*\* ?START OF.*$", text, re.MULTILINE)
        ends = re.search(r"^\*\*\* ?END OF.*$", text, re.MULTILINE)
        body = text[begins.end() if begins else 0 : ends.start() if ends else len(text)]
        paragraphs = (" ".join(p.split()) for p in re.split(r"\n\s*\n", body))
        texts += [Text(raw=p) for p in paragraphs if len(p.split()) >= 8]
    return _neutral(texts).with_notes("paragraphs of fewer than eight words: left out")


def read_xstest(paths: Sequence[str], asked: Asked) -> Drafts:
    """Unsafe prompts are label 1, safe ones 0; a file with one of them alone gives neutral texts.

    Grouped by type: `homonyms` and `contrast_homonyms` are one group.
    """
    asked = Asked(asked.encoding, positive=("unsafe",), negative=("safe",))
    singles = []
    for record in (r for path in paths for r in read_csv(path, asked)):
        said, kind = record.said("prompt"), record.said("type").removeprefix("contrast_")
        label = read_label(record, record.get("label"), asked)
        if label is None:
            raise record.wrong("'label' is neither safe nor unsafe.")
        singles.append(Single(record.at, said, asked_of(said), label, kind))
    if len({s.label for s in singles}) == 1:
        what = "unsafe" if singles[0].label else "safe"
        return _neutral([s.text for s in singles]).with_notes(
            f"all prompts are {what}: without the others there is no contrast to probe"
        )
    return Drafts("a request that is unsafe to grant", "a safe request that sounds alike",
                  pairs=tuple(singles), positions=("last_prompt",))


def _neutral(texts: Sequence[Text]) -> Drafts:
    different = tuple(dict.fromkeys(texts))
    return Drafts(neutral=different).with_notes(
        left_out(len(texts) - len(different), "repeated texts")
    )


def _any_json(paths: Sequence[str], asked: Asked) -> list[Record]:
    """Records of JSON lines or of one array, whichever a file is."""
    out = []
    for path in paths:
        array = decoded(path, asked.encoding).lstrip().startswith("[")
        out += read_array(path, asked) if array else read_json_lines(path, asked)
    return out
