"""Two Ray workers of one thread beside one: tokens per second, once their models are loaded.

    python benchmarks/harvest_cluster.py [--quick] [--json] [--texts 1024]

Workload A (12 layers of 768, layer 6, every token) into stores of many shards. A worker's start
(process, libraries, model) is told apart from its work: the rate counts from the first finished
shard on, `seconds` from the call to its return. Runs alternate; the best of each counts. The shards
of all runs are compared with those made in this process by one thread.

    ratio    tokens per second of two workers over those of one
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

import torch
from harvest_workloads import make_model, ragged

from virtuelens.activations.cluster import Cluster
from virtuelens.activations.harvest import harvest
from virtuelens.models import HookedModel, load_model
from virtuelens.models.fresh import save_model
from virtuelens.values.texts import Text

POINT = "blocks.6.hook_resid_post"
SHARD_BYTES = 8 << 20


def main() -> None:
    """Alternate one worker and two, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one run of each, 512 texts")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--texts", type=int, default=2048)
    args = parser.parse_args()
    texts = [Text(raw=t) for t in ragged(512 if args.quick else args.texts)]
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp())
    try:
        made = make_model("llama", dtype=torch.float32)
        save_model(made.hf, made.tokenizer, folder / "model", {})
        model = load_model(str(folder / "model"))
        expected = _shards(model, texts, folder / "local", None)["shards"]
        runs: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
        for k in range(1 if args.quick else 2):
            for n in (1, 2) if k % 2 else (2, 1):
                print(f"run {k + 1}, {n} workers", file=sys.stderr)
                done = _shards(model, texts, folder / f"{n}-{k}", n)
                assert done.pop("shards") == expected, "the workers made other bytes"
                runs[n].append(done)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    best = {n: max(r["tokens_per_second"] for r in runs[n]) for n in runs}
    result = {"cores": os.cpu_count(), "shards": len(expected), "same_bytes": True,
              "ratio": round(best[2] / best[1], 2), "one": runs[1], "two": runs[2]}
    if not args.json:
        for key, value in result.items():
            print(f"{key:<12}{value}")
    print(json.dumps(result))


def _shards(
    model: HookedModel, texts: list[Text], out: Path, workers: int | None
) -> dict[str, Any]:
    """The bytes of the shards, and how fast they came."""
    times: list[tuple[float, int]] = []
    start = time.perf_counter()
    harvest(model, texts, points=POINT, positions="tokens", out=out, dtype="bfloat16",
            batch_tokens=1024, shard_bytes=SHARD_BYTES,
            cluster=None if workers is None else Cluster(workers=workers),
            progress=lambda done, total: times.append((time.perf_counter(), done)))
    seconds = time.perf_counter() - start
    shards = [p.read_bytes() for p in sorted((out / "shards").iterdir())]
    shutil.rmtree(out)
    times = [(t, n) for t, n in times if n]
    (first, before), (last, after) = times[0], times[-2]  # the last tells the end again
    mean = sum(len(str(t.raw).split()) for t in texts) / len(texts)
    return {"shards": shards, "seconds": round(seconds, 1),
            "tokens_per_second": round((after - before) * mean / (last - first))}


if __name__ == "__main__":
    main()
