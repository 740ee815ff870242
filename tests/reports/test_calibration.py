"""The calibration's pages say what the record says; reports quote it; nothing in it can do harm."""

import json
import re
from pathlib import Path

import pytest

from tests.reports.synthetic_readings import make_record, readings
from virtuelens.audits import record as records
from virtuelens.reports.calibrated import NO_RECORD, calibrated, calibrated_rungs
from virtuelens.reports.calibration import calibration_html, calibration_markdown, write_calibration

HOSTILE = "<script>alert(1)</script>|a|[b](http://c)"


def test_the_page_shows_the_records_numbers() -> None:
    """Hits, n and interval of a rung; a miss is named with its organism."""
    record = make_record(readings())
    page = calibration_markdown(record)
    rate = record["instruments"]["ladder"]["rung 4"]["right"]
    hits = round(rate["value"] * rate["n"])
    assert f"{hits} of {rate['n']} ({rate['value']:.2f} " in page
    missed = [v["organism"] for v in record["verdicts"]
              if v["true_rungs"] is not None and v["right"] < v["n"]]
    assert missed
    for organism in missed:
        assert f"**{organism}**" in page


def test_the_record_is_written_beside_the_pages(tmp_path: Path) -> None:
    """JSON without NaN, Markdown, one HTML file."""
    record = make_record(readings())
    paths = write_calibration(record, tmp_path)
    assert [p.name for p in paths] == ["calibration.json", "calibration.md", "calibration.html"]
    kept = json.loads(paths[0].read_text(encoding="utf-8"))
    assert kept["instruments"]["ladder"]["rung 1"]["right"]["n"] > 0


def test_a_page_opens_without_a_network() -> None:
    """No source, link or style from elsewhere, apart from what the plotting library carries."""
    page = calibration_html(make_record(readings()))
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"(src|href)\s*=\s*[\"']?https?:", own)
    assert "@import" not in own


def test_hostile_names_stay_words() -> None:
    """An organism's name is somebody's text."""
    record = make_record(readings(doses=False, rename={"sycophant": HOSTILE}))
    page = calibration_html(record)
    assert "<script>alert(1)" not in page
    table = [line for line in calibration_markdown(record).splitlines() if "alert" in line]
    assert table
    assert not any("<script>" in line or re.search(r"(?<!\\)\]\(", line) for line in table)


@pytest.mark.parametrize("how", [
    {"seeds": (0,)}, {"doses": False}, {"controls": False},
    {"seeds": (0,), "doses": False, "controls": False},
])
def test_what_was_not_tried_breaks_nothing(how: dict) -> None:
    """One seed, no doses, no controls."""
    record = make_record(readings(**how))
    assert "| ladder |" in calibration_markdown(record)
    assert "<table" in calibration_html(record)


RATE = {"value": 0.95, "low": 0.83, "high": 0.99, "n": 40}
FALSE = {"value": 0.0125, "low": 0.0, "high": 0.07, "n": 80}


def test_a_verdict_is_quoted_with_both_rates() -> None:
    """Counts first, then shares with their intervals."""
    said = calibrated({"rung": 4, "calibration": {"right": RATE, "false_positive": FALSE}})
    assert "38 of 40" in said
    assert "1 of 80" in said
    assert "0.83 to 0.99" in said


def test_without_a_record_that_is_said() -> None:
    """An uncalibrated rung must not look calibrated."""
    assert calibrated({"rung": 4, "calibration": None}) == NO_RECORD
    assert "no calibration record" in calibrated_rungs([{"rung": 2, "calibration": None}])[0]


def test_a_rungs_record_is_found_by_its_claim(tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that ships, or one in its place; none for a rung that was not tried."""
    monkeypatch.setattr(records.catalog, "shipped", lambda kind: tmp_path)
    assert records.of_rung(4) is None
    kept = {"schema": 1, "instruments": {"ladder": {"rung 4": {
        "right": RATE, "false_positive": FALSE}}}}
    (tmp_path / records.FILE).write_text(json.dumps(kept), encoding="utf-8")
    found = records.of_rung(4)
    assert found is not None
    assert (found.right, found.false_positive) == (RATE, FALSE)
    assert records.of_rung(5) is None
