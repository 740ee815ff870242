"""What stands together, what is dealt where, and what is left out because it stands elsewhere."""

from collections import Counter
from pathlib import Path

import pytest

from tests.concepts.importing.made import imported, made
from tests.concepts.published import (
    THINGS,
    anthropic_evals,
    eval_rows,
    json_lines,
    json_value,
    labelled_rows,
    plain_csv,
)
from virtuelens.concepts.importing import Wish, import_pack
from virtuelens.errors import PackError


@pytest.mark.parametrize("as_pack", [True, False])
def test_10_what_stands_elsewhere_is_left_out(tmp_path: Path, as_pack: bool) -> None:
    """By question, whatever the letters' spaces and the final "Answer:"; pack or file."""
    other = tmp_path / "other"
    other.mkdir()
    few = json_value(other / "generate_dataset.json", eval_rows("", "")[:20])
    if as_pack:
        few = str(import_pack("caa", [few], Wish("few", other)).folder)
    concept = made("anthropic-evals", anthropic_evals(tmp_path), tmp_path, without=(few,))
    n = len(concept.examples) // 2 + sum(len(b.items) for b in concept.behaviours)
    assert n == 48 - 20
    gone = {row["question"].removesuffix("\n\nAnswer:") for row in eval_rows()[:20]}
    assert not {e.text.messages[0].content.removesuffix("\n\nAnswer:")
                for e in concept.examples} & gone


def test_10_all_of_it_stands_elsewhere(tmp_path: Path) -> None:
    """Nothing is written, and that is said."""
    files = anthropic_evals(tmp_path)
    with pytest.raises(PackError, match="Nothing is left"):
        imported("anthropic-evals", files, tmp_path / "out", without=(files[0],))
    assert not (tmp_path / "out").exists()


def test_people_around_one_question_stay_together(tmp_path: Path) -> None:
    """Two biographies, one question, choices in either order: one group."""
    rows = eval_rows()
    for row in rows[::2]:
        head, keep, sell = row["question"].removesuffix("\n\nAnswer:").rsplit("\n", 2)
        row["question"] = f"{head}\n{sell.replace('(B)', '(A)')}\n{keep.replace('(A)', '(B)')}"
    concept = made("anthropic-evals", [json_lines(tmp_path / "x.jsonl", rows)], tmp_path)
    sizes = Counter(e.group for e in concept.examples)
    assert set(sizes.values()) == {4}


def test_near_copies_of_a_text_stand_together(tmp_path: Path) -> None:
    """One word changed in a long text: the two are never on two sides."""
    long = "we walked the whole way along the river to see whether the {} by the mill was there"
    rows = [{"positive": f"{long.format(t)} {i}", "negative": f"not {long.format(t)} {i}"}
            for t in THINGS for i in (0, 1)]  # fmt: skip
    concept = made("jsonl", [json_lines(tmp_path / "x.jsonl", rows)], tmp_path)
    sides: dict[str, set[str]] = {}
    for e in concept.examples:
        thing = next(t for t in THINGS if t in e.text.words)
        sides.setdefault(thing, set()).add(e.split)
    assert all(len(found) == 1 for found in sides.values())


def test_named_groups_are_kept(tmp_path: Path) -> None:
    """A column `group` is the group; one that holds one label only is pointed out."""
    rows = labelled_rows()
    concept = made("jsonl", [json_lines(tmp_path / "x.jsonl", rows)], tmp_path)
    assert {e.group for e in concept.examples} == {f"g{i}" for i in range(6)}
    one_sided = [row | {"group": f"{row['group']}-{row['label']}"} for row in rows]
    done = imported("jsonl", [json_lines(tmp_path / "y.jsonl", one_sided)], tmp_path / "b")
    assert any("hold one label only" in note for note in done.notes)


def test_one_group_cannot_be_split(tmp_path: Path) -> None:
    """In the words of a pack, not of a probe."""
    rows = [row | {"group": "all"} for row in labelled_rows()]
    with pytest.raises(PackError, match="in one group"):
        imported("jsonl", [json_lines(tmp_path / "x.jsonl", rows)], tmp_path / "out")


def test_another_seed_deals_other_groups(tmp_path: Path) -> None:
    """And the same seed the same."""
    files = plain_csv(tmp_path)
    dealt = [
        {e.group for e in made("csv", files, tmp_path / str(i), seed=seed).in_split("shifted")}
        for i, seed in enumerate((0, 0, 1))
    ]
    assert dealt[0] == dealt[1] != dealt[2]
