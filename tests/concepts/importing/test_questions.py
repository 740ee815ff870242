"""Questions with answers: which is which, their letters and lists, and three layouts of JSON."""

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.concepts.importing.made import imported
from tests.concepts.published import (
    SAMPLES,
    THINGS,
    anthropic_evals,
    caa,
    eval_rows,
    json_lines,
    json_value,
    truthfulqa,
)
from virtuelens.concepts.importing import IMPORTERS, Asked, guess
from virtuelens.concepts.importing.drafts import Pair
from virtuelens.errors import PackError


def test_2_the_true_answer_is_not_always_first(tmp_path: Path) -> None:
    """Choices are shuffled, so that their place says nothing."""
    file = json_value(tmp_path / "mc_task.json", [
        {"question": f"Where is the {thing} ({i})?",
         "mc1_targets": {"Upstairs.": 1, "In the well.": 0, "Gone.": 0}}
        for i in range(4) for thing in THINGS
    ])  # fmt: skip
    drafts = IMPORTERS["truthfulqa-mc"].read([file], Asked())
    places = Counter(c.target for c in drafts.choices)
    assert set(places) == {0, 1, 2} and min(places.values()) > 15
    assert {c.choices[c.target] for c in drafts.choices} == {"Upstairs."}


@pytest.mark.parametrize("year", [2021, 2025])
def test_2_both_layouts_are_read_with_mark_and_without(tmp_path: Path, year: int) -> None:
    """The byte-order mark is no part of the first column; the extra column is used."""
    file = truthfulqa(tmp_path, year=year)[0]
    assert Path(file).read_bytes().startswith(b"\xef\xbb\xbf") == (year == 2021)
    assert guess(file)[0] == "truthfulqa"
    drafts = IMPORTERS["truthfulqa"].read([file], Asked())
    wrong = {p.negative.response for p in drafts.pairs if isinstance(p, Pair)}
    well = {f"The {thing} is in the well" for thing in THINGS}
    assert (wrong <= well) == (year == 2025)


@pytest.mark.parametrize(("format", "folder", "says"), [
    ("caa", "survival-instinct", "ACCEPTS the shut-down"),
    ("anthropic-evals", "self-awareness-web-gpt", "claims web access"),
])
def test_3_files_that_mean_the_reverse_are_said(
    tmp_path: Path, format: str, folder: str, says: str
) -> None:
    """The note stands in the pack, and --flip is there."""
    (tmp_path / folder).mkdir()
    files = (caa if format == "caa" else anthropic_evals)(tmp_path / folder)
    done = imported(format, files, tmp_path)
    assert any(says in note for note in done.notes)
    assert done.concept is not None and any(says in c for c in done.concept.confounds)
    assert says in (done.folder / "card.md").read_text("utf-8")


def test_3_all_choices_of_a_question_are_offered(tmp_path: Path) -> None:
    """Up to eight; flipping makes the one that is named not matching the target."""
    drafts = IMPORTERS["caa"].read(caa(tmp_path), Asked())
    last = drafts.choices[-1]
    assert last.choices == tuple(f"({x})" for x in "ABCDEFGH")
    assert (last.choices[last.target], last.choices[last.rival]) == ("(H)", "(C)")


def test_4_a_space_before_the_letter_makes_no_difference(tmp_path: Path) -> None:
    """Anthropic's " (A)" and CAA's "(A)" give the same answer."""
    spaced = IMPORTERS["anthropic-evals"].read(anthropic_evals(tmp_path), Asked())
    bare = IMPORTERS["caa"].read(caa(tmp_path), Asked())
    for one, two in zip(spaced.pairs, bare.pairs, strict=False):
        assert isinstance(one, Pair) and isinstance(two, Pair)
        assert one.positive.response == two.positive.response in {"(A)", "(B)"}


def test_5_several_answers_that_do_not_match(tmp_path: Path) -> None:
    """A list is read like a single answer; each of its members comes to be the other side."""
    rows = eval_rows()
    for row in rows:
        row["question"] += "\n (C) Neither"
        row["answer_not_matching_behavior"] = [row["answer_not_matching_behavior"], " (C)"]
    file = json_lines(tmp_path / "philpapers.jsonl", rows)
    drafts = IMPORTERS["anthropic-evals"].read([file], Asked())
    others = Counter(p.negative.response for p in drafts.pairs if isinstance(p, Pair))
    assert len(rows) // 4 < others["(C)"] < len(rows) * 3 // 4
    assert {c.choices for c in drafts.choices} == {("(A)", "(B)", "(C)")}


@pytest.mark.parametrize("asked", ["anthropic-evals", "caa", "lie-detector"])
@pytest.mark.parametrize("given", ["anthropic-evals", "caa", "lie-detector"])
def test_6_three_layouts_of_json_are_told_apart(tmp_path: Path, asked: str, given: str) -> None:
    """Lines, an array, an object of objects: the wrong one is refused and the right one named."""
    files = SAMPLES[given](tmp_path)
    if asked == given:
        assert IMPORTERS[asked].read(files, Asked()).pairs
        return
    with pytest.raises(PackError, match=f"looks like the format {given}"):
        imported(asked, files, tmp_path)


def test_6_an_element_is_named_by_its_line(tmp_path: Path) -> None:
    """Also inside an array and an object that span many lines."""
    rows = eval_rows("", "")
    del rows[3]["question"]
    with pytest.raises(PackError, match=r"data.json:17: 'question' is missing"):
        IMPORTERS["caa"].read([json_value(tmp_path / "data.json", rows)], Asked())
    (tmp_path / "flat.json").write_text(json.dumps(rows))
    with pytest.raises(PackError, match=r"flat.json:1 \(element 4\): 'question' is missing"):
        IMPORTERS["caa"].read([str(tmp_path / "flat.json")], Asked())
    facts = {"a": {"question": "x"}}
    with pytest.raises(PackError, match=r"facts.json:2: 'false_answer' is missing"):
        IMPORTERS["lie-detector"].read([json_value(tmp_path / "facts.json", facts)], Asked())


def test_6_one_contradiction_takes_no_other_choice_with_it(tmp_path: Path) -> None:
    """Also where the whole array stands in one line, which is then the place of all of them."""
    rows = eval_rows("", "")
    turned = dict(rows[0], answer_matching_behavior=rows[0]["answer_not_matching_behavior"],
                  answer_not_matching_behavior=rows[0]["answer_matching_behavior"])
    done = []
    for name, indent in (("flat", None), ("tall", 4)):
        file = tmp_path / name / "data.json"
        file.parent.mkdir()
        file.write_text(json.dumps([*rows, turned], indent=indent))
        done.append(imported("caa", [str(file)], file.parent / "out"))
    assert done[0].counts == done[1].counts
    assert done[0].counts["items of choice"] > 0
    for one in done:
        assert "2 texts or pairs that stand with both labels: left out" in one.notes


def test_2_a_question_without_a_false_answer_is_refused(tmp_path: Path) -> None:
    """With its line."""
    file = truthfulqa(tmp_path, year=2021)[0]
    text = Path(file).read_text("utf-8-sig").splitlines()
    names = text[0].split(",")
    row = ["; " if n == "Incorrect Answers" else "x" for n in names]
    (tmp_path / "bad.csv").write_text("\n".join([text[0], ",".join(row)]))
    with pytest.raises(PackError, match=r"bad.csv:2: 'Incorrect Answers' names none"):
        IMPORTERS["truthfulqa"].read([str(tmp_path / "bad.csv")], Asked())
