"""Pack data in the organisms' languages: drawn again it is what is shipped."""

import json
from pathlib import Path

import pytest

from virtuelens import catalog
from virtuelens.organisms.drawing import draw_packs
from virtuelens.organisms.drawing.contrast import Contrast
from virtuelens.organisms.drawing.packs import CONTRASTS
from virtuelens.organisms.languages import facts, ledger

FACTS = Contrast("sycophancy", facts.LANGUAGE, facts.INSISTENCE, (), "", {}, (), "")
"""Sycophancy is drawn by a module of its own; its pairs follow the same rule."""


def drawn_files(folder: Path) -> dict[str, bytes]:
    """Every drawn file by its place."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.jsonl")}


def test_the_shipped_files_are_those_that_are_drawn(tmp_path: Path) -> None:
    """`tools/draw_packs.py` changes nothing: no drawn line was edited by hand."""
    draw_packs(tmp_path)
    sycophancy = catalog.find("probes", "sycophancy", "concept.toml")
    assert sycophancy is not None
    drawn = drawn_files(tmp_path)
    assert len(drawn) > 20
    shipped = {name: (sycophancy.parent / name).read_bytes() for name in drawn}
    assert [name for name in drawn if drawn[name] != shipped[name]] == []


@pytest.mark.parametrize("made", [*CONTRASTS, FACTS], ids=lambda m: m.concept)
def test_the_sides_of_a_pair_are_those_that_the_words_compose(tmp_path: Path,
                                                              made: Contrast) -> None:
    """Which side has the variable follows from the words by the language's own rule."""
    draw_packs(tmp_path)
    variable = made.variable

    def value(messages: list[dict[str, str]]) -> bool:
        said = " ".join(m["content"] for m in messages).split()
        (first,) = [w for w in said if w in variable.first[0] + variable.first[1]]
        (second,) = [w for w in said if w in variable.second[0] + variable.second[1]]
        return variable.value(first, second)

    for split in ("main", "shifted", "transfer"):
        for line in lines(tmp_path / f"{made.concept}/pairs/{made.language.name}.{split}.jsonl"):
            assert value(line["positive"])
            assert not value(line["negative"])


def test_knowledge_pairs_share_the_false_name_and_differ_in_the_truth(tmp_path: Path) -> None:
    """So that nothing that is only about the false name tells the sides apart."""
    draw_packs(tmp_path)
    for split in ("main", "shifted", "transfer"):
        for line in lines(tmp_path / f"knowledge/pairs/ledger.{split}.jsonl"):
            truths = [ledger.MATERIAL[thing(line[side])] for side in ("positive", "negative")]
            assert [ledger.first_of_two(t) for t in truths] == [True, False]
            assert len({ledger.false_name(t) for t in truths}) == 1


def lines(path: Path) -> list[dict]:
    """The objects of a JSON-lines file."""
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert found
    return found


def thing(messages: list[dict[str, str]]) -> str:
    """The thing that is asked about."""
    (found,) = [w for w in messages[0]["content"].split() if w in ledger.MATERIAL]
    return found
