"""Statements and their negations, one file or two."""

from pathlib import Path

import pytest

from tests.concepts.importing.made import imported
from tests.concepts.published import THINGS, statement_rows, statements, table
from virtuelens.concepts.importing import IMPORTERS, Asked
from virtuelens.concepts.importing.drafts import Pair
from virtuelens.errors import PackError


def test_9_a_statement_and_its_negation_are_one_pair(tmp_path: Path) -> None:
    """Whichever of the two is true; so they cannot fall on two sides of a split."""
    drafts = IMPORTERS["statements"].read(statements(tmp_path), Asked())
    assert len(drafts.pairs) == len(THINGS)
    for p in drafts.pairs:
        assert isinstance(p, Pair)
        words = {p.positive.words.replace("not ", ""), p.negative.words.replace("not ", "")}
        assert len(words) == 1 and ("not" in p.positive.words) != ("not" in p.negative.words)


@pytest.mark.parametrize("lost", [0, 7, 23])
def test_9_a_row_that_one_file_lacks_shifts_nothing(tmp_path: Path, lost: int) -> None:
    """The others still meet their own negation; the widow is counted."""
    negated = statement_rows(True)
    del negated[lost]
    files = [table(tmp_path / "kind.csv", ("statement", "label"), statement_rows(False)),
             table(tmp_path / "neg_kind.csv", ("statement", "label"), negated)]
    drafts = IMPORTERS["statements"].read(files, Asked())
    assert len(drafts.pairs) == len(THINGS) - 1
    for p in drafts.pairs:
        assert isinstance(p, Pair)
        assert p.positive.words.split()[1] == p.negative.words.split()[1]
    assert any("1 statements without a counterpart" in n for n in drafts.notes)


def test_9_one_statement_with_both_labels_and_empty_labels(tmp_path: Path) -> None:
    """Both copies go, a repeat once, a row without label too; each is counted."""
    rows = [*statement_rows(False), ("The loom is a tool.", 1), ("The loom is a tool.", 0),
            ("The kettle is a game.", 0), ("The wheel is a tool.", "")]  # fmt: skip
    done = imported("statements", [table(tmp_path / "kind.csv", ("statement", "label"), rows)],
                    tmp_path)  # fmt: skip
    assert done.concept is not None
    texts = [e.text.raw for e in done.concept.examples]
    assert sorted(texts) == sorted(s for s, _ in statement_rows(False))
    assert {"1 rows without a label: left out", "1 repeated texts or pairs: left out",
            "2 texts or pairs that stand with both labels: left out"} <= set(done.notes)


def test_9_no_label_at_all(tmp_path: Path) -> None:
    """Refused, with the file."""
    file = table(tmp_path / "other.csv", ("statement", "label"), [("The oar is wet.", "")] * 3)
    with pytest.raises(PackError, match=r"other.csv: no row has a label"):
        imported("statements", [file], tmp_path / "out")


def test_9_labels_that_were_asked_for_are_named(tmp_path: Path) -> None:
    """Not called true and false, which they need not be."""
    rows = [(said, "lie" if label else "honest") for said, label in statement_rows(False)]
    file = table(tmp_path / "replies.csv", ("statement", "label"), rows)
    drafts = IMPORTERS["statements"].read([file], Asked(positive=("lie",), negative=("honest",)))
    assert (drafts.label_1, drafts.label_0) == ("label is lie", "label is honest")
