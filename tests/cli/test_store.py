"""A store made, checked, hurt, repaired and gone on with from the command line."""

import json
from pathlib import Path

import pytest

from tests.cli.test_commands import virtuelens


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
