"""packs.html: one file, every number in it, and no text of a pack can do anything."""

import json
from pathlib import Path

import pytest

from tests.cli.test_commands import virtuelens
from tests.probing.packs import made
from tests.reports.test_html import HOSTILE, Elements, without_plotly
from virtuelens import storage
from virtuelens.audits.packs import TABLES, open_study
from virtuelens.errors import StoreError
from virtuelens.probing.agreement import agreement, disagreement_by_group, disagreements
from virtuelens.probing.generalisation import compare_packs
from virtuelens.reports.packs import agreement_map, heat_map, write_packs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose pack names, texts and model name are hostile."""
    out = tmp_path_factory.mktemp("packs")
    packs = [made("a", 0, seed=1, text=HOSTILE), made(f"b{HOSTILE}", 1, seed=2, text=HOSTILE)]
    c = compare_packs(packs, fingerprint="", n_permutations=40, n_bootstrap=40)
    tables = (c.matrix, c.summary, agreement(c), disagreements(c), disagreement_by_group(c))
    for name, table in zip(TABLES, tables, strict=True):
        storage.write_table(out / f"{name}.parquet", table)
    storage.write_json(out / "packs.json", {
        "schema": 1, "model": {"name": HOSTILE},
        "packs": {p.name: {"version": "1", "hash": "", "author": HOSTILE, "theory": "",
                           "definition": HOSTILE} for p in packs},
        "config": {"methods": ["diff_means"], "positions": ["last"], "n_permutations": 40,
                   "n_bootstrap": 40, "seed": 0},
    })
    return out


def test_the_page_is_one_harmless_file(folder: Path) -> None:
    """No script of a text gets in, nothing is fetched, invisible characters show."""
    page = write_packs(open_study(folder)).read_text("utf-8")
    assert "<script>alert" not in page
    assert "[U+202E]" in page
    ours = Elements(without_plotly(page))
    assert [v for k, v in ours.attributes if k in {"src", "href"} and v
            and not v.startswith(("#", "data:"))] == []
    assert "default-src 'none'" in page
    assert "mean of 2 cells" in page


def test_every_cell_of_the_figures_is_a_row(folder: Path) -> None:
    """The heat map shows the matrix, row by column; the agreement map is symmetric."""
    study = open_study(folder)
    matrix = study.table("generalisation")
    z = heat_map(matrix).data[0].z
    assert [v for row in z for v in row] == pytest.approx(matrix["value"].tolist())
    agree = agreement_map(study.table("agreement")).data[0].z
    assert agree[0][0] is None
    assert agree[0][1] == agree[1][0]


def test_another_folder_is_refused(tmp_path: Path) -> None:
    """It says what is missing."""
    with pytest.raises(StoreError, match=r"packs\.json"):
        open_study(tmp_path)


def test_the_command_writes_tables_page_and_probes(tmp_path: Path) -> None:
    """On an organism: each pack readable by its own probe; the rows as JSON, nothing else."""
    out = tmp_path / "study"
    (out / "probes").mkdir(parents=True)  # an earlier study, of another pack
    (out / "packs.json").write_text("{}")
    (out / "probes" / "old.safetensors").write_text("")
    done = virtuelens("compare-packs", "organism:sycophant", "--packs", "sycophancy,honesty",
                      "--permutations", "50", "--out", str(out), "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    own = [c for c in said["matrix"] if c["train"] == c["test"]]
    assert len(said["matrix"]) == 4
    assert all(c["low"] > c["null"] for c in own)
    assert {p.name for p in out.iterdir()} >= {
        *(f"{t}.parquet" for t in TABLES), "packs.json", "packs.html", "probes"}
    assert {p.stem for p in (out / "probes").iterdir()} == {"sycophancy", "honesty"}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").write_text("")
    refused = virtuelens("compare-packs", "organism:sycophant", "--packs", "sycophancy,honesty",
                         "--out", str(tmp_path / "other"))
    assert refused.returncode == 2
    assert "not empty" in refused.stderr
    one = virtuelens("compare-packs", "organism:sycophant", "--packs", "honesty")
    assert one.returncode == 2
    assert "at least two" in one.stderr
