"""A million tokens into a store: memory, what writing costs, how fast it reads back.

    python benchmarks/harvest_store.py [--quick] [--json] [--tokens 1000000] [--dtype bfloat16]

The residual stream after layer 6 of 12 layers of 768, every token, kept in bfloat16 (and, for
reading, a quarter of them in float32, which `harvest` keeps if it is not told otherwise). Each
measurement is a process of its own. Memory is the peak of the process above what it held with model
and texts loaded (VmHWM, reset before the harvest). Writing is compared with the same harvest into
nothing: rows are taken and dropped, in alternating stretches of the same process. Reading is the
iterator of shuffled batches of 4,096 rows over the whole store, each written where the one before
stood, the first time it is opened (checksums and page tables included) and again; and with a place
of its own for each batch. Beside it, copies in memory of as many rows: of the
whole to a place that is there already, and batch by batch in order, where what is written stays in
the processor's cache. And what a reader can reach that picks rows singly: random rows, ascending,
chosen beforehand, from windows of 65,536 rows of one matrix in memory to a place that is there, one
call a batch.

    memory_mb             peak above the model, at a tenth of the tokens and at all of them
    allowed_mb            two batches (every layer's hidden states and MLP) plus two shards
    writing_cost          time into a store over time into nothing, less one
    first_share           rows per second of the iterator over those of the whole copy
    again_share           the same, the store open already
    own_share             the same, each batch in a place of its own
    gather_share          single rows over the whole copy
    float32               reading again, of rows in float32
"""

import argparse
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

import torch
from harvest_workloads import SHAPES, make_model, ragged

from virtuelens.activations import memory
from virtuelens.activations.harvest import harvest, plan
from virtuelens.activations.manifest import DTYPES
from virtuelens.activations.plan import default_batch_tokens
from virtuelens.activations.reading import read_each
from virtuelens.activations.request import make_request
from virtuelens.activations.store import open_store
from virtuelens.models import HookedModel
from virtuelens.values.texts import Text

POINT = "blocks.6.hook_resid_post"
SHARD_BYTES = 1 << 27
BATCH_TOKENS = default_batch_tokens(SHAPES["llama"]["d_model"], "cpu")
MEAN = 60
"""Tokens of a text of workload A on average, about."""


def main() -> None:
    """Run every measurement and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="100,000 tokens")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--part", choices=list(_PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--kept", default="bfloat16", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    tokens = 100_000 if args.quick else args.tokens
    if args.part:
        print(json.dumps(_PARTS[args.part](tokens, args.dtype, args.kept, args.out)))
        return
    folder = Path(tempfile.mkdtemp())
    try:
        small = _in_process("memory", tokens // 10, args.dtype, folder / "small")
        large = _in_process("memory", tokens, args.dtype, folder / "large")
        writing = _in_process("writing", tokens // 4, args.dtype, folder / "writing")
        _in_process("memory", tokens // 4, args.dtype, folder / "float32", kept="float32")
        reading = _in_process("reading", tokens, args.dtype, folder / "large")
        reading["float32"] = _in_process("reading", tokens // 4, args.dtype, folder / "float32")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    result = {
        "tokens": large["tokens"], "dtype": args.dtype, "threads": torch.get_num_threads(),
        "memory_mb": {str(m["tokens"]): m["peak_mb"] for m in (small, large)},
        "allowed_mb": _allowed(args.dtype), "tokens_per_second": large["tokens_per_second"],
        "writing_cost": writing["cost"], **reading,
    }
    if not args.json:
        for key, value in result.items():
            print(f"{key:<22}{value}")
    print(json.dumps(result))


def _in_process(
    part: str, tokens: int, dtype: str, out: Path, *, kept: str = "bfloat16"
) -> dict[str, Any]:
    print(f"{part}: {tokens:,} tokens", file=sys.stderr)
    done = subprocess.run(
        [sys.executable, __file__, "--part", part, "--tokens", str(tokens), "--dtype", dtype,
         "--kept", kept, "--out", str(out)], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _prepare(tokens: int, dtype: str) -> tuple[HookedModel, list[Text]]:
    model = make_model("llama", dtype=getattr(torch, dtype))
    texts = [Text(raw=t) for t in ragged(tokens // MEAN)]
    harvest(model, texts[:8], points=POINT, positions="tokens")  # libraries loaded, threads made
    return model, texts


def _memory(tokens: int, dtype: str, kept: str, out: Path) -> dict[str, Any]:
    model, texts = _prepare(tokens, dtype)
    gc.collect()
    memory.keeper(every=0)()  # what preparing left behind is not the model's
    Path("/proc/self/clear_refs").write_text("5")
    before, start = _status("VmRSS"), time.perf_counter()
    harvest(model, texts, points=POINT, positions="tokens", out=out, dtype=kept,
            batch_tokens=BATCH_TOKENS, shard_bytes=SHARD_BYTES)
    took, n = time.perf_counter() - start, sum(len(str(t.raw).split()) for t in texts)
    return {"tokens": n, "peak_mb": round((_status("VmHWM") - before) / 1024, 1),
            "tokens_per_second": round(n / took)}


def _writing(tokens: int, dtype: str, kept: str, out: Path) -> dict[str, Any]:
    """Four stretches of texts, each into a store and into nothing, by turns."""
    model, texts = _prepare(tokens, dtype)
    seconds = {"store": 0.0, "nothing": 0.0}
    n = len(texts) // 4
    for k in range(4):
        part = texts[k * n : (k + 1) * n]
        for way in ("store", "nothing") if k % 2 else ("nothing", "store"):
            start = time.perf_counter()
            if way == "store":
                harvest(model, part, points=POINT, positions="tokens", out=out / str(k),
                        dtype=kept, batch_tokens=BATCH_TOKENS, shard_bytes=SHARD_BYTES)
            else:
                request = make_request(model, part, points=POINT, positions="tokens")
                jobs = plan(model, request, batch_tokens=BATCH_TOKENS, share_prefixes=True)
                read_each(model, request, jobs, lambda *put: None, dtype=DTYPES[kept])
            seconds[way] += time.perf_counter() - start
    return {"cost": round(seconds["store"] / seconds["nothing"] - 1, 3)}


def _read_back(out: Path) -> dict[str, Any]:
    """Bytes per second through the iterator, and of copies of as many."""
    def reads(*, reuse: bool) -> float:
        start = time.perf_counter()
        n = sum(len(b) for b in store.batches(POINT, rows=4096, seed=0, reuse=reuse))
        return n / (time.perf_counter() - start)

    def copies(parts: int) -> float:
        start = time.perf_counter()
        if parts == 1:
            there.copy_(whole)
        else:
            for part in whole.split(parts):
                part.clone()
        return len(whole) / (time.perf_counter() - start)

    def gathers() -> float:
        start, n = time.perf_counter(), 0
        for first in range(0, len(whole) - len(picked) + 1, len(picked)):
            window = whole[first : first + len(picked)]
            for rows in picked.split(4096):
                torch.index_select(window, 0, rows, out=batch)
                n += len(rows)
        return n / (time.perf_counter() - start)

    store = open_store(out)
    rates = {"first": [reads(reuse=True)]}
    whole = store.read(POINT, "tokens")
    there, batch = torch.empty_like(whole), whole.new_empty(4096, whole.shape[1])
    n = min(1 << 16, len(whole) // 4096 * 4096)
    picked = torch.cat([p.sort().values for p in torch.randperm(n).split(4096)])
    ways = {"again": lambda: reads(reuse=True), "own": lambda: reads(reuse=False),
            "gather": gathers,
            "copy": lambda: copies(1), "copy_batches": lambda: copies(4096)}
    for number in range(10):  # interleaved; the first round only warms up
        for name, way in ways.items():
            rates.setdefault(name, []).append(way())
            if number == 0:
                rates[name].clear()
    gigabytes = whole.element_size() * whole.shape[1] / 1e9
    speeds = {f"{name}_gb_s": round(statistics.median(of) * gigabytes, 2)
              for name, of in rates.items()}
    shares = {f"{name}_share": round(statistics.median(of) / statistics.median(rates["copy"]), 2)
              for name, of in rates.items() if not name.startswith("copy")}
    return speeds | shares


def _allowed(dtype: str) -> float:
    s, size = SHAPES["llama"], 2 if dtype == "bfloat16" else 4
    batch = BATCH_TOKENS * (8 * s["d_model"] + 3 * s["d_mlp"]) * size
    return round((2 * batch + 2 * SHARD_BYTES) / 2**20, 1)


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {key}")


_PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "memory": _memory, "writing": _writing, "reading": lambda *asked: _read_back(asked[-1])
}

if __name__ == "__main__":
    main()
