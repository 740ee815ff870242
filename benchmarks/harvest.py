"""Harvesting every token of ragged texts, side by side with others in one process.

    python benchmarks/harvest.py [--quick] [--json] [--rounds 5] [--dtype float32|bfloat16]
                                 [--shape llama|gpt2|llama-1b] [--device cpu|cuda]

The residual stream after layer 6, all tokens, of texts of 8 to 200 tokens (lognormal, median about
45) through 12 layers of 768 with random weights. Everybody starts from the same strings, so that
tokenising is counted, and rows must agree before anything is measured. The limit: the bare base
model of transformers cut off after that layer, on dense batches of equal length that hold as many
tokens, nothing tokenised and nothing kept. Rounds are interleaved in a changing order; times are
medians, ratios are medians of ratios within rounds.

    ratio_best_peer       against the faster of the peers used well, as the issue threads advise
    ratio_peer_default    against the faster of the peers as their first example shows
    share_of_limit        tokens per second, as a share of the limit's
    prefix_ratio          tokens delivered per second where texts share 60 to 90 % of their
                          beginning, against texts that share nothing
    all_layers_cost       time of reading every layer over time of reading the last alone
"""

import argparse
import copy
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

import torch
import transformers
from harvest_peers import DEFAULT, WELL_USED, peers, saelens
from harvest_workloads import SHAPES, about, make_model, ragged, sharing

from virtuelens.activations.harvest import harvest
from virtuelens.models import HookedModel
from virtuelens.values.texts import Text

LAYER = 6
POINT = f"blocks.{LAYER}.hook_resid_post"
LIMIT = "limit: dense batches, cut-off base model"
OURS, SHARED = "virtuelens harvest", "virtuelens harvest, shared beginnings"
PADDED = "virtuelens harvest, texts padded"
ALL, LAST = "virtuelens harvest, every layer", "virtuelens harvest, last layer"
Seconds = dict[str, list[float]]


def main() -> None:
    """Run all contestants and print the table."""
    args = _arguments()
    on_gpu = args.device != "cpu"
    rounds, n_texts = (2, 64) if args.quick else (args.rounds, 2048 if on_gpu else 256)
    model = make_model(args.shape, dtype=getattr(torch, args.dtype), device=args.device)
    texts, alike = ragged(n_texts), sharing(n_texts if on_gpu else 256)
    others = peers(model, LAYER)
    _agree(model, others, texts[:24])
    jobs: dict[str, Callable[[], Any]] = {
        OURS: lambda: _harvest(model, texts, POINT),
        SHARED: lambda: _harvest(model, alike, POINT),
        ALL: lambda: _harvest(model, texts, "resid_post"),
        LAST: lambda: _harvest(
            model, texts, f"blocks.{model.info.n_layers - 1}.hook_resid_post"),
        LIMIT: _limit(model, _tokens(texts)),
        **{name: lambda job=job: job(texts) for name, job in others.items()},  # type: ignore[misc]
    }
    counted = dict.fromkeys(jobs, _tokens(texts)) | {SHARED: _tokens(alike)}
    if not args.quick and not on_gpu:
        padded = copy.copy(model)
        padded.__dict__["packs"] = False  # as for architectures that cannot be packed
        jobs[PADDED] = lambda: _harvest(padded, texts, POINT)
        counted[PADDED] = counted[OURS]
    if not args.quick and not on_gpu and args.shape != "gpt2":
        cached = saelens(model, LAYER, texts * 2)
        jobs["SAELens CacheActivationsRunner"] = cached
        counted["SAELens CacheActivationsRunner"] = cached()
    for name in (OURS, SHARED, LIMIT):
        jobs[name]()  # warm
    seconds = _race(jobs, rounds, device=args.device)
    result = {
        "machine": f"{_processor(args.device)}, {torch.get_num_threads()} thread(s), "
        f"torch {torch.__version__}, transformers {transformers.__version__}",
        "task": f"{args.shape} shape, {args.dtype}, layer {LAYER}, every token of {about(texts)}; "
        f"shared beginnings: {about(alike)}",
        "rounds": rounds,
        "rows": {
            name: {"tokens_per_second": round(counted[name] / statistics.median(taken)),
                   "times_ours": round(_ratio(seconds, counted, OURS, name), 3)}
            for name, taken in seconds.items()
        },
        **_headline(seconds, counted),
        **(_shares_of_peak(model, seconds, counted) if on_gpu else {}),
    }
    if not args.json:
        _show(result)
    print(json.dumps(result if args.json else _headline(seconds, counted)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="64 texts, 2 rounds")
    parser.add_argument("--json", action="store_true", help="one JSON object and nothing else")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--shape", default="llama", choices=list(SHAPES))
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def _harvest(model: HookedModel, texts: Sequence[str], points: str) -> Any:
    return harvest(model, [Text(raw=t) for t in texts], points=points, positions="tokens",
                   dtype=str(model.hf.dtype).removeprefix("torch."))


def _limit(model: HookedModel, n_tokens: int) -> Callable[[], None]:
    """The base model's layers up to the one read, on dense batches of about 1,024 tokens."""
    body = copy.deepcopy(getattr(model.hf, model.hf.base_model_prefix))
    layers = "h" if hasattr(body, "h") else "layers"
    setattr(body, layers, getattr(body, layers)[: LAYER + 1])
    length, rows = 64, 16 if model.hf.device.type == "cpu" else 128
    ids = torch.randint(3, 400, (rows, length), device=model.hf.device)
    n_batches, left = divmod(n_tokens, rows * length)

    def job() -> None:
        with torch.inference_mode():
            for _ in range(n_batches):
                body(input_ids=ids, use_cache=False)
            if left >= length:
                body(input_ids=ids[: left // length], use_cache=False)

    return job


def _agree(model: HookedModel, others: dict[str, Any], texts: list[str]) -> None:
    """All contestants give the same rows (this also warms them up)."""
    ours = _harvest(model, texts, POINT).point(POINT)
    loose = {"atol": 1e-3, "rtol": 1e-3} if model.hf.dtype == torch.float32 else {
        "atol": 0.5, "rtol": 0.1}
    for name, job in others.items():
        torch.testing.assert_close(job(texts).float(), ours, **loose, msg=name)


def _race(jobs: dict[str, Callable[[], Any]], rounds: int, *, device: str) -> Seconds:
    seconds: Seconds = {name: [] for name in jobs}
    order = list(jobs)
    for number in range(rounds):
        random.Random(number).shuffle(order)
        for name in order:
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr)
            start = time.perf_counter()
            jobs[name]()
            if device != "cpu":
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def _ratio(seconds: Seconds, counted: dict[str, int], one: str, other: str) -> float:
    """Tokens per second of `one` over those of `other`, median of rounds."""
    each = zip(seconds[one], seconds[other], strict=True)
    return statistics.median(counted[one] / a / (counted[other] / b) for a, b in each)


def _headline(seconds: Seconds, counted: dict[str, int]) -> dict[str, float]:
    def ratio(one: str, other: str) -> float:
        return _ratio(seconds, counted, one, other)

    return {
        "ratio_best_peer": round(min(ratio(OURS, p) for p in WELL_USED), 3),
        "ratio_peer_default": round(min(ratio(OURS, p) for p in DEFAULT), 3),
        "share_of_limit": round(ratio(OURS, LIMIT), 3),
        "prefix_ratio": round(ratio(SHARED, OURS), 3),
        "all_layers_cost": round(ratio(LAST, ALL), 3),
    }


def _shares_of_peak(
    model: HookedModel, seconds: Seconds, counted: dict[str, int]
) -> dict[str, float]:
    """Arithmetic per second (products with weights only) over that of one large product."""
    layers = [p for name, p in model.hf.named_parameters()
              if any(f".{i}." in name for i in range(LAYER + 1)) and p.ndim == 2]
    per_token = 2 * sum(p.numel() for p in layers)
    a, b = (torch.randn(8192, 8192, dtype=model.hf.dtype, device=model.hf.device) for _ in "ab")
    taken = []
    for _ in range(20):
        torch.cuda.synchronize()
        start = time.perf_counter()
        a @ b
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    peak = 2 * 8192**3 / statistics.median(taken)
    done = {name: per_token * counted[name] / statistics.median(seconds[name])
            for name in (OURS, LIMIT)}
    return {"peak_tflops": round(peak / 1e12, 1),
            "share_of_peak": round(done[OURS] / peak, 3),
            "limit_share_of_peak": round(done[LIMIT] / peak, 3)}


def _tokens(texts: Sequence[str]) -> int:
    return sum(len(t.split()) for t in texts)


def _processor(device: str) -> str:
    if device != "cpu":
        return str(torch.cuda.get_device_name())
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _show(result: dict[str, Any]) -> None:
    print(result["machine"], result["task"], sep="\n")
    print(f"\n{'':<44}{'tokens/s':>10}{'virtuelens is x times':>24}")
    for name, row in sorted(result["rows"].items(), key=lambda r: -r[1]["tokens_per_second"]):
        print(f"{name:<44}{row['tokens_per_second']:>10,}{row['times_ours']:>24.2f}")
    print()


if __name__ == "__main__":
    main()
