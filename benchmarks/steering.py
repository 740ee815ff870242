"""Steered generation beside others: what an edit costs, in tokens per second.

    python benchmarks/steering.py [--quick] [--json] [--out FILE]

A 12-layer Llama shape (d_model 256, random weights, fp32), four prompts, greedy, through the cache.
Everybody adds the same vector to the residual stream after layer 6 at every token; one more of ours
clamps a feature of an SAE with 16,384 features. Before the race, all additions must give the same
tokens. Rounds are interleaved in an order that changes; ratios are medians over rounds of times
within the round. With `--json` the last line is one object:

    overhead_add, overhead_sae          our time over plain transformers' `generate`, minus 1
    overhead_monitor    our time with a monitor that scores every token of every row, over without
    ratio_transformer_lens, ratio_nnsight   our steered tokens per second over theirs
"""

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import transformers

from benchmarks.models import cpu, llama_shape
from virtuelens.models import HookedModel
from virtuelens.probing.monitor import Monitor, watch
from virtuelens.probing.probes import Probe
from virtuelens.sparse_coding.sae import Sae, features_encoder
from virtuelens.steering.edits import Add
from virtuelens.steering.feature_edits import ClampFeatures
from virtuelens.values.directions import Direction, unit
from virtuelens.values.texts import Text

LAYER = 6
POINT = f"blocks.{LAYER}.hook_resid_post"
D_SAE = 16_384
PROMPTS = [Text(raw="Once upon a time there was a small bird. " * 3)] * 4
PLAIN, ADD, SAE = "transformers generate, plain", "virtuelens, add", "virtuelens, SAE clamp"
OURS, WATCH = "virtuelens, plain", "virtuelens, monitored"
BRIDGE, NNSIGHT = "TransformerBridge, add", "nnsight, add"


def main() -> None:
    """Run all contestants and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON line at the end")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and tokens")
    parser.add_argument("--out", type=Path, help="write the result there too")
    args = parser.parse_args()
    n_new, rounds = (24, 7) if args.quick else (64, 21)
    model = llama_shape()
    times = race(contestants(model, n_new), rounds)
    result = {
        "machine": f"{cpu()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}, "
        f"transformers {transformers.__version__}",
        "overhead_add": ratio(times, ADD, PLAIN) - 1,
        "overhead_sae": ratio(times, SAE, PLAIN) - 1,
        "overhead_monitor": ratio(times, WATCH, OURS) - 1,
        "ratio_transformer_lens": ratio(times, BRIDGE, ADD),
        "ratio_nnsight": ratio(times, NNSIGHT, ADD),
        "tokens_per_second": {
            name: round(len(PROMPTS) * n_new / statistics.median(t)) for name, t in times.items()
        },
        "rounds": rounds, "new_tokens": n_new, "rows": len(PROMPTS), "d_sae": D_SAE,
    }
    result = {k: round(v, 4) if isinstance(v, float) else v for k, v in result.items()}
    for name, speed in result["tokens_per_second"].items():
        print(f"{name:<40}{speed:>8} tok/s", file=sys.stderr if args.json else sys.stdout)
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    if args.json:
        print(json.dumps(result))


def contestants(model: HookedModel, n_new: int) -> dict[str, Callable[[], Any]]:
    """Everybody's greedy generation under the same addition, and what it is measured against."""
    ids = torch.tensor([model.encode(p).ids for p in PROMPTS])
    mask = torch.ones_like(ids)
    vector = 0.1 * torch.linspace(-1, 1, model.info.d_model)
    add, clamp = Add(POINT, vector), sae_clamp(model)
    bridge, view = model.bridge, model.nnsight
    import nnsight

    def plain() -> torch.Tensor:
        return model.hf.generate(ids, attention_mask=mask, max_new_tokens=n_new, do_sample=False)

    def ours(edit: Any) -> torch.Tensor:
        found = model.generate(PROMPTS, max_new_tokens=n_new, edits=[edit])
        return torch.tensor([[*g.prompt_ids, *g.ids] for g in found])

    @torch.no_grad()
    def by_bridge() -> torch.Tensor:
        with bridge.hooks(fwd_hooks=[(POINT, lambda acts, hook: acts + vector)]):
            return bridge.generate(
                ids, max_new_tokens=n_new, do_sample=False, use_past_kv_cache=True,
                stop_at_eos=False, verbose=False, return_type="tokens",
            )  # fmt: skip

    @torch.no_grad()
    def by_nnsight() -> torch.Tensor:
        inputs = {"input_ids": ids, "attention_mask": mask}
        with view.generate(inputs, max_new_tokens=n_new, do_sample=False) as tracer:
            for _ in tracer.iter[0:n_new]:
                view.model.layers[LAYER].output = view.model.layers[LAYER].output + vector
            found = nnsight.save(tracer.result)  # there after the block only
        return found  # noqa: RET504

    direction = Direction(unit(vector), 1.0, 0.0, POINT, "last", "made", "by hand",
                          model.info.fingerprint)
    monitor = Monitor(Probe(direction, 0.0, 2), high=2.0, low=1.0, window=4)
    jobs = {PLAIN: plain, ADD: lambda: ours(add), SAE: lambda: ours(clamp),
            OURS: lambda: model.generate(PROMPTS, max_new_tokens=n_new),
            WATCH: lambda: watch(model, monitor, PROMPTS, max_new_tokens=n_new),
            BRIDGE: by_bridge, NNSIGHT: by_nnsight}
    expected = jobs[ADD]()
    assert not torch.equal(expected, plain()), "the vector is too small to show"
    for name in (BRIDGE, NNSIGHT):
        found = jobs[name]()
        assert torch.equal(found, expected), f"{name} does not say what we say"
    return jobs


def sae_clamp(model: HookedModel) -> ClampFeatures:
    """One feature of a standard SAE with random weights, clamped."""
    from sae_lens import StandardSAE, StandardSAEConfig

    torch.manual_seed(0)
    module = StandardSAE(StandardSAEConfig(d_in=model.info.d_model, d_sae=D_SAE))
    module.eval().requires_grad_(False)
    module.W_enc.normal_(0, 0.1)
    sae = Sae("random", POINT, model.info.d_model, D_SAE, "standard", None, module)
    return ClampFeatures(POINT, features_encoder(sae, [123]), sae.W_dec[[123]].clone(),
                         torch.tensor([2.0]))


def race(jobs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every job in every round; the first round warms up and is not kept."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    order = list(jobs)
    for number in range(rounds + 1):
        random.Random(number).shuffle(order)
        for name in order:
            start = time.perf_counter()
            jobs[name]()
            if number:
                times[name].append(time.perf_counter() - start)
    return times


def ratio(times: dict[str, list[float]], above: str, below: str) -> float:
    """Median over rounds of one job's time over another's in the same round."""
    return statistics.median(a / b for a, b in zip(times[above], times[below], strict=True))


if __name__ == "__main__":
    main()
