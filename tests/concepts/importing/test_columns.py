"""Plain tables: CSV and JSON lines with named columns."""

from collections import Counter
from pathlib import Path

import pytest

from tests.concepts.importing.made import imported, made
from tests.concepts.published import THINGS, json_lines, labelled_rows, table
from virtuelens.concepts.importing import IMPORTERS, Asked, guess
from virtuelens.concepts.importing.drafts import Pair, Single
from virtuelens.errors import PackError


def test_an_answer_and_its_negative_are_two_answers(tmp_path: Path) -> None:
    """-3 against 3 is a pair, not one text with both labels."""
    file = table(tmp_path / "x.csv", ["positive", "negative", "prompt", "group"], [
        (-i, i, f"{i} minus {2 * i}", f"from {i // 9}") for i in range(9, 63)
    ])  # fmt: skip
    concept = made("csv", [file], tmp_path)
    assert concept.n_pairs("main") + concept.n_pairs("shifted") == 54


def test_rows_of_one_pair_become_a_pair(tmp_path: Path) -> None:
    """One of each label; anything else is refused with its line."""
    rows = [row | {"pair": str(i // 2)} for i, row in enumerate(labelled_rows())]
    drafts = IMPORTERS["jsonl"].read([json_lines(tmp_path / "x.jsonl", rows)], Asked())
    assert len(drafts.pairs) == len(THINGS)
    assert all(isinstance(p, Pair) and p.positive.words.startswith("Mend") for p in drafts.pairs)
    rows[5]["label"] = 1
    with pytest.raises(PackError, match=r"y.jsonl:6: the pair '2' has the labels 1, 1"):
        IMPORTERS["jsonl"].read([json_lines(tmp_path / "y.jsonl", rows)], Asked())


def test_columns_and_values_can_have_other_names(tmp_path: Path) -> None:
    """--column and --positive; without them the message says how."""
    file = table(tmp_path / "x.csv", ("review", "mood"),
                 [(f"My {t} is {m}", m) for t in THINGS for m in ("fine", "broken", "lost")])
    read = IMPORTERS["csv"].read
    with pytest.raises(PackError, match=r"x.csv:2: expected the columns text and label.*--column"):
        read([file], Asked())
    columns = {"text": "review", "label": "mood"}
    with pytest.raises(PackError, match=r"x.csv:2: the label 'fine' is neither.*--positive"):
        read([file], Asked(columns=columns))
    drafts = read([file], Asked(columns=columns, positive=("fine",), negative=("lost",)))
    assert Counter(p.label for p in drafts.pairs if isinstance(p, Single)) == {1: 24, 0: 24}
    all_others = read([file], Asked(columns=columns, positive=("fine",)))
    assert Counter(p.label for p in all_others.pairs if isinstance(p, Single)) == {1: 24, 0: 48}


@pytest.mark.parametrize(("content", "says"), [
    ("text,label\nGood,1\n\"Bad,0\n", r"x.csv:3: not readable as CSV"),
    ("text,label\nGood,1\nBad, very bad,0\n", r"x.csv:3: 3 fields, the header names 2"),
    ("text,text\nGood,1\n", r"x.csv:1: two columns are called 'text'"),
    ("text,label\nGood,1\n  ,0\n", r"x.csv:3: 'text' is empty"),
    ("text,label\n", r"x.csv is empty"),
])
def test_a_table_that_is_not_as_it_should_be(tmp_path: Path, content: str, says: str) -> None:
    """File, line, and what is wrong."""
    path = tmp_path / "x.csv"
    path.write_text(content)
    with pytest.raises(PackError, match=says):
        imported("csv", [str(path)], tmp_path / "out")


@pytest.mark.parametrize(("line", "says"), [
    ('{"text": "a", "label": 1', "not valid JSON"),
    ('["a", 1]', "found a list"),
    ('{"text": 3, "label": 1}', "'text': expected a string"),
    ('{"text": "a \\ud800", "label": 1}', "half of a surrogate"),
    ('{"text": "a", "label": 1, "group": "\\udfff"}', "half of a surrogate"),
    ('{"text": [{"role": "user", "content": "\\ud800"}], "label": 1}', "half of a surrogate"),
    ('{"text": [{"role": "judge", "content": "a"}], "label": 1}', "unknown role 'judge'"),
    ("[" * 100_000, "not usable JSON"),
    ('{"text": "a", "label": ' + "9" * 5000 + "}", "not usable JSON"),
])
def test_a_line_that_is_not_as_it_should_be(tmp_path: Path, line: str, says: str) -> None:
    """The third line is named; nothing else is raised."""
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a", "label": 1}\n\n' + line + "\n")
    with pytest.raises(PackError, match=rf"x.jsonl:3: .*{says}"):
        imported("jsonl", [str(path)], tmp_path / "out")


def test_text_stays_text(tmp_path: Path) -> None:
    """Separators inside a string, markup, quotes, emoji and control characters come out as sent."""
    odd = 'a\u2028b <script>"x"</script> \\n ${{1}} \x7f \U0001f600 [bold]é'
    rows = [{"text": f"{odd} {t} {'ab'[j]}", "label": j} for t in THINGS for j in (0, 1)]
    file = json_lines(tmp_path / "x.jsonl", rows)
    concept = made("jsonl", [file], tmp_path, definition=odd + "\nsecond line", licence=odd)
    assert concept.definition == odd + "\nsecond line" and concept.licence == odd
    assert {e.text.raw for e in concept.examples} == {row["text"] for row in rows}


def test_a_column_name_cannot_write_on_the_terminal(tmp_path: Path) -> None:
    """Escapes and line ends in what an error quotes are made visible."""
    file = json_lines(tmp_path / "x.jsonl", [{"te\x1b[2Jxt\n\u202eb": "a", "label": 1}])
    with pytest.raises(PackError) as error:
        IMPORTERS["jsonl"].read([file], Asked())
    assert str(error.value).isprintable() and r"\x1b[2J" in str(error.value)


def test_chats_in_a_column_stay_chats(tmp_path: Path) -> None:
    """A list of messages is read as packs write it, and read at the response."""
    rows = [
        {side: [{"role": "user", "content": f"And the {t}?"},
                {"role": "assistant", "content": said}]
         for side, said in (("positive", f"Mend the {t}"), ("negative", f"Bin the {t}"))}
        for t in THINGS
    ]
    concept = made("jsonl", [json_lines(tmp_path / "x.jsonl", rows)], tmp_path)
    assert concept.positions == ("last", "response_mean")
    assert concept.examples[0].text.messages[0].role == "user"


@pytest.mark.parametrize("pairs", [True, False])
def test_answers_to_one_question_stand_together(tmp_path: Path, pairs: bool) -> None:
    """Also where the question is a turn of the chat and no column of its own."""
    rows = []
    for thing in THINGS:
        for answers in (("Mend it today", "Throw that away"), ("Glue and patience", "A new one")):
            sides = [[{"role": "user", "content": f"And the {thing}?"},
                      {"role": "assistant", "content": f"{said} {len(rows)}"}] for said in answers]
            rows += ([{"positive": sides[0], "negative": sides[1]}] if pairs
                     else [{"text": side, "label": 1 - i} for i, side in enumerate(sides)])
    concept = made("jsonl", [json_lines(tmp_path / "x.jsonl", rows)], tmp_path)
    groups: dict[str, set[str]] = {}
    for e in concept.examples:
        groups.setdefault(e.text.messages[0].content, set()).add(e.group)
    assert len(groups) == len(THINGS) and all(len(found) == 1 for found in groups.values())


def test_a_pair_in_two_groups_is_refused(tmp_path: Path) -> None:
    """One of its texts would stand on the other side of a split from its own group."""
    rows = [row | {"pair": str(i // 2)} for i, row in enumerate(labelled_rows())]
    rows[5]["group"] = "elsewhere"
    with pytest.raises(PackError, match=r"x.jsonl:6: the pair '2' stands .*elsewhere"):
        IMPORTERS["jsonl"].read([json_lines(tmp_path / "x.jsonl", rows)], Asked())


def test_two_objects_in_a_line_are_refused(tmp_path: Path) -> None:
    """The second would be passed over without a word."""
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a", "label": 1} {"text": "b", "label": 0}\n')
    with pytest.raises(PackError, match=r"x.jsonl:1: something follows"):
        IMPORTERS["jsonl"].read([str(path)], Asked())


@pytest.mark.parametrize("header", ["a,b\rc,d\r", f"{'x' * 200_000},b\n"])
def test_a_table_of_another_format_is_looked_at_without_an_error(
    tmp_path: Path, header: str
) -> None:
    """Lines that end as on old Macs, and a column of endless name."""
    path = tmp_path / "x.csv"
    path.write_bytes(header.encode())
    assert guess(str(path)) == []
