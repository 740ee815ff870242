"""What other harnesses measured stands in the report of its run, and nowhere else."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.reports.synthetic_run import write_run
from virtuelens.audits.outside import Outside, add_outside, outside_rows
from virtuelens.audits.run import open_run
from virtuelens.errors import StoreError
from virtuelens.reports.html import render
from virtuelens.values.estimates import Estimate

HEADING = "Measured by other harnesses"


def one(model: str) -> Outside:
    """A number of a task with a hostile name."""
    return Outside(
        model=model, weights="", harness="inspect-ai", task="<script>x</script>", concept="",
        behaviour="", kind="", scorer="exact", metric="score", unit="share of 1",
        estimate=Estimate(0.42, 0.31, 0.53, 60, 0.25), edits=("steer honesty=1",), where="all",
        source="a.eval", digest="0" * 64, created="2026-01-01",
    )


def test_the_report_shows_it_with_interval_chance_and_edits(tmp_path: Path) -> None:
    """Escaped; a run without such evidence has no such section."""
    run = open_run(write_run(tmp_path / "run"))
    assert HEADING not in render(run)
    add_outside(run, [one(run.models[0])])
    page = render(run)
    assert HEADING in page and "0.42 [0.31, 0.53]" in page and "steer honesty=1" in page
    assert "<script>x" not in page and "&lt;script&gt;x" in page


def test_a_damaged_file_and_rows_of_two_logs_are_refused(tmp_path: Path) -> None:
    """Each in one line that says what to do."""
    run = open_run(write_run(tmp_path / "run"))
    row = one(run.models[0])
    with pytest.raises(StoreError, match="2 sources"):
        add_outside(run, [row, replace(row, digest="1" * 64)])
    add_outside(run, [row])
    (file,) = (run.path / "outside").glob("*.json")
    file.write_text('{"schema": 1, "rows": [{"model": "x"}]}', encoding="utf-8")
    with pytest.raises(StoreError, match="damaged"):
        outside_rows(run)
