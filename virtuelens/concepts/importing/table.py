"""The formats that can be imported: a row each, from path(s) to drafts of pack lines.

To add one: a function from paths to `Drafts`, a row here, and a sample in
tests/contracts/test_importers.py, which runs over every row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from virtuelens.concepts.importing import (
    columns,
    emotions,
    evals,
    hub,
    lie_detector,
    prompts,
    statements,
    sycophancy_eval,
    traits,
    truthfulqa,
)
from virtuelens.concepts.importing.drafts import Asked, Drafts
from virtuelens.concepts.importing.look import Look, Shape, look


@dataclass(frozen=True)
class Importer:
    """One published format.

    about: what files of it hold, and whose they are.
    grouped_by: what stays on one side of a split. Single texts stand in blocks of several of these.
    read: paths (a hub id for datasets) to drafts. Raises PackError with file and line.
    fits: whether a file looks like this format from outside.
    takes: options that it heeds: column, positive, negative, split, encoding.
    labelled: False where there are no labels: neutral texts come of it, not a pack.
    """

    name: str
    about: str
    grouped_by: str
    read: Callable[[Sequence[str], Asked], Drafts]
    fits: Callable[[Look], bool]
    takes: frozenset[str] = frozenset({"encoding"})
    labelled: bool = True


def guess(path: str) -> list[str]:
    """Names of the formats that a file looks like, the most specific first."""
    seen = look(path)
    return [row.name for row in IMPORTERS.values() if row.fits(seen)]


def _has(shapes: Sequence[Shape], *keys: str) -> Callable[[Look], bool]:
    return lambda seen: seen.shape in shapes and set(keys) <= seen.keys


def _in_columns(shape: Shape) -> Callable[[Look], bool]:
    return lambda seen: seen.shape == shape and (
        {"text", "label"} <= seen.keys or {"positive", "negative"} <= seen.keys
    )


def _is_prompts(seen: Look) -> bool:
    return bool(set(prompts.COLUMNS) & seen.keys) and (
        seen.shape in {"lines", "array", "object", "csv"} and evals.MATCH not in seen.keys
    )


def _is_goemotions(seen: Look) -> bool:
    numbers = seen.first[1].split(",") if len(seen.first) == 3 else [""]
    return seen.shape == "tsv" and all(n.isdecimal() for n in numbers)


def _is_vader(seen: Look) -> bool:
    return seen.shape == "tsv" and len(seen.first) == 4 and seen.first[3].startswith("[")


# one line of JSON alone is both an object and JSON lines
_LINES: tuple[Shape, ...] = ("lines", "object")
_COLUMN = "column group, else what is answered, else the text"
_FREE = frozenset({"column", "positive", "negative", "encoding"})

# the most specific first: the first that fits is what a message suggests
_ROWS = (
    Importer("anthropic-evals", "Anthropic's model-written evals: JSON lines with question, "
             "answer_matching_behavior, answer_not_matching_behavior",
             "what is asked, whoever asks (last sentence and choices, or the statement)",
             evals.read_evals, _has(_LINES, "question", evals.MATCH)),
    Importer("persona-statements", "the bare statements of Anthropic's persona files, as texts: "
             "JSON lines with statement and Yes or No", "statement",
             evals.read_statements_alone, _has(_LINES, "statement", evals.MATCH)),
    Importer("caa", "CAA's generate_dataset.json and test_dataset_ab.json: one array, two to eight "
             "choices", "what is asked (last sentence and choices)",
             evals.read_caa, _has(("array",), "question", evals.MATCH)),
    Importer("sycophancy-eval", "answer.jsonl, are_you_sure.jsonl or feedback.jsonl",
             "the question or text that remarks are made on",
             sycophancy_eval.read_sycophancy_eval, _has(_LINES, "prompt", "base"),
             frozenset({"positive", "negative", "encoding"})),
    Importer("truthfulqa", "TruthfulQA.csv, in the layout of 2021 or 2025", "category",
             truthfulqa.read_truthfulqa_csv,
             lambda seen: seen.shape == "csv" and truthfulqa.both_layouts(seen.keys)),
    Importer("truthfulqa-mc", "TruthfulQA's mc_task.json", "question",
             truthfulqa.read_truthfulqa_mc, _has(("array",), "question", "mc1_targets")),
    Importer("statements", "statement,label CSV of Truth is Universal and geometry of truth; X.csv "
             "and neg_X.csv together give pairs", "subject of the statement",
             statements.read_statements, _has(("csv",), "statement", "label"),
             frozenset({"positive", "negative", "encoding"})),
    Importer("lie-detector", "questions_1000_all.json: facts with a true and a false answer",
             "kind of answer", lie_detector.read_facts,
             _has(("objects",), "question", "answer", "false_answer")),
    Importer("unknowable", "questions_1000_all.json and questions_made_up_all.json together: can "
             "anybody know?", "question", lie_detector.read_unknowable,
             _has(("objects",), "question", "answer", "category")),
    Importer("traits", "a trait file of assistant-axis or persona vectors: instruction pairs and "
             "questions", "instruction", traits.read_traits,
             _has(("object",), "instruction", "questions")),
    Importer("goemotions", "GoEmotions TSV (train, dev, test): pleasant against unpleasant "
             "emotions", "comment", emotions.read_goemotions, _is_goemotions,
             frozenset({"positive", "negative", "encoding"})),
    Importer("vader", "the VADER lexicon: single words rated pleasant or unpleasant",
             "first five letters", emotions.read_vader, _is_vader),
    Importer("xstest", "xstest_prompts.csv: unsafe against safe requests (neutral texts where all "
             "are safe)", "type", prompts.read_xstest,
             _has(("csv",), "prompt", "type", "label", "focus")),
    Importer("instructions", "instruction and input: Alpaca, identity.json, self-instruct",
             "no groups: neutral texts", prompts.read_instructions,
             _has(("lines", "array", "object"), "instruction"), labelled=False),
    Importer("turns", "question.jsonl of MT-bench and Vicuna-bench", "no groups: neutral texts",
             prompts.read_turns, _has(_LINES, "turns"), labelled=False),
    Importer("csv", "CSV with text,label[,group,pair] or positive,negative[,prompt,group]",
             _COLUMN, columns.read_csv_columns, _in_columns("csv"),
             _FREE),
    Importer("jsonl", "JSON lines with the same names", _COLUMN,
             columns.read_jsonl_columns,
             lambda seen: _in_columns("lines")(seen) or _in_columns("object")(seen), _FREE),
    Importer("parquet", "Parquet with the same names", _COLUMN,
             columns.read_parquet_columns, _in_columns("parquet"), _FREE - {"encoding"}),
    Importer("dataset", "a Hugging Face dataset: saved to disk, a folder of parquet, jsonl or csv, "
             "or OWNER/NAME on the hub; the same names", _COLUMN,
             hub.read_datasets, lambda seen: seen.shape == "folder", _FREE | {"split"}),
    Importer("prompts", "one prompt, question or probe a row (CSV, JSON lines, array)",
             "no groups: neutral texts", prompts.read_prompts, _is_prompts, labelled=False),
    Importer("books", "plain text, as Project Gutenberg has it", "no groups: neutral texts",
             prompts.read_books, lambda seen: seen.shape == "text", labelled=False),
)  # fmt: skip

IMPORTERS = {row.name: row for row in _ROWS}
"""Every format by name, the most specific first."""
