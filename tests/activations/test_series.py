"""Checkpoints of a training run, harvested alike: one series, which grows."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import virtuelens as vl
from tests.cli.test_commands import virtuelens
from tests.tiny_models import save_tiny
from virtuelens import catalog
from virtuelens.activations.activations import Activations
from virtuelens.activations.harvest import harvest
from virtuelens.activations.series import harvest_series
from virtuelens.errors import ModelLoadError, StoreError
from virtuelens.models import HookedModel, at_revision, load_model
from virtuelens.values.texts import Text

TEXTS = [Text(raw="one two three"), Text(raw="four")]


def _run(model: HookedModel, out: Path) -> Activations:
    return harvest(model, TEXTS, points="resid_post", positions="tokens", out=out)


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """Three checkpoints `run-stepN`, of other weights each."""
    for step in range(3):
        save_tiny(tmp_path / f"run-step{step}", "llama", seed=step)
    return tmp_path / "run"


def test_a_series_holds_each_checkpoint_and_grows(training: Path, tmp_path: Path) -> None:
    """A third checkpoint is added, also when it alone is named; the others are not run again."""
    steps = {f"step{k}": at_revision(str(training), f"step{k}") for k in range(3)}
    out = tmp_path / "series"
    harvest_series(dict(list(steps.items())[:2]), _run, out=out, load=load_model)
    times = {p: p.stat().st_mtime_ns for p in out.glob("step*/shards/*")}
    harvest_series({"step2": steps["step2"]}, _run, out=out, load=load_model)
    assert vl.open_series(out).labels == tuple(steps)
    harvest_series(steps, _run, out=out, load=load_model)
    assert times == {p: p.stat().st_mtime_ns for p in times}
    found = dict(vl.open_series(out))
    assert list(found) == list(steps)
    for label, name in steps.items():
        expected = harvest(load_model(name), TEXTS, points="resid_post", positions="tokens")
        for point in expected.points:
            torch.testing.assert_close(found[label].matrix(point, "tokens"),
                                       expected.matrix(point, "tokens"))


def test_another_model_is_no_checkpoint(training: Path, tmp_path: Path) -> None:
    """A tokenizer of its own, or another size, has another plan; a missing one is named."""
    other = str(save_tiny(tmp_path / "other", "gpt2"))
    with pytest.raises(StoreError, match="not one training run"):
        harvest_series({"a": f"{training}-step0", "b": other}, _run, out=tmp_path / "s",
                       load=load_model)
    with pytest.raises(ModelLoadError, match="No checkpoint 'step9'"):
        at_revision(str(training), "step9")
    with pytest.raises(ModelLoadError, match="is not a checkpoint's name"):
        at_revision(str(training), "../run-step1")
    assert at_revision("owner/model", "step9") == "owner/model@step9"


def test_revisions_on_the_command_line(tmp_path: Path) -> None:
    """One command, one series."""
    for step, organism in enumerate(("candid", "sycophant")):
        home = catalog.find("organisms", organism, "config.json")
        assert home is not None
        shutil.copytree(home, tmp_path / f"run-step{step}")
    out = tmp_path / "series"
    done = virtuelens("harvest", str(tmp_path / "run"), "sycophancy", "--out", str(out),
                      "--revisions", "step0,step1", "--points", "blocks.0.hook_resid_post",
                      "--positions", "last_prompt", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["checkpoints"] == ["step0", "step1"]
    assert vl.open_series(out).labels == ("step0", "step1")
