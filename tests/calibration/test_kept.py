"""Readings taken elsewhere are counted as if they had been taken here."""

import json
from pathlib import Path

import pytest

from virtuelens.calibration.calibrate import calibrate
from virtuelens.calibration.kept import Keeping, Kept, pooled, read_kept, write_kept
from virtuelens.calibration.subjects import Subject
from virtuelens.errors import OrganismError
from virtuelens.organisms.recipe import load_recipe
from virtuelens.reports.calibration import write_calibration

TAKEN = {"measured": 2, "settings": "abc"}


def kept(seed: int, value: float = 5.0) -> Kept:
    """One subject with one reading."""
    subject = Subject("sycophant", seed, Path("/elsewhere"), load_recipe("sycophant"),
                      "sycophancy", d_model=64)
    return Kept(subject, "pack", {"q": 0.5}, {"ladder": [
        {"instrument": "ladder", "claim": "verdict", "said": True, "value": value, "note": "ü",
         "seconds": 1.0}]})


def test_a_file_gives_back_what_it_was_given(tmp_path: Path) -> None:
    """All but the folder of the weights, which is of the other machine."""
    write_kept(tmp_path / "r.jsonl", Keeping((kept(2), kept(3)), ("candid-2",)), taken=TAKEN)
    found = read_kept(tmp_path / "r.jsonl", taken=TAKEN)
    assert found.unproven == ("candid-2",)
    assert [k.subject.name for k in found.subjects] == ["sycophant-2.sycophancy",
                                                        "sycophant-3.sycophancy"]
    assert found.subjects[0].subject.d_model == 64
    assert found.subjects[0].readings == kept(2).readings
    assert found.subjects[0].evidence == {"q": 0.5}


def test_a_subject_is_counted_once() -> None:
    """The first is taken: what was measured here stands before what was kept."""
    both = pooled([Keeping((kept(2, 5.0),)), Keeping((kept(2, 1.0), kept(4)), ("a-1",))])
    assert [k.subject.seed for k in both.subjects] == [2, 4]
    assert both.subjects[0].readings["ladder"][0]["value"] == 5.0
    assert both.unproven == ("a-1",)


def test_readings_taken_otherwise_are_refused(tmp_path: Path) -> None:
    """Another way of measuring, or other settings, by name; no file, and a file of something."""
    path = tmp_path / "r.jsonl"
    write_kept(path, Keeping((kept(2),)), taken=TAKEN)
    with pytest.raises(OrganismError, match=r"taken otherwise \(settings differ\)"):
        read_kept(path, taken=TAKEN | {"settings": "xyz"})
    with pytest.raises(OrganismError, match="No file of readings"):
        read_kept(tmp_path / "none.jsonl", taken=TAKEN)
    for text in ("", "[1]\n", json.dumps({"schema": 1, **TAKEN}) + '\n{"organism": "candid"}\n'):
        path.write_text(text)
        with pytest.raises(OrganismError, match="no file of readings"):
            read_kept(path, taken=TAKEN)


def test_the_published_record_is_what_the_kept_readings_give(tmp_path: Path) -> None:
    """Anybody can count again, in seconds: docs/calibration.* hold nothing else."""
    root = Path(__file__).parents[2]
    readings = sorted((root / "experiments" / "2026-11-25_twenty-seeds" / "readings").glob("*"))
    record = calibrate(None, tmp_path, kept=readings, measure=False)
    written = write_calibration(record, tmp_path)
    published = {p.name: p.read_text("utf-8") for p in (root / "docs").glob("calibration.*")}
    assert published == {p.name: p.read_text("utf-8") for p in written if p.name in published}
    assert len(published) == 2


def test_nothing_to_count_is_said(tmp_path: Path) -> None:
    """Neither measured nor kept."""
    with pytest.raises(OrganismError, match="Nothing is measured"):
        calibrate(None, tmp_path, measure=False)
