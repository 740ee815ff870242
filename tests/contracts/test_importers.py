"""Every row of the importers table passes the public contract, which itself can fail."""

import dataclasses
from pathlib import Path

import pytest

from tests.concepts.published import SAMPLES, json_lines
from virtuelens.concepts.importing import IMPORTERS, Asked, Wish, import_pack
from virtuelens.concepts.importing.contract import check_importer
from virtuelens.concepts.importing.drafts import Drafts
from virtuelens.concepts.lines import Problems
from virtuelens.concepts.pack import load_concept
from virtuelens.concepts.reading import read_neutral
from virtuelens.errors import PackError
from virtuelens.storage import sha256_file

BY_ENCODING = [name for name, row in IMPORTERS.items()
               if "encoding" in row.takes and name != "dataset"]  # fmt: skip


def files_in(folder: Path) -> dict[str, bytes]:
    """What a folder holds, byte for byte."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", IMPORTERS)
def test_every_importer_keeps_the_contract(name: str, tmp_path: Path) -> None:
    """It knows its own files, reads them the same twice, and says what its labels mean."""
    check_importer(IMPORTERS[name], SAMPLES[name](tmp_path))


@pytest.mark.parametrize("name", IMPORTERS)
def test_every_importer_writes_a_valid_pack(name: str, tmp_path: Path) -> None:
    """The pack loads, no group crosses, and the source's hash and the licence stand in it."""
    files = SAMPLES[name](tmp_path)
    done = import_pack(name, files, Wish("mine", tmp_path / "out", licence="CC-BY-4.0"))
    assert done.folder == tmp_path / "out" / "mine"
    assert "CC-BY-4.0" in (done.folder / "card.md").read_text("utf-8")
    if not IMPORTERS[name].labelled:
        problems = Problems()
        assert len(read_neutral(done.folder / "english.jsonl", problems)) == done.n_neutral > 0
        assert not problems.found
        return
    concept = load_concept(done.folder)
    assert concept.licence == "CC-BY-4.0"
    assert f"format {name}" in concept.note
    first = Path(files[0])
    source = first if first.is_file() else next(p for p in first.rglob("*") if p.is_file())
    assert sha256_file(source) in concept.note
    assert "To be written" in concept.definition
    main = {e.group for e in concept.in_split("main")}
    shifted = {e.group for e in concept.in_split("shifted")}
    asked = {i.group for b in concept.behaviours for i in b.items}
    assert main and shifted
    assert not main & shifted and not (main | shifted) & asked
    for split in ("main", "shifted"):
        assert {e.label for e in concept.in_split(split)} == {0, 1}  # type: ignore[arg-type]


@pytest.mark.parametrize("name", IMPORTERS)
def test_the_same_files_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    """And another seed deals the groups of a pack in another way."""
    files = SAMPLES[name](tmp_path)
    one, two = (
        import_pack(name, files, Wish("mine", tmp_path / out)).folder for out in ("a", "b")
    )
    assert files_in(one) == files_in(two)


@pytest.mark.parametrize("name", [n for n, row in IMPORTERS.items() if row.labelled])
def test_flip_swaps_every_label(name: str, tmp_path: Path) -> None:
    """The same texts with the other label, and the pack says so."""
    files = SAMPLES[name](tmp_path)
    plain = import_pack(name, files, Wish("plain", tmp_path)).concept
    flipped = import_pack(name, files, Wish("flipped", tmp_path, flip=True)).concept
    assert plain is not None and flipped is not None
    labels = {(e.split, e.text): e.label for e in plain.examples}
    turned = {(e.split, e.text): 1 - e.label for e in flipped.examples}
    assert labels == turned
    assert "--flip" in flipped.note


@pytest.mark.parametrize("name", IMPORTERS)
def test_an_empty_file_is_refused_by_name(name: str, tmp_path: Path) -> None:
    """In one line; nothing is written."""
    empty = tmp_path / "nothing.csv"
    empty.write_text("")
    path = tmp_path / "folder" if name == "dataset" else empty
    (tmp_path / "folder").mkdir()
    with pytest.raises(PackError, match=rf"{path.name}.*(empty|holds no|Parquet)") as error:
        import_pack(name, [str(path)], Wish("mine", tmp_path / "out"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", BY_ENCODING)
def test_bytes_that_are_not_utf8_are_refused_with_their_line(name: str, tmp_path: Path) -> None:
    """The option that would read them is named; no other format is suggested."""
    path = Path(SAMPLES[name](tmp_path)[0])
    path.write_bytes(path.read_bytes().replace(b"kettle", b"k\xe9ttle"))
    with pytest.raises(PackError, match=rf"{path.name}:\d+: byte 0xe9 .*--encoding") as error:
        import_pack(name, [str(path)], Wish("mine", tmp_path / "out"))
    assert "looks like" not in str(error.value)


@pytest.mark.parametrize("name", sorted(set(IMPORTERS) - {"books", "dataset"}))
def test_a_file_of_another_format_is_refused_and_that_format_named(
    name: str, tmp_path: Path
) -> None:
    """The first line that does not fit is named, and what would read it."""
    other = "turns" if name != "turns" else "persona-statements"
    path = SAMPLES[other](tmp_path)[0]
    with pytest.raises(PackError, match=r"\.jsonl") as error:
        import_pack(name, [path], Wish("mine", tmp_path / "out"))
    assert "looks like the format" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", sorted(set(IMPORTERS) - {"dataset"}))
def test_a_cut_off_file_is_read_or_refused(name: str, tmp_path: Path) -> None:
    """Wherever a download ended, never another kind of error."""
    files = SAMPLES[name](tmp_path)
    whole = Path(files[0]).read_bytes()
    for cut in range(1, len(whole), max(1, len(whole) // 23)):
        Path(files[0]).write_bytes(whole[:cut])
        try:
            IMPORTERS[name].read(files, Asked())
        except PackError as error:
            assert "\n" not in str(error)


def test_every_row_has_a_sample() -> None:
    """A new row has to bring one."""
    assert set(SAMPLES) == set(IMPORTERS)


def test_the_contract_catches_a_broken_row(tmp_path: Path) -> None:
    """One label only, no meaning, and a file that it does not know."""
    row = IMPORTERS["jsonl"]
    file = json_lines(tmp_path / "x.jsonl", [{"text": "a", "label": 1}])
    with pytest.raises(AssertionError, match="one label only"):
        check_importer(row, [file])
    silent = dataclasses.replace(row, read=lambda paths, asked: Drafts(neutral=()))
    with pytest.raises(AssertionError, match="what its labels mean"):
        check_importer(silent, [file])
    with pytest.raises(AssertionError, match="does not know its own files"):
        check_importer(dataclasses.replace(row, fits=lambda seen: False), [file])
