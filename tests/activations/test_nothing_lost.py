"""Whatever happens to a harvest or its files: found, named, and made again, byte for byte."""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.activations.test_store import ASKED, MANY, files
from virtuelens import storage
from virtuelens.activations.harvest import harvest
from virtuelens.activations.store import open_store
from virtuelens.activations.writing import damage, only_writer
from virtuelens.errors import DiskError, StoreError
from virtuelens.models import HookedModel
from virtuelens.values.texts import Example


def _killed(llama: HookedModel, examples: list[Example], out: Path, after: float) -> bool:
    """A child harvests into `out` and is killed after so many seconds; was it cut short?"""
    child = os.fork()
    if child == 0:
        try:
            harvest(llama, examples, **ASKED, **MANY, out=out)
        finally:
            os._exit(0)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def _kill_and_go_on(
    llama: HookedModel, examples: list[Example], folder: Path, *, times: int
) -> None:
    start = time.perf_counter()
    harvest(llama, examples, **ASKED, **MANY, out=folder / "whole")
    took = time.perf_counter() - start
    expected, rng, cut = files(folder / "whole"), random.Random(0), 0
    for k in range(times):
        out = folder / f"killed-{k}"
        cut += _killed(llama, examples, out, took * rng.uniform(0.02, 1.3))
        harvest(llama, examples, **ASKED, **MANY, out=out)
        assert files(out) == expected, f"kill {k}"
    assert cut >= times // 3, "hardly any harvest was cut short: the test shows nothing"


def test_killed_at_random_moments_it_ends_with_the_same_bytes(
    llama: HookedModel, examples: list[Example], tmp_path: Path
) -> None:
    """Five times SIGKILL, then the same call."""
    _kill_and_go_on(llama, examples, tmp_path, times=5)


@pytest.mark.slow
def test_killed_fifty_times_it_ends_with_the_same_bytes(
    llama: HookedModel, examples: list[Example], tmp_path: Path
) -> None:
    """Fifty moments."""
    _kill_and_go_on(llama, examples, tmp_path, times=50)


@pytest.fixture
def stored(llama: HookedModel, examples: list[Example], tmp_path: Path) -> Path:
    """A finished store in several shards."""
    harvest(llama, examples, **ASKED, **MANY, out=tmp_path / "s")
    return tmp_path / "s"


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _lose_rows(path: Path) -> None:
    storage.write_table(path, storage.read_table(path)[:-7])


@pytest.mark.parametrize(("name", "hurt"), [
    ("shards/00001.safetensors", _truncate),
    ("shards/00000.safetensors", _flip),
    ("shards/00002.safetensors", Path.unlink),
    ("index.parquet", _lose_rows),
    ("index.parquet", _flip),
])
def test_damage_is_named_and_only_that_is_made_again(
    llama: HookedModel, examples: list[Example], stored: Path, name: str,
    hurt: Callable[[Path], None],
) -> None:
    """A shard cut, flipped or gone; an index without its last rows."""
    before = files(stored)
    others = {p: p.stat().st_mtime_ns for p in (stored / "shards").iterdir() if p.name not in name}
    hurt(stored / name)
    (found,) = damage(stored, storage.read_json(stored / "manifest.json"))
    assert name in found
    with pytest.raises(StoreError, match="store check"):
        open_store(stored).verify()
    harvest(llama, examples, **ASKED, **MANY, out=stored, repair=True)
    assert files(stored) == before
    assert others == {p: p.stat().st_mtime_ns for p in others}


@pytest.mark.parametrize("hurt", [_flip, _truncate, Path.unlink])
def test_a_damaged_shard_of_an_unfinished_harvest_is_made_again(
    llama: HookedModel, examples: list[Example], tmp_path: Path, stored: Path,
    hurt: Callable[[Path], None],
) -> None:
    """The journal has each shard's checksum before the manifest has."""
    def stop(done: int, total: int) -> None:
        if done > 30:
            raise KeyboardInterrupt

    out = tmp_path / "interrupted"
    with pytest.raises(KeyboardInterrupt):
        harvest(llama, examples, **ASKED, **MANY, out=out, progress=stop)
    hurt(out / "shards/00000.safetensors")
    harvest(llama, examples, **ASKED, **MANY, out=out)
    assert files(out) == files(stored)


def test_two_harvests_into_one_folder_do_not_mix(
    llama: HookedModel, examples: list[Example], tmp_path: Path
) -> None:
    """The second is refused while the first holds the folder, and goes on when it has let go."""
    with only_writer(tmp_path / "s"), pytest.raises(StoreError, match="Another harvest"):
        harvest(llama, examples, **ASKED, out=tmp_path / "s")
    harvest(llama, examples, **ASKED, out=tmp_path / "s")


def test_a_full_disk_keeps_whole_shards(
    llama: HookedModel, examples: list[Example], tmp_path: Path, stored: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The third shard does not fit; the same call goes on from there when there is room."""
    write, n = storage.write_tensors, 0

    def full(path: Path, *rest: object) -> None:
        nonlocal n
        n += 1
        if n == 3:
            raise DiskError(f"Could not write {path}: the disk is full.")
        write(path, *rest)  # type: ignore[arg-type]

    out = tmp_path / "full"
    monkeypatch.setattr(storage, "write_tensors", full)
    with pytest.raises(DiskError, match="disk is full"):
        harvest(llama, examples, **ASKED, **MANY, out=out)
    assert sorted(p.name for p in (out / "shards").iterdir()) == [
        "00000.safetensors", "00001.safetensors"]
    harvest(llama, examples, **ASKED, **MANY, out=out)
    assert files(out) == files(stored)


def test_a_difference_is_shown_and_taken_by_name(
    llama: HookedModel, examples: list[Example], stored: Path, tmp_path: Path
) -> None:
    """Another chat template: refused line by line, taken when named, and then on record."""
    manifest = json.loads((stored / "manifest.json").read_text())
    manifest["model"]["chat_template_hash"] = "0" * 64
    manifest["model"]["tokenizer_hash"] = "1" * 64
    storage.write_json(stored / "manifest.json", manifest)
    with pytest.raises(StoreError) as caught:
        harvest(llama, examples, **ASKED, out=stored)
    lines = [line for line in str(caught.value).splitlines() if line.startswith("  ")]
    assert [line.split()[0] for line in lines] == [
        "model.tokenizer_hash", "model.chat_template_hash"]
    keys = ["model.tokenizer_hash", "model.chat_template_hash"]
    harvest(llama, examples, **ASKED, out=stored, accept=keys)
    kept = json.loads((stored / "manifest.json").read_text())
    assert [a["key"] for a in kept["accepted"]] == keys


def test_a_whole_store_is_taken_under_other_versions_and_a_damaged_one_is_not(
    llama: HookedModel, examples: list[Example], stored: Path
) -> None:
    """Where nothing has to be made again nothing can be mixed."""
    manifest = json.loads((stored / "manifest.json").read_text())
    manifest["made_by"]["versions"]["torch"] = "0.0"
    storage.write_json(stored / "manifest.json", manifest)
    harvest(llama, examples, **ASKED, **MANY, out=stored, repair=True)
    _flip(stored / "shards/00000.safetensors")
    with pytest.raises(StoreError, match=r"made_by\.versions\.torch"):
        harvest(llama, examples, **ASKED, **MANY, out=stored, repair=True)


def test_shards_of_two_models_are_never_mixed(
    llama: HookedModel, examples: list[Example], tmp_path: Path
) -> None:
    """Accepting other weights does not let an unfinished harvest go on with them."""
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        harvest(llama, examples, **ASKED, **MANY, out=tmp_path / "s", progress=stop)
    with pytest.raises(StoreError, match="fingerprint"):
        harvest(llama.random_copy(1), examples, **ASKED, **MANY, out=tmp_path / "s",
                accept=["model.fingerprint"])
