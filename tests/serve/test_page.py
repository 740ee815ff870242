"""The page's examples and the commands it names run as they are printed."""

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.serve.conftest import Served
from virtuelens.cli.app import app
from virtuelens.errors import VirtueLensError
from virtuelens.models import HookedModel
from virtuelens.organisms.languages.facts import WORLD
from virtuelens.probing.probes import Probe, save_probe
from virtuelens.steering.pack import SteeringPack
from virtuelens.steering.packfile import read_pack, save_pack

PAGE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
PORT = "127.0.0.1:8000"
PROGRAM = [sys.executable, "-c", "from virtuelens.cli import main; main()"]


def printed(language: str, server: Served) -> str:
    """The page's example in that language, towards the server that runs."""
    (code,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert PORT in code
    return code.replace(PORT, server.url.removeprefix("http://").removesuffix("/v1"))


def test_the_python_example_runs(server: Served, pack: SteeringPack) -> None:
    """Plain and steered answers, the dose, the reading."""
    done = subprocess.run([sys.executable, "-c", printed("python", server)], capture_output=True,
                          text=True, timeout=120, check=True)
    answers, dose, reading = done.stdout.splitlines()
    assert answers.split() == ["red", WORLD.colour["lamp"]]
    assert float(dose) == pytest.approx(-2 * pack.direction("sycophancy").scale)
    assert float(reading) < 0


def test_the_curl_example_runs(server: Served) -> None:
    """The preset after the model's name is applied."""
    done = subprocess.run(["sh", "-c", printed("sh", server)], capture_output=True, text=True,
                          timeout=60, check=True)
    answer = json.loads(done.stdout)
    assert answer["choices"][0]["message"]["content"].strip() == WORLD.colour["lamp"]
    assert answer["virtuelens"]["preset"] == "honest"


def test_the_pack_on_the_page_has_the_keys_of_one_that_is_written(
    pack: SteeringPack, tmp_path: Path
) -> None:
    """No key is missing on the page, none is there that a pack has not."""
    (code,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    shown = tomllib.loads(code)
    written = tomllib.loads(save_pack(pack, tmp_path / "p.toml").read_text())
    assert set(shown) == set(written)
    assert set(shown["directions"]["sycophancy"]) == set(written["directions"]["sycophancy"])
    assert set(shown["presets"]["honest"][0]) == {*written["presets"]["honest"][0], "point"}


def test_the_commands_make_show_and_serve_a_pack(
    sycophant: HookedModel, pack: SteeringPack, tmp_path: Path
) -> None:
    """As a user types them; Ctrl-C ends the server, and the trail is there."""
    out, fitted = tmp_path / "candour.toml", tmp_path / "probe.safetensors"
    save_probe(Probe(pack.direction("sycophancy"), pack.threshold("sycophancy"), 300), fitted)
    typed = CliRunner().invoke(app, [
        "steer", "pack", "organism:sycophant", "--direction", f"sycophancy={fitted}",
        "--preset", "honest=sycophancy:-2", "--out", str(out)])
    assert typed.exit_code == 0, typed.exception
    made = read_pack(out)
    assert made.fingerprint == sycophant.info.fingerprint
    assert made.provenance["sycophancy examples"] == 300
    assert made.thresholds == pack.thresholds
    shown = CliRunner().invoke(app, ["steer", "show", str(out), "--json"])
    assert json.loads(shown.stdout)["presets"]["honest"][0]["strength"] == -2
    assert "honest" in CliRunner().invoke(app, ["steer", "show", str(out)]).stdout

    serving = subprocess.Popen(
        [*PROGRAM, "serve", "organism:sycophant", "--steer", str(out), "--port", "0", "--json",
         "--trail", str(tmp_path / "trail.jsonl")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={k: v for k, v in os.environ.items() if k != "VIRTUELENS_API_KEY"})
    assert serving.stdout is not None
    try:
        head = "".join(iter(serving.stdout.readline, "}\n")) + "}"
        url = json.loads(head)["url"]
        code = printed("python", Served(url, tmp_path, None))  # type: ignore[arg-type]
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                              timeout=120, check=True)
        assert done.stdout.splitlines()[0].split() == ["red", WORLD.colour["lamp"]]
    finally:
        serving.send_signal(signal.SIGINT)
        _, errors = serving.communicate(timeout=60)
    assert serving.returncode == 130, errors
    assert "Traceback" not in errors
    assert len((tmp_path / "trail.jsonl").read_text().splitlines()) == 4


def test_a_foreign_packs_words_cannot_steer_the_terminal(
    pack: SteeringPack, tmp_path: Path
) -> None:
    """What they hold besides letters is shown as its number."""
    told = "x\x1b[2Jy\u202e"
    path = save_pack(replace(pack, name=told, about=told, provenance={told: told},
                             presets={told: pack.presets["honest"]}), tmp_path / "p.toml")
    shown = CliRunner().invoke(app, ["steer", "show", str(path)]).stdout
    assert "U+001B" in shown
    assert not set(told) - set("x[2Jy") & set(shown)


@pytest.mark.parametrize(("arguments", "says"), [
    (["serve", "organism:sycophant", "--host", "0.0.0.0"], "--api-key"),
    (["serve", "organism:sycophant", "--steer", "no-such.toml"], "no-such.toml"),
    (["serve", "organism:nobody"], "nobody"),
    (["steer", "pack", "organism:sycophant", "--direction", "sycophancy", "--preset", "honest",
      "--out", "x.toml"], "NAME=DIRECTION:STRENGTH"),
    (["serve", "organism:nobody", "--monitor", "a/x.safetensors", "--monitor", "b/x.safetensors"],
     "'x'"),
    # before the model is loaded and a direction found, which may take long
    (["steer", "pack", "organism:nobody", "--direction", "sycophancy", "--preset",
      "honest=sycophancy:-2", "--out", "x.json"], ".toml"),
    (["steer", "pack", "organism:nobody", "--direction", "sycophancy", "--preset",
      "honest=lime:-2", "--out", "x.toml"], "'lime'"),
    (["steer", "pack", "organism:nobody", "--direction", "sycophancy", "--preset",
      "honest=sycophancy:nan", "--out", "x.toml"], "NAME=DIRECTION:STRENGTH"),
    (["steer", "pack", "organism:nobody", "--direction", "sycophancy", "--preset",
      "off=sycophancy:-2", "--out", "x.toml"], "'off'"),
    (["steer", "pack", "organism:nobody", "--direction", "sycophancy", "--preset",
      "a=sycophancy:-2", "--preset", "a=sycophancy:2", "--out", "x.toml"], "'a'"),
    (["steer", "pack", "organism:nobody", "--direction", "x=sycophancy", "--direction",
      "x=honesty", "--preset", "a=x:-2", "--out", "x.toml"], "'x'"),
    (["steer", "show", "no-such.toml"], "no-such.toml"),
])
def test_a_users_error_is_raised_as_one(
    arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which `main` prints in one line, with exit code 2."""
    monkeypatch.delenv("VIRTUELENS_API_KEY", raising=False)
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, VirtueLensError), done.exception
    assert says in str(done.exception)
    assert "\n" not in str(done.exception)
    assert done.stdout == ""
