"""The shipped packs load, are as large as they promise, and words alone do not solve them."""

import pytest

from virtuelens.concepts.check import check_concept
from virtuelens.concepts.pack import list_concepts, load_concept, load_neutral

FOUR = ("honesty", "self_representation", "sycophancy", "valence")
ENGLISH = tuple(c.name for c in list_concepts() if "english" in c.dialects)


def test_the_four_are_there() -> None:
    """The mission's four concepts ship in English, with neutral texts beside them."""
    assert set(FOUR) <= {c.name for c in list_concepts() if "english" in c.dialects}
    assert len(load_neutral("english")) >= 50


def test_rivals_and_parts_say_whose() -> None:
    """Each stands beside a pack in its own right; an audit that names none leaves them out."""
    beside = {c.name: c.beside for c in list_concepts() if c.beside}
    assert set(beside.values()) == {"valence", "honesty", "sycophancy"}
    assert not set(beside.values()) & set(beside)


@pytest.mark.parametrize("name", ENGLISH)
def test_english_packs_pass_their_check(name: str) -> None:
    """No row is flagged: sizes, repeats, words, endings, lengths, groups."""
    rows = check_concept(load_concept(name))
    assert [r for r in rows if not r.passed] == []
    assert len(rows) > 20


@pytest.mark.parametrize("name", ENGLISH)
def test_every_dialect_of_a_pack_loads(name: str) -> None:
    """What the table promises is in the files."""
    summary = next(c for c in list_concepts() if c.name == name)
    for dialect in summary.dialects:
        assert load_concept(name, dialect=dialect).in_split("main")
