"""Rows for a terminal, the Markdown card, the folder of runs, and the dashboard's command."""

import itertools
from pathlib import Path

import pytest

from tests.reports.synthetic_run import MODEL, TWIN, write_run
from virtuelens import storage
from virtuelens.errors import StoreError, VirtueLensError
from virtuelens.reports import browse
from virtuelens.reports.dashboard import app_path, streamlit_command
from virtuelens.reports.reading_figures import roc_points
from virtuelens.reports.summary import card_markdown, ladder_bar, table_rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one whole run."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "whole")
    return folder


def test_rows_pair_model_and_twin_and_carry_both_nulls(folder: Path) -> None:
    """Concept by concept, the model first; every value stands beside its null."""
    report = storage.read_json(folder / "whole" / "report.json")
    rows = table_rows(report)
    assert [(r.concept, r.model) for r in rows[:2]] == [("sycophancy", MODEL), ("sycophancy", TWIN)]
    first = report["findings"][0]
    assert rows[0].auroc_null == f"{first['auroc']['null']:.2f}"
    assert rows[0].slope_null == f"{first['steering']['random_p99']:.2f}"
    assert [ladder_bar(r) for r in (0, 3, 5)] == ["□□□□□", "■■■□□", "■■■■■"]


def test_the_card_holds_every_finding_and_no_live_markup(folder: Path) -> None:
    """One table row a finding, reasons below, and a hostile name changes no structure."""
    report = storage.read_json(folder / "whole" / "report.json")
    card = card_markdown(report)
    assert card.count("\n| ") == 1 + len(report["findings"])
    assert all(f["stopped_because"][:30] in card for f in report["findings"])
    report["findings"][0]["model"] = "a|b\n<b>*x*</b> [l](http://x)"
    hostile = card_markdown(report)
    assert hostile.count("\n") == card.count("\n")
    assert "<b>" not in hostile and "a|b" not in hostile and "[l]" not in hostile


def test_a_run_is_opened_by_name_and_nothing_outside_is_reached(folder: Path) -> None:
    """Paths, parents and unknown names are refused with one line."""
    assert browse.open_named(folder, "whole").complete
    for name in ("../whole", str(folder / "whole"), "..", "", "gone"):
        with pytest.raises(StoreError, match="no run"):
            browse.open_named(folder, name)


def test_the_dashboard_is_served_to_this_machine_only(tmp_path: Path) -> None:
    """Loopback, no usage statistics, no error details; any other address is refused."""
    command = streamlit_command(tmp_path, 8765)
    options = dict(itertools.pairwise(command))
    assert options["--server.address"] == "127.0.0.1"
    assert options["--server.port"] == "8765"
    assert options["--browser.gatherUsageStats"] == "false"
    assert options["--client.showErrorDetails"] == "none"
    assert options["--server.headless"] == "true"
    assert options["--server.fileWatcherType"] == "none"
    assert app_path().is_file() and str(app_path()) in command
    with pytest.raises(VirtueLensError, match="no authentication"):
        streamlit_command(tmp_path, 8765, "0.0.0.0")


def test_the_area_under_the_drawn_curve_is_the_auroc() -> None:
    """With ties too, the curve is the one whose area is reported."""
    import numpy as np

    from virtuelens import stats

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, size=200)
    scores = np.round(rng.normal(size=200) + labels, 1)
    false, true = roc_points(scores, labels)
    assert np.trapezoid(true, false) == pytest.approx(stats.auroc(scores, labels))
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
