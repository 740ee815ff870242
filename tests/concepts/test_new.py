"""A new pack loads as it is, and nothing is ever written over."""

from pathlib import Path

import pytest

from virtuelens.concepts.check import check_concept
from virtuelens.concepts.new import new_concept
from virtuelens.concepts.pack import load_concept
from virtuelens.errors import PackError


def test_a_new_pack_loads_and_is_flagged_as_small(tmp_path: Path) -> None:
    """All files are valid; the check says what is still to be done."""
    concept = load_concept(new_concept("kind_words", tmp_path))
    assert concept.name == "kind_words"
    assert concept.in_split("shifted")
    assert concept.behaviours[0].kind == "target"
    assert (concept.path / "card.md").read_text().startswith("# Kind words")
    assert "pairs in main" in {r.name for r in check_concept(concept) if not r.passed}


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    """A folder of that name stays as it is."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(PackError, match="exists already"):
        new_concept("mine", tmp_path)
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("name", ["", "../x", "Big", "a b", "1st", "a/b", "."])
def test_names_are_one_plain_word(tmp_path: Path, name: str) -> None:
    """What cannot be a folder and a key is refused before anything is written."""
    with pytest.raises(PackError, match="cannot name a concept"):
        new_concept(name, tmp_path)
    assert not list(tmp_path.iterdir())
