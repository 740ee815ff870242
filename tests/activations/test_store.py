"""A store on disk gives what memory gives; damaged, unfinished or other stores are refused."""

import json
import resource
from pathlib import Path

import pytest
import torch

from virtuelens import storage
from virtuelens.activations import families, shards, shuffle
from virtuelens.activations.harvest import harvest
from virtuelens.activations.store import open_store
from virtuelens.cli.harvest import go_on
from virtuelens.errors import HookPointError, PositionError, StoreError
from virtuelens.models import HookedModel
from virtuelens.values.texts import Example, Text

ASKED = {
    "points": ["hook_embed", "resid_post"],
    "positions": ["last", "response_mean", "tokens"],
    "batch_tokens": 80,
}
MANY = {"shard_bytes": 90_000}
"""So small that the examples fill several shards."""


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder and its bytes."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*") if p.is_file()
    }


@pytest.fixture
def stored(llama: HookedModel, examples: list[Example], tmp_path: Path) -> Path:
    """A finished store of all examples in several shards."""
    harvest(llama, examples, **ASKED, **MANY, out=tmp_path / "s")
    return tmp_path / "s"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_disk_equals_memory(
    llama: HookedModel, examples: list[Example], tmp_path: Path, dtype: str
) -> None:
    """Index and every matrix agree bit for bit with the harvest in memory, selections too."""
    memory = harvest(llama, examples, **ASKED, dtype=dtype)
    disk = harvest(llama, examples, **ASKED, **MANY, dtype=dtype, out=tmp_path)
    assert len(list((tmp_path / "shards").iterdir())) > 2
    assert disk.index.equals(memory.index)
    assert (disk.points, disk.positions) == (memory.points, memory.positions)
    for a, b in ((disk, memory), (disk.train, memory.train), (disk.transfer, memory.transfer)):
        for point in memory.points:
            for position in memory.positions:
                assert torch.equal(a.matrix(point, position), b.matrix(point, position))


@pytest.mark.parametrize("stop_at", [1, 8, 15])
def test_an_interrupted_harvest_goes_on_and_ends_with_the_same_bytes(
    llama: HookedModel, examples: list[Example], tmp_path: Path, stored: Path, stop_at: int
) -> None:
    """Stopped anywhere and run again, all files are those of a harvest that was never stopped."""
    calls = 0

    def stop(done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if calls == stop_at:
            raise KeyboardInterrupt

    out = tmp_path / "interrupted"
    with pytest.raises(KeyboardInterrupt):
        harvest(llama, examples, **ASKED, **MANY, out=out, progress=stop)
    with pytest.raises(StoreError, match=r"unfinished.*go on"):
        open_store(out)
    (out / "shards").mkdir(exist_ok=True)
    (out / "shards" / ".00002.safetensors.1.part").write_bytes(b"half")  # as a kill leaves it
    whole = {p: p.stat().st_mtime_ns for p in (out / "shards").glob("0*")}
    harvest(llama, examples, **ASKED, **MANY, out=out)
    assert files(out) == files(stored)
    assert whole == {p: p.stat().st_mtime_ns for p in whole}, "whole shards were made again"


def test_killed_before_its_manifest_a_harvest_starts_again(
    llama: HookedModel, examples: list[Example], tmp_path: Path, stored: Path
) -> None:
    """An index and half a manifest are no obstacle."""
    out = tmp_path / "killed"
    out.mkdir()
    (out / "index.parquet").write_bytes(b"old")
    (out / ".manifest.json.77.part").write_bytes(b"{")
    harvest(llama, examples, **ASKED, **MANY, out=out)
    assert files(out) == files(stored)


def test_a_finished_store_is_taken_as_it_is(
    llama: HookedModel, examples: list[Example], stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same harvest into it does not run the model."""
    monkeypatch.setattr(HookedModel, "run", lambda *a, **k: pytest.fail("the model ran"))
    again = harvest(llama, examples, **ASKED, out=stored)
    assert len(again.index) == 3 * len(examples)


def test_another_harvest_into_a_store_is_refused_with_what_differs(
    llama: HookedModel, examples: list[Example], stored: Path
) -> None:
    """Other points, texts or weights: the message names the line and both values."""
    before = files(stored)
    with pytest.raises(StoreError, match=r"points is .*resid_post.* there, \['hook_embed'\] was"):
        harvest(llama, examples, **ASKED | {"points": "hook_embed"}, out=stored)
    with pytest.raises(StoreError, match=r"texts\.hash is '\w{64}' there"):
        harvest(llama, examples[1:], **ASKED, out=stored)
    with pytest.raises(StoreError, match=r"model\.fingerprint is '\w{64}' there"):
        harvest(llama.random_copy(3), examples, **ASKED, out=stored)
    assert files(stored) == before


def test_an_unfinished_harvest_is_not_mixed_with_another_budget(
    llama: HookedModel, examples: list[Example], tmp_path: Path
) -> None:
    """Shards of two plans would not fit together."""

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        harvest(llama, examples, **ASKED, out=tmp_path, progress=stop)
    with pytest.raises(StoreError, match=r"made_by\.batch_tokens is 80 there, 300 was asked"):
        harvest(llama, examples, **ASKED | {"batch_tokens": 300}, out=tmp_path)


def test_an_unfinished_harvest_is_not_mixed_with_another_plan(
    llama: HookedModel, examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another version of the planner asks for the same: its shards hold other texts."""

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        harvest(llama, examples, **ASKED, out=tmp_path, progress=stop)
    monkeypatch.setattr(families, "mixed", lambda things: list(things)[::-1])
    with pytest.raises(StoreError, match=r"made_by\.plan is '\w{64}' there"):
        harvest(llama, examples, **ASKED, out=tmp_path)


def test_open_store_compares_what_is_expected(llama: HookedModel, stored: Path) -> None:
    """A right expectation passes; every wrong line is named."""
    right = {"model": {"fingerprint": llama.info.fingerprint}, "dtype": "float32"}
    assert open_store(stored, expect=right).info == llama.info
    with pytest.raises(StoreError, match=r"dtype is 'float32' there, 'bfloat16'[^|]*positions is"):
        open_store(stored, expect={"dtype": "bfloat16", "positions": ["last"]})


def test_damaged_files_are_named(stored: Path) -> None:
    """A shorter shard when opened, a changed byte when read, a missing index when opened."""
    shard = stored / "shards" / "00001.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-4])
    with pytest.raises(StoreError, match=r"00001\.safetensors has \d+ bytes, its manifest says"):
        open_store(stored)
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    store = open_store(stored)
    for read in (store.verify, lambda: store.load().matrix("hook_embed", "last")):
        with pytest.raises(StoreError, match=r"00001\.safetensors is not what was written"):
            read()
    shard.write_bytes(whole)
    (stored / "index.parquet").unlink()
    with pytest.raises(StoreError, match=r"index\.parquet is missing"):
        open_store(stored)


def test_what_is_no_store_is_refused(
    llama: HookedModel, examples: list[Example], stored: Path, tmp_path: Path
) -> None:
    """Another folder, schema or manifest, a folder with a user's own files, a file."""
    with pytest.raises(StoreError, match=r"manifest\.json is missing"):
        open_store(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="not empty and no store"):
        harvest(llama, examples, **ASKED, out=tmp_path)
    manifest = json.loads((stored / "manifest.json").read_text())
    storage.write_json(stored / "manifest.json", manifest | {"schema": 1})
    with pytest.raises(StoreError, match=r"schema 1.*reads schema 3"):
        open_store(stored)
    with pytest.raises(StoreError, match=r"notes\.txt is a file"):
        open_store(tmp_path / "notes.txt")
    storage.write_json(stored / "manifest.json", {"schema": 3, "kind": "recipe"})
    for use in (open_store, lambda path: harvest(llama, examples, **ASKED, out=path), go_on):
        with pytest.raises(StoreError, match="is no store of activations"):
            use(stored)


def test_batches_give_every_token_once(stored: Path) -> None:
    """However much is mixed, the batches are a permutation of all rows, all but one full."""
    store = open_store(stored)
    point = "blocks.1.hook_resid_post"
    every = store.load().matrix(point, "tokens")
    for mixed_rows in (1, 300, 10**6):
        given = list(store.batches(point, rows=64, seed=0, mixed_rows=mixed_rows))
        assert [len(b) for b in given[:-1]] == [64] * (len(every) // 64)
        assert torch.equal(_sorted(torch.cat(given)), _sorted(every))


def test_batches_in_one_place_are_the_same_ones(stored: Path) -> None:
    """They hold what the others hold, each until the next comes."""
    store, point = open_store(stored), "blocks.1.hook_resid_post"
    asked = {"rows": 64, "seed": 0, "mixed_rows": 300}
    places = set()
    for one, own in zip(store.batches(point, **asked, reuse=True), store.batches(point, **asked),
                        strict=True):
        assert torch.equal(one, own)
        places.add(one.data_ptr())
    assert len(places) == 1


def test_batches_are_decided_by_the_seed(stored: Path) -> None:
    """The same seed gives the same batches, another seed others; neither is the stored order."""
    store = open_store(stored)
    one, same, other = (
        torch.cat(list(store.batches("hook_embed", rows=50, seed=seed, mixed_rows=400)))
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_batches_mix_texts(
    llama: HookedModel, examples: list[Example], tmp_path: Path
) -> None:
    """A batch of 100 tokens draws from most texts, not from a few that lie together."""
    harvest(llama, examples, points="blocks.2.hook_resid_post", positions="tokens", out=tmp_path)
    store = open_store(tmp_path)
    rows = store.index.reset_index(drop=True)
    every = store.load().matrix("blocks.2.hook_resid_post", "tokens")
    batch = next(store.batches("blocks.2.hook_resid_post", rows=100, seed=0))
    place = torch.cdist(batch, every).argmin(1)
    texts = torch.searchsorted(torch.tensor(rows["end"].to_numpy()), place, right=True)
    assert len(texts.unique()) > 25


def test_a_shard_says_itself_whose_its_rows_are(stored: Path) -> None:
    """With safetensors and the index alone: rows put into `order` are those of the texts."""
    name, seen = "blocks.1.hook_resid_post/tokens", 0
    every = open_store(stored).load().matrix("blocks.1.hook_resid_post", "tokens")
    index = storage.read_table(stored / "index.parquet")
    index = index[index["position"] == "tokens"]
    for number, path in enumerate(sorted((stored / "shards").glob("*.safetensors"))):
        tensors, _ = storage.read_tensors(path)
        rows = torch.empty_like(tensors[name])
        rows[tensors["order/tokens"]] = tensors[name]
        assert not torch.equal(rows, tensors[name])
        for text in index[index["shard"] == number].itertuples():
            n = text.end - text.start
            assert torch.equal(rows[text.row : text.row + n], every[text.start : text.end])
            seen += n
    assert seen == len(every)


@pytest.mark.parametrize("names", [("a/tokens",), ("ä/last", "b.hook_z/tokens", "é/last")])
@pytest.mark.parametrize("n_rows", [1, 9, 1234])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_rows_of_a_shard_begin_with_a_line_of_the_cache(
    names: tuple[str, ...], n_rows: int, dtype: torch.dtype, tmp_path: Path
) -> None:
    """Whatever the header's length; the tensors and the description are as given."""
    tensors = {n: torch.randn(n_rows, 32).to(dtype) for n in names}
    order = {"order/tokens": shards.order_of(0, n_rows)}
    about = {"schema": 3, "shard": n_rows}
    shards.write_shard(tmp_path / "s", tensors | order, about, first=min(tensors))
    read, about = storage.read_tensors(tmp_path / "s")
    assert about["shard"] == n_rows
    for name, tensor in tensors.items():
        there = shards.mapped(tmp_path / "s", name)
        assert there.data_ptr() % 64 == 0
        assert torch.equal(there, tensor)
        assert torch.equal(read[name], tensor)


def test_a_batch_is_read_from_few_shards_however_many_there_are() -> None:
    """Two hundred shards of 100 rows: a batch touches the few that fill two buffers."""
    of_shard = [100 * torch.ones(100, 2) * k + torch.arange(100)[:, None] for k in range(200)]
    batches = shuffle.batches(
        dict.fromkeys(range(200), 100), lambda k: of_shard[k], rows=300, mixed_rows=2000,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    given = list(batches)
    assert torch.equal(torch.cat(given)[:, 0].sort().values, torch.arange(20_000.0))
    touched = [set((b[:, 0] // 100).int().tolist()) for b in given]
    assert all(5 <= len(t) <= 40 for t in touched[:-1])
    assert touched[0] != set(range(len(touched[0])))  # in no order


def test_a_store_of_more_shards_than_files_may_be_open(
    llama: HookedModel, tmp_path: Path
) -> None:
    """A hundred shards are read, whole and in batches, with room for ten open files."""
    texts = [Text(raw=f"once upon a time {'a small bird ' * (k % 7)}") for k in range(300)]
    harvest(llama, texts, points="hook_embed", positions="tokens", out=tmp_path, batch_tokens=30,
            share_prefixes=False, shard_bytes=1)
    store = open_store(tmp_path)
    assert len(store.manifest["shards"]) > 100
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("virtuelens.activations.store.OPEN_FILES", 4)
        patch.setattr("virtuelens.activations.shuffle.MOST_SHARDS", 2)
        resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 10, before[1]))
        try:
            every = store.read("hook_embed", "tokens")
            given = torch.cat(list(store.batches("hook_embed", rows=100, seed=0)))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert torch.equal(_sorted(given), _sorted(every))


def test_batches_of_what_is_not_there_are_refused(
    llama: HookedModel, examples: list[Example], tmp_path: Path
) -> None:
    """A store without tokens says how to get one with them."""
    harvest(llama, examples, points="hook_embed", out=tmp_path)
    store = open_store(tmp_path)
    with pytest.raises(PositionError, match="positions='tokens'"):
        store.batches("hook_embed", rows=4, seed=0)
    with pytest.raises(HookPointError, match="hook_embed"):
        store.batches("blocks.0.hook_resid_post", rows=4, seed=0)


def _sorted(rows: torch.Tensor) -> torch.Tensor:
    return rows[torch.from_numpy(_order(rows))]


def _order(rows: torch.Tensor) -> "object":
    import numpy as np

    return np.lexsort(rows.numpy().T)
