"""What a pack says arrives as it was written; what is wrong is named with file and line."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from virtuelens.concepts.new import new_concept
from virtuelens.concepts.pack import list_concepts, load_concept, load_neutral
from virtuelens.errors import PackError
from virtuelens.values.texts import Message, Text

MAIN, CHOICE, TOML = "pairs/english.main.jsonl", "behaviour/english.choice.jsonl", "concept.toml"
Edit = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A valid pack to break."""
    return new_concept("thing", tmp_path)


def lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, values: list[dict[str, Any]]) -> None:
    """Write objects as JSON lines."""
    path.write_text("".join(json.dumps(v) + "\n" for v in values))


def test_pairs_become_examples_side_by_side(pack: Path) -> None:
    """Two examples a pair, positive first, sharing group and pair; splits from the file names."""
    concept = load_concept(pack)
    first = lines(pack / MAIN)[0]
    positive, negative = concept.examples[:2]
    assert (positive.label, negative.label) == (1, 0)
    assert positive.pair == negative.pair == first["id"]
    assert positive.group == first["group"]
    said = [m["content"] for m in first["negative"]]
    assert negative.text == Text(messages=(Message("user", said[0]), Message("assistant", said[1])))
    assert len(concept.in_split("main")) == 2 * len(lines(pack / MAIN))
    assert concept.n_pairs("main") == len(lines(pack / MAIN))
    assert {e.split for e in concept.examples} == {"main", "shifted"}
    assert len({e.id for e in concept.examples}) == len(concept.examples)
    assert concept.in_split("shifted")[0].text.raw is not None


def test_single_examples_may_stand_for_pairs(pack: Path) -> None:
    """Lines with text and label are examples whose labels may be exchanged within their group."""
    write(pack / MAIN, [
        {"id": f"s{i}", "group": f"g{i % 3}", "text": f"text {i}", "label": i % 2}
        for i in range(6)
    ])  # fmt: skip
    concept = load_concept(pack)
    examples = concept.in_split("main")
    assert [e.label for e in examples] == [0, 1, 0, 1, 0, 1]
    assert len({e.pair for e in examples}) == 3
    assert concept.n_pairs("main") == 6


def test_raw_text_may_have_a_response(pack: Path) -> None:
    """An object of raw and continuation keeps the boundary between them."""
    pair = lines(pack / MAIN)[0]
    pair |= {side: {"raw": "Q:", "continuation": f" {side}"} for side in ("positive", "negative")}
    write(pack / MAIN, [pair])
    assert load_concept(pack).examples[0].text.response == " positive"


def test_behaviour_items_keep_their_target(pack: Path) -> None:
    """Kind and meaning come from the table, choices and target from the lines."""
    behaviour = load_concept(pack).behaviours[0]
    first = lines(pack / CHOICE)[0]
    assert (behaviour.name, behaviour.kind) == ("choice", "target")
    assert behaviour.items[0].choices == tuple(first["choices"])
    assert behaviour.items[0].target == first["target"]


def test_hash_changes_with_what_is_read_only(pack: Path) -> None:
    """A pair, an item or the description changes it; the card and other dialects do not."""
    before = load_concept(pack).hash
    (pack / "card.md").write_text("other words")
    (pack / "pairs" / "small.main.jsonl").write_text("not read")
    assert load_concept(pack).hash == before
    for name in (MAIN, CHOICE, TOML):
        old = (pack / name).read_text()
        (pack / name).write_text(old.replace("the ", "a "))
        assert load_concept(pack).hash != before
        (pack / name).write_text(old)
    assert load_concept(pack).hash == before


def changed(**new: Any) -> Edit:
    """Replace values of a line."""
    return lambda line: line | new


BROKEN: dict[str, tuple[str, Edit, str]] = {
    "equal sides": (MAIN, lambda x: x | {"negative": x["positive"]}, "the two sides are equal"),
    "sides equal but for spaces": (
        MAIN, changed(positive="a b", negative="a  b "), "the two sides are equal"),
    "unknown key": (MAIN, changed(lable=1), "unknown key 'lable': expected id, group, positive"),
    "missing key": (MAIN, lambda x: {k: v for k, v in x.items() if k != "group"},
                    "key 'group' is missing"),
    "unknown role": (MAIN, changed(positive=[{"role": "asistant", "content": "x"}]),
                     "positive: unknown role 'asistant': expected one of system, user, assistant"),
    "no content": (MAIN, changed(positive=[{"role": "user", "content": " "}]),
                   "positive: the content of a message is empty"),
    "no messages": (MAIN, changed(negative=[]), "negative: expected a string"),
    "text is a number": (MAIN, changed(negative=3), "negative: expected a string"),
    "message with more keys": (
        MAIN, changed(positive=[{"role": "user", "content": "x", "name": "y"}]),
        "a message has the keys role and content"),
    "empty group": (MAIN, changed(group=""), "group: is empty"),
    "id is a number": (MAIN, changed(id=7), "id: "),
    "nested latents": (MAIN, changed(latents={"a": [1]}), "latents"),
    "one choice": (CHOICE, changed(choices=["a"]), "1 choice: a forced choice needs at least 2"),
    "equal choices": (CHOICE, changed(choices=["a", " a"]), "two choices are equal"),
    "target too large": (CHOICE, changed(target=2), "target 2 is out of range: expected 0 to 1"),
    "target negative": (CHOICE, changed(target=-1), "target -1 is out of range"),
    "target is a boolean": (CHOICE, changed(target=True), "target: "),
    "prompt is answered": (
        CHOICE, changed(prompt=[{"role": "assistant", "content": "x"}]),
        "already holds a response"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_line_is_named(pack: Path, what: str) -> None:
    """The message is file:line: what is wrong."""
    name, edit, message = BROKEN[what]
    values = lines(pack / name)
    write(pack / name, [values[0], edit(values[1]), *values[2:]])
    with pytest.raises(PackError) as caught:
        load_concept(pack)
    assert str(caught.value).startswith(f"{pack / name}:2: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


RAW: dict[str, tuple[bytes, int, str]] = {
    "half an object": (b'{"id": "x", ', 2, "not valid JSON"),
    "not an object": (b"[1, 2]", 2, "expected an object"),
    "key twice": (b'{"id": "a", "id": "b"}', 2, "key 'id' stands twice"),
    "NaN": (b'{"id": NaN}', 2, "NaN is not a JSON value"),
    "half a character": (b'{"id": "\\ud800"}', 2, "half of a surrogate pair"),
    "not UTF-8": (b'{"id": "\xe9"}', 2, "byte 0xe9 is not valid UTF-8"),
    "very deep": (b"[" * 100_000, 2, "nested too deeply"),
}


@pytest.mark.parametrize("what", RAW)
def test_a_line_that_cannot_be_read_is_named(pack: Path, what: str) -> None:
    """Broken JSON and broken encoding have a line number too."""
    data, line, message = RAW[what]
    first, _, rest = (pack / MAIN).read_bytes().partition(b"\n")
    (pack / MAIN).write_bytes(first + b"\n" + data + b"\n" + rest)
    with pytest.raises(PackError) as caught:
        load_concept(pack)
    assert str(caught.value).startswith(f"{pack / MAIN}:{line}: {message}")


def test_a_byte_order_mark_is_named(pack: Path) -> None:
    """A BOM, which editors hide, is said and not read over."""
    (pack / MAIN).write_bytes(b"\xef\xbb\xbf" + (pack / MAIN).read_bytes())
    with pytest.raises(PackError, match=r"main\.jsonl:1: begins with a byte-order mark"):
        load_concept(pack)


def test_windows_lines_blank_lines_and_line_separators_are_fine(pack: Path) -> None:
    """CRLF and blank lines change nothing; U+2028 inside a text does not end the line."""
    before = load_concept(pack).examples
    values = lines(pack / MAIN)
    values[0]["positive"][0]["content"] += "\u2028more"
    text = "\r\n\r\n".join(json.dumps(v, ensure_ascii=False) for v in values)
    (pack / MAIN).write_bytes(text.encode())
    after = load_concept(pack).examples
    assert after[0].text.messages[0].content.endswith("\u2028more")
    assert after[1:] == before[1:]


def test_an_id_used_twice_names_both_places(pack: Path) -> None:
    """In one file or over the splits."""
    shifted = pack / "pairs" / "english.shifted.jsonl"
    values = lines(shifted)
    values[1]["id"] = lines(pack / MAIN)[2]["id"]
    write(shifted, values)
    with pytest.raises(PackError, match=r"shifted\.jsonl:2: id .* first in .*main\.jsonl:3$"):
        load_concept(pack)


def test_several_problems_are_counted(pack: Path) -> None:
    """The first is told, and how many wait behind it."""
    values = lines(pack / MAIN)
    write(pack / MAIN, [v | {"lable": 1} for v in values])
    with pytest.raises(PackError, match=rf":1: unknown key .*\(and {len(values) - 1} more"):
        load_concept(pack)


def test_empty_and_one_class_packs_are_refused(pack: Path) -> None:
    """Fitting needs examples of both labels."""
    one = [{"id": f"s{i}", "group": "g", "text": f"t {i}", "label": 1} for i in range(3)]
    write(pack / MAIN, one)
    with pytest.raises(PackError, match="holds only label 1"):
        load_concept(pack)
    (pack / MAIN).write_text("\n\n")
    with pytest.raises(PackError, match="is empty"):
        load_concept(pack)
    (pack / CHOICE).write_text("")
    (pack / MAIN).unlink()
    with pytest.raises(PackError, match=r"main\.jsonl: is missing.*1 more"):
        load_concept(pack)


def test_files_and_table_must_agree(pack: Path) -> None:
    """A behaviour set without its file, a file without its table, a set of pairs nobody reads."""
    (pack / CHOICE).rename(pack / "behaviour" / "english.chioce.jsonl")
    with pytest.raises(PackError, match=r"english\.chioce\.jsonl: .*behaviour\.chioce.*1 more"):
        load_concept(pack)
    (pack / "behaviour" / "english.chioce.jsonl").unlink()
    with pytest.raises(PackError, match=r"english\.choice\.jsonl: is missing: concept\.toml names"):
        load_concept(pack)
    (pack / CHOICE).write_text((pack / MAIN).read_text())
    (pack / MAIN).rename(pack / "pairs" / "english.mian.jsonl")
    with pytest.raises(PackError, match="unknown set 'mian': expected main, shifted, transfer"):
        load_concept(pack)


TABLE: dict[str, tuple[str, str, str]] = {
    "unknown key": ('author = "your name"', 'autor = "x"\nauthor = "y"', "unknown key 'autor'"),
    "wrong kind": ('kind = "target"', 'kind = "traget"', "dialects.english.behaviour.choice.kind"),
    "other schema": ("schema = 1", "schema = 2", "schema: "),
    "other name": ('name = "thing"', 'name = "think"', "name is 'think', its folder 'thing'"),
    "unquoted": ('licence = "CC-BY-4.0"', "licence = CC-BY", "not valid TOML"),
}


@pytest.mark.parametrize("what", TABLE)
def test_a_wrong_line_of_the_table_is_named(pack: Path, what: str) -> None:
    """concept.toml: the line of the key, and what was expected."""
    old, new, message = TABLE[what]
    text = (pack / TOML).read_text()
    line = text[: text.index(old)].count("\n") + 1
    (pack / TOML).write_text(text.replace(old, new, 1))
    with pytest.raises(PackError) as caught:
        load_concept(pack)
    assert str(caught.value).startswith(f"{pack / TOML}:{line}: {message}")


def test_a_missing_key_of_the_table_is_named(pack: Path) -> None:
    """So is one that is not there."""
    text = (pack / TOML).read_text()
    (pack / TOML).write_text(text.replace('licence = "CC-BY-4.0"\n', ""))
    with pytest.raises(PackError, match=r"concept\.toml:1: key 'licence' is missing"):
        load_concept(pack)


def test_a_table_nested_too_deeply_is_one_line(pack: Path) -> None:
    """Brackets without end are no traceback."""
    (pack / TOML).write_text("x = " + "[" * 20_000 + "]" * 20_000)
    with pytest.raises(PackError, match=r"concept\.toml: nested too deeply"):
        load_concept(pack)


def test_a_file_that_leads_outside_is_refused(pack: Path, tmp_path: Path) -> None:
    """A pack from elsewhere cannot make us read other files of this machine."""
    (tmp_path / "secret.jsonl").write_text((pack / MAIN).read_text())
    (pack / MAIN).unlink()
    (pack / MAIN).symlink_to(tmp_path / "secret.jsonl")
    with pytest.raises(PackError, match="leads outside the pack"):
        load_concept(pack)


def test_an_unknown_dialect_says_which_there_are(pack: Path) -> None:
    """Neither another language nor a path gets through."""
    for dialect in ("klingon", "../../x"):
        with pytest.raises(PackError, match="it has english"):
            load_concept(pack, dialect=dialect)
        with pytest.raises(PackError, match=r"there are some in .*english"):
            load_neutral(dialect)


def test_an_unknown_concept_says_which_there_are(tmp_path: Path) -> None:
    """A name that is nowhere, a folder without a table."""
    with pytest.raises(PackError, match=r"'honestly'.*honesty.*valence"):
        load_concept("honestly")
    with pytest.raises(PackError, match=r"holds no concept\.toml"):
        load_concept(tmp_path)


def test_packs_on_the_search_path_are_found(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$VIRTUELENS_PATH adds packs, and one of the same name goes before the shipped one."""
    root = pack.parent / "root"
    (root / "probes").mkdir(parents=True)
    pack.rename(root / "probes" / "thing")
    monkeypatch.setenv("VIRTUELENS_PATH", str(root))
    assert {"thing", "honesty"} <= {c.name for c in list_concepts()}
    assert load_concept("thing").path == root / "probes" / "thing"
    assert new_concept("honesty", root / "probes") == load_concept("honesty").path


def test_loading_needs_no_torch() -> None:
    """Listing and loading packs is quick: torch, pandas and scikit-learn stay out."""
    code = (
        "import sys; from virtuelens.concepts.pack import load_concept; load_concept('honesty');"
        "sys.exit(bool({'torch', 'transformers', 'pandas', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=dict(os.environ), check=False)
    assert done.returncode == 0


def test_neutral_texts_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raw text and chats; a broken line is named."""
    path = tmp_path / "probes" / "neutral" / "small.jsonl"
    path.parent.mkdir(parents=True)
    monkeypatch.setenv("VIRTUELENS_PATH", str(tmp_path))
    write(path, [{"text": "a"}, {"messages": [{"role": "user", "content": "b"}]}])
    assert [t.words for t in load_neutral("small")] == ["a", "b"]
    write(path, [{"text": "a"}, {"text": "a", "messages": []}])
    with pytest.raises(PackError, match=r"small\.jsonl:2: "):
        load_neutral("small")
