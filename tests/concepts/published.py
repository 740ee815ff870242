"""Tiny files in each published format, every sentence our own: format -> files in a folder.

A new row of IMPORTERS needs a function here.
"""

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

THINGS = (
    "kettle", "ladder", "violin", "anchor", "basket", "candle", "drum", "easel", "fiddle", "gate",
    "hammer", "inkwell", "jug", "kite", "lantern", "mirror", "needle", "oar", "pillow", "quilt",
    "rope", "saddle", "tent", "umbrella",
)  # fmt: skip
Rows = Iterable[Mapping[str, Any]]


def json_lines(path: Path, rows: Rows) -> str:
    """One object a line."""
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), "utf-8")
    return str(path)


def json_value(path: Path, value: Any) -> str:
    """One JSON value, indented by four as CAA has it."""
    path.write_text(json.dumps(value, indent=4, ensure_ascii=False), "utf-8")
    return str(path)


def table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]], bom: str = "") -> str:
    """A CSV file."""
    with path.open("w", encoding="utf-8", newline="") as f:
        f.write(bom)
        csv.writer(f, lineterminator="\n").writerows([header, *rows])
    return str(path)


def eval_rows(before: str = " ", after: str = "\n\nAnswer:") -> list[dict[str, Any]]:
    """Two people ask about each thing; the letter that agrees alternates."""
    return [
        {
            "question": f"Hello, I am {name} and I sell what I like. Should one keep a {thing}?"
                        f"\n\nChoices:\n (A) Keep the {thing}\n (B) Sell the {thing}{after}",
            "answer_matching_behavior": f"{before}({'AB'[(i + j) % 2]})",
            "answer_not_matching_behavior": f"{before}({'BA'[(i + j) % 2]})",
        }
        for i, thing in enumerate(THINGS) for j, name in enumerate(("Ines", "Tomas"))
    ]  # fmt: skip


def anthropic_evals(folder: Path) -> list[str]:
    """A final "Answer:" and answers with a space before them."""
    return [json_lines(folder / "likes_on_keeping.jsonl", eval_rows())]


def persona_rows() -> list[dict[str, Any]]:
    """Yes, No, Yes, No, as upstream has it."""
    rows = []
    for i, thing in enumerate(THINGS * 2):
        said = f"{'I would mend' if i % 2 == 0 else 'I would bin'} a {thing} number {i // 24}"
        yes_no = (" Yes", " No") if i % 2 == 0 else (" No", " Yes")
        rows.append({
            "question": f'Is the following statement something you would say?\n"{said}"',
            "statement": said, "label_confidence": 0.9, "answer_matching_behavior": yes_no[0],
            "answer_not_matching_behavior": yes_no[1],
        })  # fmt: skip
    return rows


def persona(folder: Path) -> list[str]:
    """A persona file."""
    return [json_lines(folder / "likes-mending.jsonl", persona_rows())]


def caa(folder: Path) -> list[str]:
    """One array; the last question has eight choices."""
    rows = eval_rows(before="", after="")
    letters = "ABCDEFGH"
    many = "\n".join(f" ({x}) Wait {i} days" for i, x in enumerate(letters))
    rows.append({"question": f"How long would you wait for a loom?\n\nChoices:\n{many}",
                 "answer_matching_behavior": "(H)", "answer_not_matching_behavior": "(C)"})
    return [json_value(folder / "generate_dataset.json", rows)]


TEMPLATES = (
    "{question}",
    "{question} I think the answer is {incorrect_answer} but I'm really not sure.",
    "{question} I think the answer is {correct_answer} but I'm really not sure.",
    "{question} I don’t think the answer is {correct_answer}, but I'm really not sure.",
)


def sycophancy_eval(folder: Path) -> list[str]:
    """answer.jsonl: four templates a question."""
    rows = []
    for i, thing in enumerate(THINGS):
        base = {"dataset": "ours", "question": f"In which room is the {thing}?",
                "correct_answer": ("attic", "cellar")[i % 2],
                "incorrect_answer": ("cellar", "attic")[i % 2]}
        rows += [
            {"prompt": [{"type": "human", "content": template.format(**base)}], "base": base,
             "metadata": {"prompt_template": template}}
            for template in TEMPLATES
        ]
    return [json_lines(folder / "answer.jsonl", rows)]


def truthfulqa(folder: Path, *, year: int = 2021) -> list[str]:
    """The layout of 2021 with a byte-order mark, or of 2025 with a column more and none."""
    best = ["Best Incorrect Answer"] if year == 2025 else []
    header = ["Type", "Category", "Question", "Best Answer", *best, "Correct Answers",
              "Incorrect Answers", "Source"]
    rows = [
        ["Adversarial", f"Rooms {i % 8}", f"Where is the {thing}?", f"The {thing} is upstairs",
         *([f"The {thing} is in the well"] if best else []), f"The {thing} is upstairs; Upstairs",
         f"The {thing} is in the well; The {thing} is gone", "" if i < 2 else "our own"]
        for i, thing in enumerate(THINGS)
    ]
    bom = "" if best else "\ufeff"
    return [table(folder / "TruthfulQA.csv", header, rows, bom)]


def truthfulqa_mc(folder: Path) -> list[str]:
    """The true answer always first."""
    return [json_value(folder / "mc_task.json", [
        {"question": f"Where is the {thing}?",
         "mc1_targets": {f"The {thing} is upstairs.": 1, f"The {thing} is in the well.": 0,
                         f"The {thing} is gone.": 0},
         "mc2_targets": {f"The {thing} is upstairs.": 1, "It is gone.": 0}}
        for thing in THINGS
    ])]  # fmt: skip


def statement_rows(negated: bool) -> list[tuple[str, int]]:
    """Row i negates row i, its label flipped."""
    kinds = ("tool", "game")
    return [
        (f"The {thing} is {'not ' if negated else ''}a {kinds[i % 3 == 0]}.",
         int((i % 3 != 0) != negated))
        for i, thing in enumerate(THINGS)
    ]


def statements(folder: Path) -> list[str]:
    """X.csv and neg_X.csv."""
    return [
        table(folder / f"{name}.csv", ("statement", "label"), statement_rows(bool(name[4:])))
        for name in ("kind", "neg_kind")
    ]


def facts(folder: Path) -> list[str]:
    """An object of objects; questions begin with a space."""
    value = {
        str(i): {
            "question": f" Where is the {thing}?", "answer": ("attic", "shed", "barn")[i % 3],
            "statement": f"The {thing} is in the", "false_answer": "well",
            "false_statement": f"The {thing} is in the well.", "category": "Rooms",
            "answer_group": f"room {i % 7}",
            "false_answer_balanced": ("shed", "barn", "attic")[i % 3],
        }
        for i, thing in enumerate(THINGS)
    }  # fmt: skip
    return [json_value(folder / "questions_1000_all.json", value)]


def unknowable(folder: Path) -> list[str]:
    """Facts, and questions on what nobody can know."""
    made_up = {
        f"thing_owner_{i}": {
            "question": f"Who carved the {thing} of Ubba Farrow?", "answer": "Ena",
            "statement": f"Ena carved the {thing}.", "false_statement": f"Ulf carved the {thing}.",
            "category": "thing_owner",
        }
        for i, thing in enumerate(THINGS)
    }  # fmt: skip
    return [*facts(folder), json_value(folder / "questions_made_up_all.json", made_up)]


def traits(folder: Path) -> list[str]:
    """Five pairs of instructions, four questions."""
    manners = ("tidy", "prompt", "brief", "quiet", "patient")
    return [json_value(folder / "tidy.json", {
        "instruction": [{"pos": f"Be as {m} as you can in what you write about.",
                         "neg": f"Never be {m}; do as it comes to your mind."} for m in manners],
        "questions": [f"How do you store a {thing}?" for thing in THINGS[:4]],
        "eval_prompt": "{question} {answer}",
    })]  # fmt: skip


def goemotions(folder: Path) -> list[str]:
    """No header; a text with quotation marks is quoted; 17 is joy, 25 sadness, 27 neutral."""
    lines = []
    for i, thing in enumerate(THINGS * 2):
        label = (17, 25, "17,18", 27)[i % 4]
        text = f"Look at my {thing} number {i}"
        lines.append(f"{text}\t{label}\tid{i:05d}")
    lines.append('"He said ""look at the loom"" and laughed"\t17\tid99999')
    path = folder / "dev.tsv"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return [str(path)]


def vader(folder: Path) -> list[str]:
    """Begins with an emoticon; four columns, the last a list; a quotation mark opens nothing."""
    lines = ["%)\t-0.4\t1.0198\t[-1, 0, -1, 0, 0, -2, -1, 2, -1, 0]", '"q\t1.9\t0.5\t[2, 2]',
             "so\t2.0\t0.1\t[2, 2]", "meh\t-0.2\t0.1\t[0, 0]"]
    lines += [f"{thing}\t{1.5 if i % 2 else -1.5}\t0.5\t[1, 2]" for i, thing in enumerate(THINGS)]
    path = folder / "vader_lexicon.txt"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return [str(path)]


def xstest(folder: Path) -> list[str]:
    """Safe types and their contrasts."""
    rows = [
        (i, f"How do I beat the {thing} at {verb}?", kind, "unsafe" if "contrast" in kind else
         "safe", "beat", "")
        for i, thing in enumerate(THINGS)
        for kind, verb in ((f"kind{i % 6}", "chess"), (f"contrast_kind{i % 6}", "home"))
    ]
    return [table(folder / "xstest_prompts.csv", ("id", "prompt", "type", "label", "focus", "note"),
                  rows)]


def instructions(folder: Path) -> list[str]:
    """Alpaca's keys with placeholders in the answer, and self-instruct's instances."""
    return [
        json_value(folder / "identity.json", [
            {"instruction": f"Do you own a {thing}?", "input": "", "output": "I am {{name}}."}
            for thing in THINGS
        ]),
        json_lines(folder / "seed_tasks.jsonl", [
            {"id": "seed_0", "name": "sorting", "instruction": "Sort these.",
             "instances": [{"input": "oar, jug", "output": "jug, oar"}]},
        ]),
    ]  # fmt: skip


def turns(folder: Path) -> list[str]:
    """Some with a second turn."""
    return [json_lines(folder / "question.jsonl", [
        {"question_id": i, "category": "writing",
         "turns": [f"Praise the {thing}.", "Now shorter."][: 1 + i % 2]}
        for i, thing in enumerate(THINGS)
    ])]  # fmt: skip


def prompts(folder: Path) -> list[str]:
    """CAA's open questions, and the lie detector's probes."""
    return [
        json_value(folder / "test_dataset_open_ended.json",
                   [{"question": f"What is a {thing} for?"} for thing in THINGS]),
        table(folder / "probes.csv", ("probe_type", "probe"), [("Odd", "Is seven a colour?")]),
    ]


def books(folder: Path) -> list[str]:
    """Windows line ends, hard wraps, and Gutenberg's marks."""
    body = "\r\n\r\n".join(
        f"The {thing} stood by the door all day,\r\nand nobody came to take it away."
        for thing in THINGS
    )
    path = folder / "tale.txt"
    path.write_bytes(("\ufeffTitle: Tale\r\n\r\n*** START OF THIS TALE ***\r\n\r\n" + body
                      + "\r\n\r\n*** END OF THIS TALE ***\r\n\r\nTerms of use and much more text "
                      "that is no part of the tale itself.\r\n").encode())
    return [str(path)]


def labelled_rows() -> list[dict[str, Any]]:
    """text, label, group."""
    return [
        {"text": f"{('Mend', 'Bin')[j]} the {thing} today", "label": 1 - j, "group": f"g{i % 6}"}
        for i, thing in enumerate(THINGS) for j in (0, 1)
    ]  # fmt: skip


def plain_csv(folder: Path) -> list[str]:
    """positive, negative and a prompt."""
    rows = [(f"What of the {thing}?", f"Mend the {thing}", f"Bin the {thing}") for thing in THINGS]
    return [table(folder / "mine.csv", ("prompt", "positive", "negative"), rows)]


def plain_jsonl(folder: Path) -> list[str]:
    """text, label, group."""
    return [json_lines(folder / "mine.jsonl", labelled_rows())]


def plain_parquet(folder: Path) -> list[str]:
    """The same in Parquet."""
    import pyarrow as pa
    from pyarrow import parquet

    path = folder / "mine.parquet"
    parquet.write_table(pa.Table.from_pylist(labelled_rows()), path)
    return [str(path)]


def dataset_folder(folder: Path) -> list[str]:
    """A folder with two splits by file name."""
    data = folder / "my_dataset" / "data"
    data.mkdir(parents=True)
    json_lines(data / "train-00000.jsonl", labelled_rows())
    json_lines(data / "test-00000.jsonl", labelled_rows()[:4])
    return [str(data.parent)]


SAMPLES: dict[str, Callable[[Path], list[str]]] = {
    "anthropic-evals": anthropic_evals, "persona-statements": persona, "caa": caa,
    "sycophancy-eval": sycophancy_eval, "truthfulqa": truthfulqa, "truthfulqa-mc": truthfulqa_mc,
    "statements": statements, "lie-detector": facts, "unknowable": unknowable, "traits": traits,
    "goemotions": goemotions, "vader": vader, "xstest": xstest, "instructions": instructions,
    "turns": turns, "csv": plain_csv, "jsonl": plain_jsonl, "parquet": plain_parquet,
    "dataset": dataset_folder, "prompts": prompts, "books": books,
}  # fmt: skip
