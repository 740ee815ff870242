"""Try probes, interchange, attribution and alignment on a circuit whose every weight is known.

python experiments/2026-11-21_known-circuit/run.py
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

import virtuelens as vl
from virtuelens import stats
from virtuelens.attribution.effects import Attribution
from virtuelens.attribution.exact import exact
from virtuelens.attribution.gradients import read_gradients
from virtuelens.organisms.compiled import (
    WORDS,
    Layout,
    Repetition,
    build_induction,
    draw_repetition,
)
from virtuelens.probing.probes import examples_of
from virtuelens.probing.sweep import sweep
from virtuelens.values.estimates import Estimate
from virtuelens.values.texts import Example

HERE = Path(__file__).parent
WORK = Path("runs/known-circuit")
BLOCK_0, BLOCK_1 = "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"
KINDS = ("value", "query", "key")
N = 200
ESTIMATES = (("mean_gradient", 1), ("mean_gradient", 5), ("path", 5), ("path", 20))


def main() -> None:
    """All parts, as JSON on the terminal and in results/."""
    torch.set_num_threads(1)
    model, layout = built("sharp-10", sharpness=10)
    sharper, _ = built("sharp-30", sharpness=30)
    drawn = {k: [draw_repetition(Random(f"{k} {i}"), k) for i in range(N)] for k in KINDS}
    results: dict[str, Any] = {
        "behaviour": {k: behaviour(model, pairs) for k, pairs in drawn.items()},
        "previous word, AUROC over words": {
            p: probes(model, p) for p in ("hook_embed", "blocks.0.hook_resid_pre", BLOCK_0)},
        "interchange, share of answers moved": {
            k: swaps(model, layout, drawn[k]) for k in ("value", "query")},
        "attribution": {k: attribution(model, pairs) for k, pairs in drawn.items()},
        "attribution, sharpness 30": {
            k: attribution(sharper, pairs, more=(("path", 100),)) for k, pairs in drawn.items()},
        "within": within(model, layout, drawn),
        "alignment at the last token": {
            f"{point}, rank {rank}": alignment(model, layout, drawn, point, rank)
            for point in (BLOCK_1, BLOCK_0) for rank in (1, 8, 15)},
    }
    (HERE / "results").mkdir(exist_ok=True)
    text = json.dumps(results, indent=1) + "\n"
    (HERE / "results/results.json").write_text(text, encoding="utf-8")
    print(text)


def built(name: str, *, sharpness: float) -> tuple[vl.HookedModel, Layout]:
    """The model, made anew."""
    shutil.rmtree(WORK / name, ignore_errors=True)
    layout = build_induction(WORK / name, sharpness=sharpness)
    return vl.load_model(str(WORK / name)), layout


def ids_of(model: vl.HookedModel, words: Sequence[str]) -> list[int]:
    """Token ids of words."""
    ids: dict[str, int] = model.tokenizer.get_vocab()
    return [ids[w] for w in words]


def behaviour(model: vl.HookedModel, pairs: list[Repetition]) -> dict[str, Any]:
    """Share of bases and of sources answered as induction does."""
    point = BLOCK_1  # everything there taken from the source: its own answer
    found = vl.interchange(model, [p.base for p in pairs], [p.source for p in pairs], point)
    own = torch.tensor(ids_of(model, [p.answers[1] for p in pairs]))
    return {
        "base": shown(stats.share(int((found.before == own).sum()), len(own))),
        "source": shown(found.accuracy(ids_of(model, [p.answers[0] for p in pairs]))),
    }


def probes(model: vl.HookedModel, point: str) -> dict[str, Any]:
    """Is the word before the last one this word? One probe a word, split by the last word."""
    found = []
    for word in WORDS:
        rng, others = Random(word), [w for w in WORDS if w != word]
        examples = []
        for i in range(240):
            last = others[i // 2 % len(others)]
            rest = [w for w in others if w != last]
            before = rng.choice(rest) if i % 2 else word
            text = vl.Text(raw=" ".join([*rng.sample(rest, 3), before, last]))
            examples.append(Example(f"{word}-{i}", text, 1 - i % 2, last, f"{i // 2}"))
        acts = vl.harvest(model, examples, points=[point], positions="last")
        found.append(sweep(examples_of(acts), methods=["logistic"], n_permutations=100,
                           n_bootstrap=200).test)
    values = [f.value for f in found]
    return {"lowest": min(values), "mean": float(np.mean(values)), "highest": max(values),
            "highest null": max(f.null or 0 for f in found), "n": found[0].n,
            "above their null": sum(f.value > (f.null or 0) for f in found), "words": len(found)}


def swaps(model: vl.HookedModel, layout: Layout, pairs: list[Repetition]) -> dict[str, Any]:
    """The known columns at the known place, and everything that should not do."""
    base, source = [p.base for p in pairs], [p.source for p in pairs]
    expected = ids_of(model, [p.answers[0] for p in pairs])
    (token,) = (t for block, t in pairs[0].cells if block == 0)
    known, columns = 8 + token, layout.subspace("token")

    def moved(point: str, space: torch.Tensor | None, at: int) -> Estimate:
        places = [at] * len(pairs)
        return vl.interchange(model, base, source, point, space, base_at=places,
                              source_at=places).moved(expected)

    generator = torch.Generator().manual_seed(0)
    random = [moved(BLOCK_0, torch.randn(columns.shape, generator=generator), known)
              for _ in range(20)]
    n = len(pairs)
    return {
        "token columns, known token, block 0": shown(moved(BLOCK_0, columns, known)),
        "20 random subspaces of equal rank there": shown(
            stats.share(sum(round(r.value * n) for r in random), 20 * n)),
        "columns of the previous word there": shown(
            moved(BLOCK_0, layout.subspace("previous"), known)),
        "token columns at every other token, the highest": shown(max(
            (moved(BLOCK_0, columns, at) for at in range(8) if at != known),
            key=lambda e: e.value)),
        "token columns, known token, a block later": shown(moved(BLOCK_1, columns, known)),
        "everything, known token, a block later": shown(moved(BLOCK_1, None, known)),
        "output columns, last token, block 1": shown(moved(BLOCK_1, layout.subspace("output"), 7)),
    }


def attribution(
    model: vl.HookedModel, pairs: list[Repetition], *, more: tuple[tuple[str, int], ...] = ()
) -> dict[str, Any]:
    """Cells named, measured and estimated, and the largest error of the estimate."""
    base, source, same = ([getattr(p, w) for p in pairs] for w in ("base", "source", "same"))
    answers = [p.answers for p in pairs]
    known = pairs[0].cells
    measured = exact(model, base, source, answers, null_source=same)
    out = {"known": sorted(known), "measured": cells(measured, known)}
    for method, n_steps in (*ESTIMATES, *more):
        found = vl.attribute(model, base, source, answers, null_source=same, method=method,
                             n_steps=n_steps)
        error = float((found.shares() - measured.shares()).abs().max())
        out[f"{method}, {n_steps} steps"] = cells(found, known) | {"largest error": round(error, 3)}
    return out


def cells(found: Attribution, known: frozenset[tuple[int, int]]) -> dict[str, Any]:
    """Shares of the known cells, the largest elsewhere, and those named above one quarter."""
    shares = found.shares()
    named = sorted((int(c.point.split(".")[1]), c.token) for c in found.named(0.25))
    elsewhere = shares.clone()
    for block, token in known:
        elsewhere[block, token] = 0
    at_known = {f"block {b}, token {t}": round(float(shares[b, t]), 3) for b, t in sorted(known)}
    return {
        "shares": at_known,
        "largest elsewhere": round(float(elsewhere.abs().max()), 6),
        "largest null": round(found.largest_null() or 0, 6),
        "named": named, "as known": named == sorted(known), "n": len(found.groups),
    }


def within(
    model: vl.HookedModel, layout: Layout, drawn: dict[str, list[Repetition]]
) -> dict[str, Any]:
    """Share of the effect at a known cell in the columns that carry it."""
    out = {}
    for kind, point, token, columns in (
        ("value", BLOCK_0, -6, "token"), ("query", BLOCK_0, -1, "token"),
        ("key", BLOCK_0, -6, "previous"), ("key", BLOCK_0, -6, "token"),
        ("value", BLOCK_1, -1, "output"),
    ):
        pairs = drawn[kind]
        there = read_gradients(
            model, [p.base for p in pairs], [p.source for p in pairs], [p.answers for p in pairs],
            point=point, token=token)
        out[f"{kind}: {columns} columns at {point}, token {token}"] = shown(
            there.within(layout.subspace(columns)))
    return out


def alignment(
    model: vl.HookedModel, layout: Layout, drawn: dict[str, list[Repetition]], point: str, rank: int
) -> dict[str, Any]:
    """A fitted subspace, both nulls, and how much of it lies in the known columns."""
    pairs = [p for k in ("value", "query") for p in drawn[k]]
    found = vl.fit_alignment(
        model,
        vl.SwapPairs(
            tuple(p.base for p in pairs), tuple(p.source for p in pairs),
            tuple(ids_of(model, [p.answers[0] for p in pairs])),
            groups=tuple((p.base.raw or "").split()[-1] for p in pairs)),
        point, rank=rank, steps=100)
    known = layout.subspace("output" if point == BLOCK_1 else "token")
    return {
        "accuracy": shown(found.accuracy), "random subspaces": found.random_subspace.value,
        "random weights": found.random_weights.value,
        "share of it in the known columns": round(
            float((known.T @ found.subspace).square().sum()) / rank, 3),
        "expected of a random subspace": round(known.shape[1] / layout.d_model, 3),
    }


def shown(e: Estimate) -> dict[str, float | int | None]:
    """An estimate, rounded."""
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in e.to_json().items()}


if __name__ == "__main__":
    main()
