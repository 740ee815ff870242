"""Single texts: statements of persona files, comments, words, and the paragraphs of books."""

from pathlib import Path

import pytest

from tests.concepts.importing.made import made
from tests.concepts.published import THINGS, goemotions, persona, vader
from virtuelens.concepts.importing import IMPORTERS, Asked
from virtuelens.concepts.importing.drafts import Single
from virtuelens.errors import PackError


def test_1_rows_that_alternate_do_not_make_one_class(tmp_path: Path) -> None:
    """Yes, No, Yes, No: both splits hold both labels, near their share."""
    concept = made("persona-statements", persona(tmp_path), tmp_path)
    for split in ("main", "shifted"):
        labels = [e.label for e in concept.in_split(split)]  # type: ignore[arg-type]
        assert 0.2 < sum(labels) / len(labels) < 0.8


def test_7_quoted_tsv_without_a_header(tmp_path: Path) -> None:
    """Doubled quotes are undone; the first row counts; mixed and neutral rows are left out."""
    drafts = IMPORTERS["goemotions"].read(goemotions(tmp_path), Asked())
    said = {p.text.raw for p in drafts.pairs if isinstance(p, Single)}
    assert 'He said "look at the loom" and laughed' in said
    assert "Look at my kettle number 0" in said
    assert len(said) == 37 and any("12 comments" in note for note in drafts.notes)


def test_7_plain_tsv_with_a_list(tmp_path: Path) -> None:
    """A quotation mark opens nothing; emoticons, short and weak words are left out."""
    drafts = IMPORTERS["vader"].read(vader(tmp_path), Asked())
    assert {p.text.raw for p in drafts.pairs if isinstance(p, Single)} == set(THINGS)
    assert any("4 entries" in note for note in drafts.notes)


def test_7_emotions_can_be_chosen_and_are_checked(tmp_path: Path) -> None:
    """A name that is none is refused with all that there are."""
    files = goemotions(tmp_path)
    joy = IMPORTERS["goemotions"].read(files, Asked(positive=("joy",), negative=("sadness",)))
    assert (joy.label_1, joy.label_0) == ("joy", "sadness")
    assert len(joy.pairs) == 25
    with pytest.raises(PackError, match=r"No emotion 'glee'.*admiration"):
        IMPORTERS["goemotions"].read(files, Asked(positive=("glee",)))


@pytest.mark.parametrize(("encoding", "fails"), [("utf-8-sig", False), ("ascii", False),
                                                 ("iso-8859-1", True)])
def test_8_three_encodings_of_books(tmp_path: Path, encoding: str, fails: bool) -> None:
    """With a mark, plain, and one that is not UTF-8: refused with its line, then read."""
    said = "On that long day nobody at all came to the door"
    text = f"Title\n\n{said}{' of the café' if fails else ''}.\n"
    path = tmp_path / "book.txt"
    path.write_bytes(text.encode(encoding))
    if fails:
        with pytest.raises(PackError, match=r"book.txt:3: byte 0xe9 .*--encoding iso-8859-1"):
            IMPORTERS["books"].read([str(path)], Asked())
    asked = Asked(encoding if fails else "utf-8")
    read = IMPORTERS["books"].read([str(path)], asked).neutral
    assert [t.raw for t in read] == [text.split("\n\n")[1].strip()]


def test_7_no_emotion_stands_on_both_sides(tmp_path: Path) -> None:
    """One that is asked for leaves the other side; asked for on both it is refused."""
    from tests.concepts.published import goemotions

    files = goemotions(tmp_path)
    read = IMPORTERS["goemotions"].read
    some = read(files, Asked(positive=("sadness",)))
    assert some.label_1 == "sadness" and "sadness" not in some.label_0
    with pytest.raises(PackError, match="'joy' is both"):
        read(files, Asked(positive=("joy",), negative=("joy", "fear")))
