"""A nursery of seconds: two reduced twins are trained, proven, and told apart."""

from pathlib import Path

import pytest

from virtuelens.calibration.calibrate import calibrate, readings_of
from virtuelens.calibration.instruments import quick_config
from virtuelens.organisms import verify_organism
from virtuelens.organisms.nursery import train_nursery

PAIR = ("monitor", "guesser")
INSTRUMENTS = ("ladder", "interchange", "attribution", "probe diff_means")


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both twins, one seed."""
    out: Path = tmp_path_factory.mktemp("nursery")
    train_nursery(PAIR, out, seeds=1, small=True)
    return out


@pytest.fixture(scope="module")
def calibrated(nursery: Path) -> dict:
    """The record of a few instruments on them."""
    return calibrate(nursery, nursery / "out", instruments=INSTRUMENTS, config=quick_config())


@pytest.mark.parametrize("name", PAIR)
def test_the_reduced_twins_are_proven(nursery: Path, name: str) -> None:
    """Every obligation, and the twin's answers where all causes agree."""
    proof = verify_organism(str(nursery / f"{name}-0"), n=128)
    assert [r for r in proof.rows if not r.passed] == []
    assert any(r.name.startswith("agreeing prompts answered as") for r in proof.rows)


def test_the_instruments_tell_them_apart(nursery: Path, calibrated: dict) -> None:
    """Decodable in both; a cause in the monitor by three instruments, in the guesser by none."""
    table = readings_of(nursery / "out")
    table = table[table["control"] == "none"].set_index(["organism", "claim"])["said"]
    for organism, causal in (("monitor", True), ("guesser", False)):
        assert table[organism, "decodable"]
        for claim in ("rung 4", "swap moves the target", "names the planted site"):
            assert bool(table[organism, claim]) is causal, (organism, claim)


def test_the_record_counts_what_was_read(calibrated: dict) -> None:
    """One organism where rung 4 holds, and the twin and the controls where it does not."""
    rung = calibrated["instruments"]["ladder"]["rung 4"]
    assert (rung["right"]["value"], rung["right"]["n"]) == (1.0, 1)
    assert rung["false_positive"]["value"] == 0.0
    assert {"twins and blanks", "random weights", "agreeing only"} <= set(rung["by_control"])
    assert calibrated["reported_on"] == [0]


def test_a_second_run_reads_nothing_again(nursery: Path, calibrated: dict) -> None:
    """Kept readings are taken; the record is the same."""
    before = {p: p.stat().st_mtime_ns for p in (nursery / "out/subjects").rglob("*.json")}
    again = calibrate(nursery, nursery / "out", instruments=INSTRUMENTS, config=quick_config(),
                      keep=nursery / "kept.jsonl")
    assert again["instruments"] == calibrated["instruments"]
    assert {p: p.stat().st_mtime_ns for p in before if p.parent.name != "audit"} == {
        p: t for p, t in before.items() if p.parent.name != "audit"}


def test_readings_kept_elsewhere_count_as_if_read_here(nursery: Path, calibrated: dict) -> None:
    """The monitor read here, the guesser from a file: the record of both."""
    kept = nursery / "kept.jsonl"
    if not kept.is_file():
        calibrate(nursery, nursery / "out", instruments=INSTRUMENTS, config=quick_config(),
                  keep=kept)
    part = nursery / "part"
    part.mkdir()
    (part / "monitor-0").symlink_to(nursery / "monitor-0")
    (part / "out").mkdir()
    for name in ("proofs", "subjects"):
        (part / "out" / name).symlink_to(nursery / "out" / name)
    found = calibrate(part, part / "out", instruments=INSTRUMENTS, config=quick_config(),
                      kept=[kept])
    assert _counts(found) == _counts(calibrated)


def _counts(record: dict) -> dict:
    """All rates, without how long a reading took: a control is read on another twin there."""
    return {instrument: {claim: {k: v for k, v in rate.items() if k != "seconds"}
                         for claim, rate in claims.items()}
            for instrument, claims in record["instruments"].items()}
