"""Searching every SAE feature for a concept, exactly, beside the time of encoding them alone.

    python benchmarks/sae_search.py [--quick] [--json] [--architecture jumprelu|topk|standard]

A random SAE whose features are active in about one token of a thousand, on random activations of
2,000 examples, half of them with the concept. The full size is 65,536 features on 100,000 tokens
of 512 dimensions; --quick has 16,384 on 25,000.

    search_over_encode   time of the whole search over that of encoding every token (SAELens' own
                         `encode`, or the same blocks as the search, whichever is faster, its
                         result thrown away). The search encodes too, so 1 is the least; it gives
                         AUROC on fitting and test groups, intervals of the top ten, and the null of
                         100 labellings
    search_over_encode_no_null   the same without the null (with --quick)
    largest_difference   from stats.auroc, over 200 features encoded by themselves
    peak_mib             largest memory of the process above what it held before the search

Rounds are interleaved; times are medians, ratios are medians of ratios within rounds.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch

from virtuelens import stats
from virtuelens.sparse_coding import Sae, encode, search_features
from virtuelens.sparse_coding.sae import block_encoder

EXAMPLES, DRAWS, L0 = 2000, 100, 64


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--architecture", default="jumprelu",
                        choices=("jumprelu", "standard", "topk"))
    args = parser.parse_args()
    n, d_sae, d_in = (25_000, 16_384, 512) if args.quick else (100_000, 65_536, 512)
    rounds = args.rounds or (3 if args.quick else 1)
    g = torch.Generator().manual_seed(0)
    acts = torch.randn(n, d_in, generator=g)
    sae = random_sae(args.architecture, acts, d_sae)
    rng = np.random.default_rng(0)
    owner = np.sort(rng.integers(0, EXAMPLES, n))
    labels = np.tile([1, 0], EXAMPLES // 2)
    about: dict[str, Any] = {
        "groups": [f"g{i // 20}" for i in range(EXAMPLES)],
        "pairs": [f"p{i // 2}" for i in range(EXAMPLES)], "owner": owner,
    }
    before = _peak()

    def search(n_permutations: int) -> Callable[[], Any]:
        return lambda: search_features(sae, acts, labels, n_permutations=n_permutations, **about)

    ways = {"search": search(DRAWS), "whole": lambda: whole(sae, acts)}
    if args.quick:
        ways["no_null"] = search(0)
    if block_encoder(sae, acts[:1]) is not None:
        ways["blocks"] = lambda: blocks(sae, acts)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, Any] = {}
    for k in range(rounds):
        for name in list(ways) if k % 2 == 0 else reversed(list(ways)):
            start = time.perf_counter()
            results[name] = ways[name]()
            seconds[name].append(time.perf_counter() - start)
            if name == "search":
                results["peak"] = _peak()
            print(f"{name:>8} {seconds[name][-1]:8.2f} s", file=sys.stderr)
    took = {name: statistics.median(s) for name, s in seconds.items()}
    alone = [min(pair) for pair in zip(*(seconds[w] for w in ("whole", "blocks") if w in seconds),
                                       strict=True)]  # of each round
    result = {
        "machine": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "torch": torch.__version__, "python": platform.python_version(),
        "architecture": args.architecture, "features": d_sae, "tokens": n, "d_in": d_in,
        "l0": float((encode(sae, acts[:500]) != 0).float().sum(-1).mean()),
        "labellings": DRAWS, "rounds": rounds, "seconds": took,
        "seconds_of_rounds": seconds,
        "search_over_encode": _ratio(seconds["search"], alone),
        "search_over_encode_no_null": _ratio(seconds["no_null"], alone) if args.quick else None,
        "largest_difference": difference(results["search"], sae, acts, labels[owner]),
        "peak_mib": round((results["peak"] - before) / 1024),
    }
    if not args.json:
        for key, value in result.items():
            print(f"{key:<28}{value}")
    print(json.dumps(result))


def random_sae(architecture: str, acts: torch.Tensor, d_sae: int) -> Sae:
    """One whose features are active in L0 of d_sae tokens on the average."""
    from sae_lens import SAE

    d_in = acts.shape[1]
    settings = {"architecture": architecture, "d_in": d_in, "d_sae": d_sae,
                "apply_b_dec_to_input": False}
    module = SAE.from_dict(settings | ({"k": L0} if architecture == "topk" else {}))
    weights = torch.randn(d_in, d_sae, generator=torch.Generator().manual_seed(1)) / d_in**0.5
    module.W_enc.data, module.W_dec.data = weights, weights.T.contiguous()
    # the dot products are nearly normal with deviation 1
    threshold = float(torch.special.ndtri(torch.tensor(1 - L0 / d_sae)))
    if architecture == "jumprelu":
        module.threshold.data.fill_(threshold)
    elif architecture == "standard":
        module.b_enc.data.fill_(-threshold)
    module.eval().requires_grad_(requires_grad=False)
    return Sae("random", "", d_in, d_sae, architecture, None, module)


@torch.no_grad()
def whole(sae: Sae, acts: torch.Tensor, *, at_once: int = 256) -> None:
    """SAELens' own encoding of every token, thrown away."""
    for part in acts.split(at_once):
        encode(sae, part)


@torch.no_grad()
def blocks(sae: Sae, acts: torch.Tensor, *, width: int = 1024, at_once: int = 2048) -> None:
    """The same by the blocks of the search, thrown away."""
    one = block_encoder(sae, acts)
    assert one is not None
    for first in range(0, sae.d_sae, width):
        for start in range(0, len(acts), at_once):
            one(slice(start, start + at_once), slice(first, first + width))


def difference(found: Any, sae: Sae, acts: torch.Tensor, labels: np.ndarray) -> float:
    """Largest difference of the search's held-out AUROC from stats.auroc, of 200 features."""
    table = found.ranking.table
    chosen = table.iloc[np.linspace(0, len(table) - 1, 200).astype(int)]
    features, test = chosen["feature"].to_numpy(), ~found.fit
    rows = acts[torch.from_numpy(test)]
    dense = torch.cat([encode(sae, part)[:, features.copy()] for part in rows.split(256)]).numpy()
    exact = stats.auroc_columns(dense * chosen["sign"].to_numpy(), labels[test])
    return float(np.abs(exact - chosen["auroc"].to_numpy()).max())


def _ratio(ours: list[float], alone: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, alone, strict=True))


def _peak() -> int:
    """KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
