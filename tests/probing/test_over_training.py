"""A series of checkpoints, probed: planted in the last, absent in the first."""

import json
from pathlib import Path

import pandas as pd
import pytest

import virtuelens as vl
from tests.cli.test_commands import virtuelens
from virtuelens.activations.activations import Activations
from virtuelens.activations.harvest import harvest
from virtuelens.activations.series import Series, harvest_series, is_series
from virtuelens.cli.probe import command
from virtuelens.errors import ProbeError
from virtuelens.models import HookedModel, load_model
from virtuelens.probing.over_training import over_training


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Series:
    """The grounded organism with random weights, then as it was trained."""
    concept = vl.load_concept("valence", dialect="days")

    def load(name: str) -> HookedModel:
        model = load_model("organism:grounded")
        return model.random_copy(7) if name == "random" else model

    def run(model: HookedModel, out: Path) -> Activations:
        return harvest(model, concept, points="resid_post", positions="last_prompt", out=out)

    out = tmp_path_factory.mktemp("series") / "run"
    return harvest_series({"step0": "random", "step9": "trained"}, run, out=out, load=load)


def test_what_is_learned_appears_with_training(series: Series) -> None:
    """Chance at first, then well above the null; one site is selected a checkpoint."""
    table = over_training(series, n_permutations=50)
    chosen = table[table["selected"]].set_index("checkpoint")
    assert list(chosen.index) == ["step0", "step9"]
    assert chosen["value"]["step0"] < 0.65
    assert chosen["p"]["step0"] > 0.05
    assert chosen["value"]["step9"] > 0.95
    assert chosen["null"]["step9"] < 0.75
    assert chosen["p"]["step9"] == pytest.approx(1 / 51)


def test_the_last_direction_is_its_own_and_the_first_is_another(series: Series) -> None:
    """Cosine with the last checkpoint's direction at the same site."""
    table = over_training(series, n_permutations=5)
    last = table[table["checkpoint"] == "step9"]
    first = table[table["checkpoint"] == "step0"]
    assert last["cosine"].tolist() == pytest.approx([1.0] * len(last))
    assert first["cosine"].abs().max() < 0.5


def test_no_checkpoint_is_an_error() -> None:
    """It says how to make one."""
    with pytest.raises(ProbeError, match="harvest --revisions"):
        over_training([])


def test_without_a_null_the_json_is_still_json(series: Series, capsys) -> None:
    """What was not drawn is null: NaN is no JSON."""
    command(series.path, permutations=0, json=True)
    said = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert [r["null"] for r in said] == [None, None]
    assert said[1]["cosine"] == pytest.approx(1.0, abs=1e-12)


def test_the_command_writes_page_and_table(series: Series) -> None:
    """`virtuelens probe SERIES`: the rows as JSON, training.html without a network, Parquet."""
    assert is_series(series.path)
    done = virtuelens("probe", str(series.path), "--permutations", "20", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [r["checkpoint"] for r in said] == ["step0", "step9"]
    page = (series.path / "training.html").read_text(encoding="utf-8")
    assert "Valence" in page
    assert "step9" in page
    assert 'src="http' not in page
    kept = pd.read_parquet(series.path / "training.parquet")
    assert len(kept) == 2 * len(series.store("step9").load().points)
    refused = virtuelens("probe", str(series.path), "--out", "x.safetensors")
    assert refused.returncode == 2
    assert "SERIES/CHECKPOINT" in refused.stderr
