"""The traps of published data, each planted in a tiny file of our own; and the public files.

What runs over every format is in tests/contracts/test_importers.py.
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.concepts.published import (
    THINGS,
    anthropic_evals,
    caa,
    dataset_folder,
    eval_rows,
    json_lines,
    json_value,
    labelled_rows,
    persona,
    plain_csv,
    statement_rows,
    statements,
    table,
    truthfulqa,
)
from virtuelens.concepts.importing import IMPORTERS, Asked, Imported, Wish, guess, import_pack
from virtuelens.concepts.importing.drafts import Pair, Single, flipped
from virtuelens.concepts.importing.table import Importer
from virtuelens.concepts.pack import Concept, load_concept
from virtuelens.errors import PackError

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def data() -> Path:
    """The public files beside the repository."""
    if not DATA.is_dir():
        pytest.skip(f"{DATA} is absent: it is test material outside the repository")
    return DATA


def made(format: str, files: list[str], out: Path, **wish: object) -> Concept:
    """The concept that an import gives."""
    concept = imported(format, files, out, **wish).concept
    assert concept is not None
    return concept


def imported(format: str, files: list[str], out: Path, **wish: object) -> Imported:
    """What an import to `out/mine` gives."""
    return import_pack(format, files, Wish("mine", out, **wish))  # type: ignore[arg-type]


def command(*arguments: str, where: Path) -> subprocess.CompletedProcess[str]:
    """`virtuelens concepts import` in a process of its own."""
    code = "from virtuelens.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, "concepts", "import", *arguments],
                          capture_output=True, text=True, timeout=300, check=False, cwd=where)


# The ten traps of shared/data/README.md


def test_1_rows_that_alternate_do_not_make_one_class(tmp_path: Path) -> None:
    """Yes, No, Yes, No: both splits hold both labels, near their share."""
    concept = made("persona-statements", persona(tmp_path), tmp_path)
    for split in ("main", "shifted"):
        labels = [e.label for e in concept.in_split(split)]  # type: ignore[arg-type]
        assert 0.2 < sum(labels) / len(labels) < 0.8


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
    from tests.concepts.published import SAMPLES

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


def test_7_quoted_tsv_without_a_header(tmp_path: Path) -> None:
    """Doubled quotes are undone; the first row counts; mixed and neutral rows are left out."""
    from tests.concepts.published import goemotions

    drafts = IMPORTERS["goemotions"].read(goemotions(tmp_path), Asked())
    said = {p.text.raw for p in drafts.pairs if isinstance(p, Single)}
    assert 'He said "look at the loom" and laughed' in said
    assert "Look at my kettle number 0" in said
    assert len(said) == 37 and any("12 comments" in note for note in drafts.notes)


def test_7_plain_tsv_with_a_list(tmp_path: Path) -> None:
    """A quotation mark opens nothing; emoticons, short and weak words are left out."""
    from tests.concepts.published import vader

    drafts = IMPORTERS["vader"].read(vader(tmp_path), Asked())
    assert {p.text.raw for p in drafts.pairs if isinstance(p, Single)} == set(THINGS)
    assert any("4 entries" in note for note in drafts.notes)


def test_7_emotions_can_be_chosen_and_are_checked(tmp_path: Path) -> None:
    """A name that is none is refused with all that there are."""
    from tests.concepts.published import goemotions

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


# Groups


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


# Sycophancy-eval, in all three files


def test_a_remark_points_to_the_wrong_answer_or_to_the_right_one(tmp_path: Path) -> None:
    """Four templates: two give pairs, one the correct-user column, one the bare question."""
    from tests.concepts.published import sycophancy_eval

    drafts = IMPORTERS["sycophancy-eval"].read(sycophancy_eval(tmp_path), Asked())
    assert len(drafts.pairs) == 2 * len(THINGS)
    assert Counter(c.set for c in drafts.choices) == {
        "deference": 48, "true_agreement": 24, "unprompted": 24,
    }  # fmt: skip
    first = drafts.pairs[0]
    assert isinstance(first, Pair)
    assert (first.positive.response, first.negative.response) == ("cellar", "attic")


def test_swapped_labels_leave_a_neutral_set_as_it_is(tmp_path: Path) -> None:
    """A neutral set must stay right, whichever label is which."""
    from tests.concepts.published import sycophancy_eval

    drafts = IMPORTERS["sycophancy-eval"].read(sycophancy_eval(tmp_path), Asked())
    turned = flipped(drafts)
    for one, other in zip(drafts.choices, turned.choices, strict=True):
        assert (one == other) == (one.set == "unprompted")
    assert turned.sets["unprompted"] == drafts.sets["unprompted"]


def test_an_answer_and_its_negative_are_two_answers(tmp_path: Path) -> None:
    """-3 against 3 is a pair, not one text with both labels."""
    file = table(tmp_path / "x.csv", ["positive", "negative", "prompt", "group"], [
        (-i, i, f"{i} minus {2 * i}", f"from {i // 9}") for i in range(9, 63)
    ])  # fmt: skip
    concept = made("csv", [file], tmp_path)
    assert concept.n_pairs("main") + concept.n_pairs("shifted") == 54


def test_are_you_sure_changes_to_the_wrong_answer(tmp_path: Path) -> None:
    """Right answer, doubt in our words, and then the wrong or the right one."""
    rows = [{"prompt": [{"type": "human", "content": f"Where is the {t}?"}],
             "base": {"question": f"Where is the {t}?", "correct_answer": "Upstairs",
                      "incorrect_answer": "Downstairs"}, "metadata": {}} for t in THINGS]
    file = json_lines(tmp_path / "are_you_sure.jsonl", rows)
    first = IMPORTERS["sycophancy-eval"].read([file], Asked()).pairs[0]
    assert isinstance(first, Pair)
    assert [m.role for m in first.positive.messages] == ["user", "assistant", "user", "assistant"]
    assert first.positive.messages[1].content == "Upstairs"
    assert (first.positive.response, first.negative.response) == ("Downstairs", "Upstairs")


def test_feedback_sets_a_remark_beside_none(tmp_path: Path) -> None:
    """Or two remarks beside each other, where they are named."""
    kinds = {"": "", "liked": "I love it. ", "disliked": "I hate it. "}
    rows = [{"prompt": [{"type": "human", "content": f"Comment: {said}a poem on the {t}"}],
             "base": {"dataset": "poems", "text": f"a poem on the {t}"},
             "metadata": {"prompt_template_type": kind}}
            for t in THINGS for kind, said in kinds.items()]  # fmt: skip
    file = json_lines(tmp_path / "feedback.jsonl", rows)
    read = IMPORTERS["sycophancy-eval"].read
    assert len(read([file], Asked()).pairs) == 2 * len(THINGS)
    asked = Asked(positive=("liked",), negative=("disliked",))
    first = read([file], asked).pairs[0]
    assert isinstance(first, Pair)
    assert "love" in first.positive.words and "hate" in first.negative.words


# Plain tables and datasets


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


def test_a_dataset_folder_gives_one_split(tmp_path: Path) -> None:
    """train by default, another by name; one that is not there is refused."""
    folder = dataset_folder(tmp_path)[0]
    read = IMPORTERS["dataset"].read
    assert len(read([folder], Asked()).pairs) == 48
    assert len(read([folder], Asked(split="test")).pairs) == 4
    with pytest.raises(PackError, match=r"no file of the split 'dev'.*test-00000"):
        read([folder], Asked(split="dev"))


def test_a_dataset_saved_on_disk(tmp_path: Path) -> None:
    """Plain and with splits; class labels by number or by name."""
    datasets = pytest.importorskip("datasets")
    rows = labelled_rows()
    features = datasets.Features({
        "text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bin", "mend"]),
        "group": datasets.Value("string"),
    })  # fmt: skip
    plain = datasets.Dataset.from_list(rows, features=features)
    plain.save_to_disk(tmp_path / "plain")
    datasets.DatasetDict(train=plain, test=plain.select(range(6))).save_to_disk(tmp_path / "both")
    read = IMPORTERS["dataset"].read
    assert len(read([str(tmp_path / "both")], Asked(split="test")).pairs) == 6
    with pytest.raises(PackError, match="has no split 'dev': it has train, test"):
        read([str(tmp_path / "both")], Asked(split="dev"))
    by_number = read([str(tmp_path / "plain")], Asked()).pairs
    by_name = read([str(tmp_path / "both")], Asked(positive=("mend",), negative=("bin",))).pairs
    texts = [[(p.text.raw, p.label) for p in ps if isinstance(p, Single)]
             for ps in (by_number, by_name)]
    assert texts[0] == texts[1] == [(row["text"], row["label"]) for row in rows]


def test_a_damaged_dataset_is_one_line(tmp_path: Path) -> None:
    """Whatever the library raises."""
    pytest.importorskip("datasets")
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "state.json").write_text("{")
    with pytest.raises(PackError, match="cannot be loaded as a dataset") as error:
        IMPORTERS["dataset"].read([str(folder)], Asked())
    assert "\n" not in str(error.value)


def test_a_hub_id_goes_through_the_library_and_runs_no_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """load_dataset gets the id and nothing else, so never trust_remote_code."""
    datasets = pytest.importorskip("datasets")
    asked_for: list[object] = []

    def load_dataset(*arguments: object, **options: object) -> object:
        asked_for.append((arguments, options))
        return datasets.DatasetDict(train=datasets.Dataset.from_list(labelled_rows()))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.chdir(tmp_path)
    concept = made("dataset", ["someone/things"], tmp_path)
    assert asked_for == [(("someone/things",), {})]
    assert "someone/things (from the hub)" in concept.note
    monkeypatch.setattr(datasets, "__version__", "2.14.0")
    with pytest.raises(PackError, match="may run code"):
        IMPORTERS["dataset"].read(["someone/things"], Asked())


@pytest.mark.parametrize("path", ["no-such", "no/such/folder", "../x"])
def test_a_path_that_is_not_there_asks_no_hub(path: str) -> None:
    """Only OWNER/NAME is a hub id."""
    with pytest.raises(PackError, match="neither a folder nor a dataset's hub id"):
        IMPORTERS["dataset"].read([path], Asked())


# Where it is written


def test_what_is_there_is_kept_unless_it_may_go(tmp_path: Path) -> None:
    """A pack is replaced with --overwrite alone, any other folder never."""
    files = plain_csv(tmp_path)
    imported("csv", files, tmp_path)
    (tmp_path / "mine" / "old.txt").write_text("old")
    with pytest.raises(PackError, match=r"exists already.*--overwrite"):
        imported("csv", files, tmp_path)
    assert (tmp_path / "mine" / "old.txt").exists()
    imported("csv", files, tmp_path, overwrite=True)
    assert not (tmp_path / "mine" / "old.txt").exists()
    other = tmp_path / "work" / "mine"
    other.mkdir(parents=True)
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(PackError, match="is no pack: it is not overwritten"):
        imported("csv", files, tmp_path / "work", overwrite=True)
    assert (other / "thesis.txt").read_text() == "mine"


def test_a_failed_import_leaves_what_was_there(tmp_path: Path) -> None:
    """Also with --overwrite."""
    imported("csv", plain_csv(tmp_path), tmp_path)
    before = (tmp_path / "mine" / "concept.toml").read_bytes()
    with pytest.raises(PackError):
        imported("csv", [table(tmp_path / "b.csv", ("text", "label"), [("a", 1)])], tmp_path,
                 overwrite=True)
    assert (tmp_path / "mine" / "concept.toml").read_bytes() == before


def test_third_party_text_does_not_go_among_our_packs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder that virtuelens ships is refused."""
    from virtuelens import catalog

    monkeypatch.setattr(catalog, "shipped", lambda kind: tmp_path / "probes")
    with pytest.raises(PackError, match="keeps its own packs"):
        imported("csv", plain_csv(tmp_path), tmp_path / "probes")


@pytest.mark.parametrize("name", ["", "../x", "Big", "a b", "1st"])
def test_names_are_one_plain_word(tmp_path: Path, name: str) -> None:
    """As for new packs."""
    with pytest.raises(PackError, match="cannot name a concept"):
        import_pack("csv", plain_csv(tmp_path), Wish(name, tmp_path))


def test_an_option_that_a_format_does_not_take(tmp_path: Path) -> None:
    """It is refused, not passed over."""
    with pytest.raises(PackError, match="The format caa takes no --column"):
        imported("caa", caa(tmp_path), tmp_path, asked=Asked(columns={"text": "question"}))


# The command


def test_the_command_writes_a_pack_here_and_says_what_it_saw(tmp_path: Path) -> None:
    """Counts, which label is which, the surface; then show and check take it."""
    file = plain_csv(tmp_path)[0]
    done = command("csv", file, "--as", "mending", "--definition", "Mending [things].",
                   where=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Wrote mending" in done.stdout and "label 1: the column positive" in done.stdout
    assert "words alone, held-out groups: AUROC" in done.stdout
    assert load_concept(tmp_path / "mending").definition == "Mending [things]."
    again = command("csv", file, "--as", "other", "--json", where=tmp_path)
    said = json.loads(again.stdout)
    assert said["counts"]["main"] > 0
    assert "words alone, held-out groups" in said["surface"]


@pytest.mark.parametrize(("arguments", "says"), [
    (["csvv", "mine.csv", "--as", "x"], "No format 'csvv'. Did you mean csv?"),
    (["caa", "mine.csv", "--as", "x"], "looks like the format csv"),
    (["csv", "nothing.csv", "--as", "x"], "nothing.csv is missing"),
    (["csv", ".", "--as", "x"], "is a folder"),
    (["csv", "mine.csv"], "Usage: virtuelens concepts import"),
    (["csv", "--as", "x"], "Name at least one file"),
    (["csv", "mine.csv", "mine.csv", "--as", "x"], "named twice"),
    (["csv", "mine.csv", "--as", "x", "--column", "tex=a"], "expected OURS=THEIRS"),
    (["csv", "mine.csv", "--as", "x", "--encoding", "klingon"], "No text encoding 'klingon'"),
    (["csv", "mine.csv", "--as", "x", "--without", "nowhere"], "No concept pack 'nowhere'"),
])
def test_a_users_error_is_one_line_and_code_2(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    """No traceback, nothing written."""
    plain_csv(tmp_path)
    done = command(*arguments, where=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert says in done.stderr.strip().splitlines()[-1]
    assert [p.name for p in tmp_path.iterdir()] == ["mine.csv"]


def test_the_formats_are_listed(tmp_path: Path) -> None:
    """Every one, with what it reads and what its groups are."""
    listed = json.loads(command("--list", "--json", where=tmp_path).stdout)
    assert [row["name"] for row in listed] == list(IMPORTERS)
    assert all(row["about"] and row["grouped_by"] for row in listed)


# The public files beside the repository


def every_file(folder: Path, *suffixes: str) -> list[Path]:
    """Data files, without licences and notes."""
    return [p for p in sorted(folder.rglob("*")) if p.suffix in suffixes and p.stem != "SOURCE"]


@pytest.mark.parametrize(("folder", "format", "suffix", "n"), [
    ("anthropic_sycophancy", "anthropic-evals", ".jsonl", 1000),
    ("anthropic_self_awareness", "anthropic-evals", ".jsonl", 7732),
    ("anthropic_persona", "anthropic-evals", ".jsonl", 4800),
    ("anthropic_persona", "persona-statements", ".jsonl", 4800),
    ("truthfulqa", "truthfulqa", ".csv", 1607), ("truthfulqa", "truthfulqa-mc", ".json", 1607),
    ("assistant_axis/traits", "traits", ".json", 22 * 200),
    ("self_instruct", "instructions", ".jsonl", 419), ("identity", "instructions", ".json", 89),
    ("mt_bench", "turns", ".jsonl", 158), ("xstest_safe", "xstest", ".csv", 121),
])
def test_every_public_file_is_read_whole(
    data: Path, folder: str, format: str, suffix: str, n: int
) -> None:
    """As many pairs or texts as SOURCE.md counts rows (neutral texts without repeats)."""
    files = every_file(data / folder, suffix)
    assert all(format in guess(str(f)) for f in files)
    read = IMPORTERS[format].read
    if format in {"instructions", "turns", "xstest"}:
        assert len(read([str(f) for f in files], Asked()).neutral) == n
        return
    assert sum(len(read([str(f)], Asked()).pairs) for f in files) == n


@pytest.mark.parametrize("name", ["animal_class", "element_symb", "facts", "inventors",
                                  "animal_class_de", "element_symb_de", "facts_de", "inventors_de"])
def test_public_statements_meet_their_negations(data: Path, name: str) -> None:
    """Every row, also where the German facts lack one."""
    folder = data / "truth_is_universal"
    files = [str(folder / f"{name}.csv"), str(folder / f"neg_{name}.csv")]
    drafts = IMPORTERS["statements"].read(files, Asked())
    one, two = (len(IMPORTERS["statements"].read([f], Asked()).pairs) for f in files)
    assert len(drafts.pairs) == min(one, two)
    assert all(isinstance(p, Pair) for p in drafts.pairs)


def test_public_sources_overlap_as_their_notes_say(data: Path, tmp_path: Path) -> None:
    """51 and 6 questions of CAA's sycophancy also stand in Anthropic's files."""
    sycophancy = [str(f) for f in every_file(data / "anthropic_sycophancy", ".jsonl")]
    for kind, file, n in (("generate", "generate_dataset", 51), ("test", "test_dataset_ab", 6)):
        done = imported("caa", [str(data / "caa" / kind / "sycophancy" / f"{file}.json")],
                        tmp_path / kind, without=tuple(sycophancy))
        gone = [int(n.split()[0]) for n in done.notes if "that also stand in" in n]
        assert sum(gone) == n


def test_the_public_survey_has_a_group_a_question(data: Path, tmp_path: Path) -> None:
    """500 biographies around 32 claims: not one claim in two splits."""
    file = str(data / "anthropic_sycophancy" / "sycophancy_on_nlp_survey.jsonl")
    concept = made("anthropic-evals", [file], tmp_path)
    groups = {e.group for e in concept.examples}
    groups |= {i.group for b in concept.behaviours for i in b.items}
    assert len(groups) == 32


def test_public_facts_and_emotions(data: Path) -> None:
    """The counts of SOURCE.md, less what notes say."""
    facts = str(data / "lie_detector" / "questions_1000_all.json")
    made_up = str(data / "lie_detector" / "questions_made_up_all.json")
    assert len(IMPORTERS["lie-detector"].read([facts], Asked()).pairs) == 1012
    assert len(IMPORTERS["unknowable"].read([facts, made_up], Asked()).pairs) == 1012 + 348
    for name, n in (("train", 8000), ("dev", 2500), ("test", 2500)):
        file = str(data / "goemotions" / f"{name}.tsv")
        drafts = IMPORTERS["goemotions"].read([file], Asked())
        assert len(drafts.pairs) + int(drafts.notes[0].split()[0]) == n
    vader = IMPORTERS["vader"].read([str(data / "vader_lexicon" / "vader_lexicon.txt")], Asked())
    assert len(vader.pairs) + int(vader.notes[0].split()[0]) == 7450


def test_public_books_in_three_encodings(data: Path) -> None:
    """One of them is not UTF-8."""
    read = IMPORTERS["books"].read
    for name in ("alice_11-0", "sherlock_1661"):
        assert len(read([str(data / "gutenberg" / f"{name}.txt")], Asked()).neutral) > 500
    candle = str(data / "gutenberg" / "candle_14474-8.txt")
    with pytest.raises(PackError, match="--encoding iso-8859-1"):
        read([candle], Asked())
    assert read([candle], Asked("iso-8859-1")).neutral


def test_no_public_file_is_read_by_a_wrong_format_without_a_word(data: Path) -> None:
    """Every file by every format that does not fit: refused, and never with another error."""
    kinds = every_file(data, ".jsonl", ".json", ".csv", ".tsv", ".txt")
    smallest = {tuple(guess(str(f))): f for f in sorted(kinds, key=lambda f: -f.stat().st_size)}
    assert len(smallest) > 10

    def refused(row: Importer, file: Path) -> bool:
        try:
            row.read([str(file)], Asked())
        except PackError:
            return True
        return False

    for fits, file in smallest.items():
        wrong = set(IMPORTERS) - set(fits) - {"books"}
        assert [n for n in sorted(wrong) if not refused(IMPORTERS[n], file)] == [], file
