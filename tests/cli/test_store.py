"""A store made, checked, hurt, repaired and gone on with from the command line."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.test_commands import virtuelens
from virtuelens.catalog import shipped
from virtuelens.cli.harvest import _run, go_on


def test_harvest_check_repair_resume(tmp_path: Path) -> None:
    """Exit code 1 names the damaged file; repair and resume need no model or pack."""
    store = tmp_path / "s"
    made = virtuelens("harvest", "organism:sycophant", "sycophancy", "--out", str(store),
                      "--points", "blocks.1.hook_resid_post", "--positions", "last_prompt")
    assert made.returncode == 0, made.stderr
    assert virtuelens("store", "check", str(store)).stdout.strip() == "All 2 files are whole."
    shard = store / "shards" / "00000.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    found = virtuelens("store", "check", str(store), "--json")
    assert found.returncode == 1
    (damaged,) = json.loads(found.stdout)["damaged"]
    assert "00000.safetensors" in damaged
    repaired = virtuelens("store", "check", str(store), "--repair")
    assert repaired.returncode == 0, repaired.stderr
    assert shard.read_bytes() == whole
    shard.unlink()
    again = virtuelens("harvest", "--resume", str(store), "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["points"] == ["blocks.1.hook_resid_post"]
    assert shard.read_bytes() == whole
    manifest = store / "manifest.json"
    finished = manifest.read_bytes()
    cut = {"complete": False, "shards": []}
    manifest.write_text(json.dumps(json.loads(finished) | cut))
    half = virtuelens("store", "check", str(store))
    assert half.returncode == 1
    assert "is unfinished" in half.stdout and "damaged" not in half.stdout
    assert virtuelens("store", "check", str(store), "--repair").returncode == 0
    assert manifest.read_bytes() == finished


def test_a_pack_given_by_its_folder_is_found_again_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is gone on with later was named by somebody who stood in another folder."""
    shutil.copytree(shipped("probes") / "sycophancy", tmp_path / "sycophancy")
    monkeypatch.chdir(tmp_path)
    _run("organism:sycophant", "./sycophancy", tmp_path / "s", compute="float32",
         points=["hook_embed"], positions=["last_prompt"])
    (tmp_path / "s/shards/00000.safetensors").unlink()
    monkeypatch.chdir("/")
    assert go_on(tmp_path / "s").points == ("hook_embed",)


@pytest.mark.parametrize(("asked", "said"), [
    (["--engine", "nnsight", "--remote"], "set NDIF_API_KEY"),
    (["--remote"], "use hooks, or nnsight"),
    (["--engine", "ray", "--address", "127.0.0.1:1"], "No Ray cluster at"),
    (["--engine", "nnsight"], ""),
])
def test_engines_that_cannot_say_why_in_one_line(
    tmp_path: Path, asked: list[str], said: str
) -> None:
    """Exit code 2 and no traceback; nnsight here needs nothing."""
    done = virtuelens(
        "harvest", "organism:sycophant", "sycophancy", "--out", str(tmp_path / "s"),
        "--points", "blocks.1.hook_resid_post", "--positions", "last_prompt", *asked)
    assert done.returncode == (2 if said else 0), done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
