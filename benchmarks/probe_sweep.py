"""Logistic probes over all layers: ours beside a loop of scikit-learn's LogisticRegressionCV.

    python benchmarks/probe_sweep.py [--quick] [--json] [--threads 1] [--decay 0.7] [--device cuda]
    python benchmarks/probe_sweep.py --memory [--rows 20000] [--width 4096] [--json]
    python benchmarks/probe_sweep.py --memory --command logistic_cv [--rows 20000] [--width 4096]

12 layers of n = 2,000 rows of 768 features, 8 values of C (scikit-learn's own grid, `Cs=8`), 5
folds by group, and a fit on all rows at the chosen C: both sides do all of that, in one process,
layer by layer in turns, with the same number of threads. 2,000 more rows of other groups judge the
chosen fits. scikit-learn has its defaults (L-BFGS, warm starts, tolerance 1e-4) behind a
StandardScaler, on the same float32 rows.

Features are a random turn of latent variables whose spread falls as rank^-decay, with a part that
all rows of a group share; the label is a planted direction that is seen at a held-out AUROC of 0.8
to 0.95, more or less by layer. A small decay is the easier problem for scikit-learn.

    speedup        scikit-learn's seconds over ours, layer by layer; the median over layers, since
                   other work on the machine may hit one run and not the other
    cpu_speedup    the same of processor time, summed over the layers timed
    auroc_gap      largest difference over layers of the held-out AUROC of the two chosen fits
    cell_gap       largest difference over layers and C of the fold-averaged AUROC, up to the larger
                   C that was chosen (far above it scikit-learn stops before it has converged)
    layers         layers timed on both sides (--quick: 4 of the 12; the ratio is per layer)

--memory measures the streaming of layers instead, in a process of its own: the peak above what was
held before, in multiples of one layer's bytes in float32. With --command, of what the command
`virtuelens probe` does on activations of 4 layers that lie on disk (5 shuffles, 1 split), with that
method.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from sklearn.linear_model import LogisticRegressionCV
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from virtuelens import stats
from virtuelens.probing.logistic import fit_layer, sweep_layers
from virtuelens.probing.methods import STRENGTHS

N, WIDTH, LAYERS, GROUPS, FOLDS = 2000, 768, 12, 100, 5


def main() -> None:
    """Run and print; with --json one object on the last line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="4 of the 12 layers")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--decay", type=float, default=0.7, help="of the features' spectrum")
    parser.add_argument("--device", default="cpu", help="where ours computes")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--command", default="", help="with --memory: a method of virtuelens probe")
    parser.add_argument("--part", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.part:
        print(json.dumps(command(args.rows, args.width, args.command) if args.command
                         else stream(args.rows, args.width)))
        return
    if args.memory:
        asked = [sys.executable, __file__, "--part", "--rows", str(args.rows), "--width",
                 str(args.width), "--threads", str(args.threads), "--command", args.command]
        done = subprocess.run(asked, check=True, stdout=subprocess.PIPE, text=True)
        result = json.loads(done.stdout.splitlines()[-1])
    else:
        with threadpool_limits(args.threads), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn's, on fits that it leaves unfinished
            result = compare(4 if args.quick else LAYERS, args.decay, args.device)
    result |= {"threads": args.threads, "torch_threads": torch.get_num_threads(),
               "machine": f"{platform.machine()}, {os.cpu_count()} cores"
               + (f", {torch.cuda.get_device_name()}" if args.device != "cpu" else "")}
    if not args.json:
        for key, value in result.items():
            print(f"{key:<22}{value}")
    print(json.dumps(result))


def layer(seed: int, decay: float, n: int = 2 * N, d: int = WIDTH) -> tuple:
    """`n` rows in float32, labels, groups; the first half of the groups is for fitting."""
    rng = np.random.default_rng(seed)
    groups = np.arange(n) // (n // (2 * GROUPS))
    y = np.random.default_rng(1000).integers(0, 2, n)  # one concept: the same at every layer
    spectrum = np.arange(1, d + 1) ** -decay
    toward = rng.normal(size=d)
    shown = 2.7 + 0.5 * np.sin(seed)  # distance of the classes, in standard deviations
    latent = rng.normal(size=(n, d)) + 0.5 * rng.normal(size=(2 * GROUPS, d))[groups]
    latent += shown * np.outer(y - 0.5, toward / np.linalg.norm(toward))
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    return ((latent * spectrum) @ turn).astype(np.float32), y, groups


def compare(n_layers: int, decay: float, device: str) -> dict[str, Any]:
    """Both sides over the layers, in turns."""
    seconds = {"ours": 0.0, "sklearn": 0.0}
    cpu = {"ours": 0.0, "sklearn": 0.0}
    rows: list[dict[str, float]] = []
    ratios: list[float] = []
    _ours(*_fit_part(layer(99, decay)), device)  # libraries loaded
    for index in range(n_layers):
        X, y, groups = layer(index, decay)
        X_fit, y_fit, folds = _fit_part((X, y, groups))
        held = slice(N, None)
        runs: dict[str, Callable[[], Any]] = {
            "ours": lambda X=X_fit, y=y_fit, f=folds: _ours(X, y, f, device),
            "sklearn": lambda X=X_fit, y=y_fit, f=folds: _theirs(X, y, f),
        }
        found, took = {}, {}
        for name in sorted(runs, reverse=bool(index % 2)):  # who comes first takes turns
            found[name], wall, used = _timed(runs[name])
            took[name] = wall
            seconds[name] += wall
            cpu[name] += used
        ratios.append(took["sklearn"] / took["ours"])
        auroc = {k: stats.auroc(X[held] @ w, y[held]) for k, (w, _, _) in found.items()}
        up_to = 1 + max(STRENGTHS.index(_nearest(c)) for _, _, c in found.values())
        cells = np.abs(found["ours"][1] - found["sklearn"][1])[:up_to]
        rows.append({"auroc": auroc["ours"], "sklearn": auroc["sklearn"], "cells": cells.max(),
                     "C": found["ours"][2], "sklearn_C": found["sklearn"][2]})
        print(f"layer {index}: " + ", ".join(f"{k} {v:.4g}" for k, v in rows[-1].items()),
              file=sys.stderr)
    return {
        "speedup": round(float(np.median(ratios)), 2),
        "cpu_speedup": round(cpu["sklearn"] / cpu["ours"], 2),
        "auroc_gap": round(max(abs(r["auroc"] - r["sklearn"]) for r in rows), 5),
        "cell_gap": round(max(r["cells"] for r in rows), 5),
        "layers": n_layers,
        "seconds_per_layer": {k: round(v / n_layers, 3) for k, v in seconds.items()},
        "cpu_seconds_per_layer": {k: round(v / n_layers, 3) for k, v in cpu.items()},
        "auroc": [round(r["auroc"], 3) for r in rows],
        "same_strength_chosen": sum(np.isclose(r["C"], r["sklearn_C"]) for r in rows).item(),
        "n": N, "width": WIDTH, "strengths": len(STRENGTHS), "folds": FOLDS, "decay": decay,
    }


def _fit_part(whole: tuple) -> tuple:
    X, y, groups = whole
    return X[:N], y[:N], groups[:N] % FOLDS


def _ours(X: np.ndarray, y: np.ndarray, folds: np.ndarray, device: str) -> tuple:
    fitted = fit_layer(torch.from_numpy(X).to(device), y, folds)
    return fitted.weights.cpu().numpy(), fitted.fold_auroc.mean(axis=1), fitted.strength


def _theirs(X: np.ndarray, y: np.ndarray, folds: np.ndarray) -> tuple:
    scaler = StandardScaler().fit(X)
    splits = [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(FOLDS)]
    model = LogisticRegressionCV(Cs=len(STRENGTHS), cv=splits, scoring="roc_auc")
    model.fit(scaler.transform(X), y)
    scores = model.scores_  # a dictionary of classes before scikit-learn's new attributes
    scores = np.asarray(scores[1] if isinstance(scores, dict) else scores)
    return (model.coef_.ravel() / scaler.scale_, scores.reshape(FOLDS, -1).mean(axis=0),
            float(np.ravel(model.C_)[0]))


def _nearest(C: float) -> float:
    return min(STRENGTHS, key=lambda c: abs(np.log(c / C)))


def _timed(run: Callable[[], Any]) -> tuple[Any, float, float]:
    wall, used = time.perf_counter(), time.process_time()
    result = run()
    return result, time.perf_counter() - wall, time.process_time() - used


def stream(n: int, d: int) -> dict[str, Any]:
    """Two layers of `n` rows made, fitted and let go: peak memory above what was held before."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, n)
    fit_layer(torch.randn(200, 64), y[:200], np.arange(200) % FOLDS)  # libraries loaded

    def layers() -> Iterator[torch.Tensor]:
        for seed in range(2):
            generator = torch.Generator().manual_seed(seed)
            X = torch.randn(n, d, generator=generator)
            X[:, 0] += torch.from_numpy(y)
            yield X
            del X

    Path("/proc/self/clear_refs").write_text("5")
    before, start = _status("VmRSS"), time.perf_counter()
    done = [f.strength for f in sweep_layers(layers(), y, np.arange(n) % FOLDS)]
    peak, one = (_status("VmHWM") - before) * 1024, n * d * 4
    return {"layers": len(done), "rows": n, "width": d, "layer_mb": round(one / 2**20, 1),
            "peak_mb": round(peak / 2**20, 1), "peak_in_layers": round(peak / one, 2),
            "seconds": round(time.perf_counter() - start, 1)}


def command(n: int, d: int, method: str, n_layers: int = 4) -> dict[str, Any]:
    """What `virtuelens probe --method` does, on layers that lie in files."""
    import tempfile

    import pandas as pd

    from virtuelens.activations.activations import INDEX_COLUMNS, Activations
    from virtuelens.probing.comparison import compare
    from virtuelens.values.models import ModelInfo

    y = np.random.default_rng(0).integers(0, 2, n)
    place = Path(tempfile.mkdtemp())
    points = tuple(f"blocks.{i}.hook_resid_post" for i in range(n_layers))
    for i, point in enumerate(points):
        X = np.random.default_rng(i).normal(size=(n, d)).astype(np.float32)
        X[:, 0] += y
        X.tofile(place / point)
    del X
    rows = np.arange(n)
    index = pd.DataFrame({
        "example_id": rows.astype(str), "pair": (rows // 2).astype(str),
        "group": (rows * GROUPS // n).astype(str), "label": y, "split": "main", "position": "last",
        "start": rows, "end": rows + 1, "n_tokens": 1, "n_prompt": 1,
    })[list(INDEX_COLUMNS)]
    info = ModelInfo(**{f: _BLANK.get(t, "") for f, t in ModelInfo.__annotations__.items()})
    acts = Activations(
        info, index, points, ("last",), "made", {},
        lambda point, position: torch.from_numpy(
            np.fromfile(place / point, dtype=np.float32).reshape(n, d)))
    Path("/proc/self/clear_refs").write_text("5")
    before, start = _status("VmRSS"), time.perf_counter()
    found = compare(acts, [method], n_splits=1, n_permutations=5)
    peak, one = (_status("VmHWM") - before) * 1024, n * d * 4
    for point in points:
        (place / point).unlink()
    return {"method": method, "layers": n_layers, "rows": n, "width": d,
            "layer_mb": round(one / 2**20, 1), "peak_mb": round(peak / 2**20, 1),
            "peak_in_layers": round(peak / one, 2), "auroc": round(found.rows[0].test.value, 3),
            "seconds": round(time.perf_counter() - start, 1)}


_BLANK: dict[Any, Any] = {int: 0, "int": 0, bool: False, "bool": False, float: 0.0, "float": 0.0}


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise ValueError(name)


if __name__ == "__main__":
    main()
