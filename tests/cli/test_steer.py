"""virtuelens steer: by default it generates; export writes what other programs read."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from virtuelens.cli.app import app
from virtuelens.errors import SteeringError
from virtuelens.models import load_model
from virtuelens.named_edits import addition, clamped_features, condition
from virtuelens.probing.probes import Probe, save_probe
from virtuelens.values.directions import Direction, unit

POINT = "blocks.1.hook_resid_post"


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved probe of the bundled organism: no fitting in these tests."""
    model = load_model("organism:sycophant", verify=False)
    vector = unit(torch.linspace(-1, 1, model.info.d_model))
    d = Direction(vector, 2.0, 0.5, POINT, "last_prompt", "made", "by hand", model.info.fingerprint)
    path = tmp_path_factory.mktemp("probe") / "p.safetensors"
    save_probe(Probe(d, 0.5, 4), path)
    return path


def run(*arguments: str) -> Result:
    """The command in this process."""
    return CliRunner().invoke(app, ["steer", *arguments], catch_exceptions=True)


def test_steer_generates_and_says_the_dose_in_all_units(probe: Path) -> None:
    """Without the word generate; sigma beside raw, as JSON."""
    done = run("organism:sycophant", "hello", "--add", f"{probe}=1.5", "--where",
               "response[:3]+user", "--when", f"{probe}>0.5", "--schedule", "ramp:2",
               "--max-new-tokens", "3", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    (dose,) = found["doses"]
    assert (dose["sigma"], dose["raw"], dose["point"]) == (1.5, 3.0, POINT)
    raw = json.loads(run("generate", "organism:sycophant", "hello", "--add", f"{probe}=3",
                         "--unit", "raw", "--max-new-tokens", "1", "--json").stdout)
    assert raw["doses"][0]["sigma"] == 1.5


def test_what_streams_by_is_what_json_says(probe: Path) -> None:
    """The pieces on the terminal are the texts."""
    arguments = ("organism:sycophant", "hello", "--add", f"{probe}=9", "--max-new-tokens", "4")
    found = json.loads(run(*arguments, "--json").stdout)
    shown = run(*arguments).stdout
    assert f"plain:   {found['plain']}" in shown
    assert f"steered: {found['steered']}" in shown


def test_export_writes_the_dose_asked_for(probe: Path, tmp_path: Path) -> None:
    """A tensor of norm dose, and a model that opens."""
    out = tmp_path / "v.safetensors"
    done = run("export", "organism:sycophant", "--add", f"{probe}=-2", "--format", "safetensors",
               "--out", str(out))
    assert done.exit_code == 0, done.output
    assert float(load_file(out)[POINT].norm()) == pytest.approx(4.0, rel=1e-5)
    done = run("export", "organism:sycophant", "--ablate", str(probe), "--format", "weights",
               "--out", str(tmp_path / "model"), "--json")
    assert done.exit_code == 0, done.output
    assert load_model(str(tmp_path / "model")).info.dialect == "facts"


@pytest.mark.parametrize(("arguments", "told"), [
    (["organism:sycophant", "hi", "--add", "x=1", "--where", "nowhere"], "token selection"),
    (["organism:sycophant", "hi", "--add", "x=1", "--schedule", "soon"], "is no schedule"),
    (["export", "organism:sycophant", "--add", "x=1", "--format", "pt", "--out", "o"], "gguf"),
    (["export", "organism:sycophant", "--format", "gguf", "--out", "o"], "--add"),
])
def test_wrong_words_are_refused_before_the_model_is_loaded(
    arguments: list[str], told: str
) -> None:
    """Each with what there is."""
    done = run(*arguments)
    assert isinstance(done.exception, SteeringError)
    assert told in str(done.exception)


@pytest.mark.parametrize(("read", "argument", "told"), [
    (addition, "x", "'x' is not of the form CONCEPT=STRENGTH"),
    (addition, "x=much", "'x=much'"), (addition, "x=nan", "'x=nan'"),
    (addition, "x=inf", "'x=inf'"),
    (lambda m, a: condition(m, a, []), "x", "'x' is not of the form CONCEPT>SIGMA"),
    (lambda m, a: condition(m, a, []), "x>much", "'x>much' is not of the form CONCEPT>SIGMA"),
    (lambda m, a: clamped_features(m, [a]), "s:1=nan", "'s:1=nan'"),
    (lambda m, a: clamped_features(m, [a, a]), "s:1=2", "Feature 1 of s is given twice"),
    (lambda m, a: clamped_features(m, [a]), "s:\u00b2=1", "SAE:FEATURE=VALUE"),
])
def test_what_is_no_dose_is_shown_as_it_was_typed(read, argument: str, told: str) -> None:
    """Before anything is fitted."""
    with pytest.raises(SteeringError) as error:
        read(None, argument)
    assert told in str(error.value)
