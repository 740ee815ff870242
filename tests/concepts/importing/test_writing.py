"""Where a pack is written, and the command that writes it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.concepts.importing.made import imported
from tests.concepts.published import caa, plain_csv, table
from virtuelens.concepts.importing import IMPORTERS, Asked, Wish, import_pack
from virtuelens.concepts.pack import load_concept
from virtuelens.errors import PackError


def command(*arguments: str, where: Path) -> subprocess.CompletedProcess[str]:
    """`virtuelens concepts import` in a process of its own."""
    code = "from virtuelens.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, "concepts", "import", *arguments],
                          capture_output=True, text=True, timeout=300, check=False, cwd=where)


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
