"""Matrix products in fp32 on this CPU: PyTorch's own (MKL) and oneDNN's, interleaved.

    python benchmarks/matmul.py [--json]

The matrices of a model of width 768, with 128 to 2,048 tokens; GFLOP/s are medians of 7 rounds.
`taken` is what virtuelens uses here.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch.nn import functional as F

from virtuelens.models.matmul import _product, choice

SIZES = ((768, 768), (768, 2048), (2048, 768))


def main() -> None:
    """Measure every size and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = [_measure(tokens, *size) for size in SIZES for tokens in (128, 512, 1024, 2048)]
    result = {"threads": torch.get_num_threads(), "torch": torch.__version__,
              "taken": choice(), "rows": rows}
    if not args.json:
        print(f"{'tokens x in -> out':<24}{'torch':>8}{'oneDNN':>8}{'ratio':>8}{'error':>12}")
        for r in rows:
            print(f"{r['size']:<24}{r['torch']:>8.0f}{r['onednn']:>8.0f}"
                  f"{r['onednn'] / r['torch']:>8.2f}{r['largest_difference']:>12.1e}")
    print(json.dumps(result))


@torch.inference_mode()
def _measure(tokens: int, d_in: int, d_out: int) -> dict[str, Any]:
    x, weight = torch.randn(tokens, d_in), torch.randn(d_out, d_in) / d_in**0.5
    ways: dict[str, Callable[[], Any]] = {
        "torch": lambda: F.linear(x, weight), "onednn": lambda: _product(x, weight, None)}
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    repeats = max(3, 20_000 // tokens)
    for _ in range(8):
        for name, way in ways.items():
            start = time.perf_counter()
            for _ in range(repeats):
                way()
            took = (time.perf_counter() - start) / repeats
            speeds[name].append(2e-9 * tokens * d_in * d_out / took)
    difference = float((ways["torch"]() - ways["onednn"]()).abs().max())
    return {"size": f"{tokens} x {d_in} -> {d_out}", "largest_difference": difference,
            **{name: statistics.median(s[1:]) for name, s in speeds.items()}}


if __name__ == "__main__":
    main()
