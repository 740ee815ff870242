"""The public files beside the repository, read whole."""

from pathlib import Path

import pytest

from tests.concepts.importing.made import imported, made
from virtuelens.concepts.importing import IMPORTERS, Asked, guess
from virtuelens.concepts.importing.drafts import Pair
from virtuelens.concepts.importing.table import Importer
from virtuelens.errors import PackError

DATA = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture
def data() -> Path:
    """The public files beside the repository."""
    if not DATA.is_dir():
        pytest.skip(f"{DATA} is absent: it is test material outside the repository")
    return DATA


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
