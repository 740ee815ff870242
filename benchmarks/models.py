"""Reading one layer and generating, side by side with peers: tokens per second.

    python benchmarks/models.py [--json] [--rounds 5]

A 12-layer Llama shape (d_model 256, random weights, fp32), ragged prompts in the same sorted,
right-padded batches for everybody, activations of layer 6 only. Rounds are interleaved (every
contestant once per round, in an order that changes), so that a busy machine slows all alike; the
median is reported with the slowest and fastest round. `--json` prints one line for the log.
"""

import argparse
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import transformers

from tests.tiny_models import tiny_tokenizer
from virtuelens.models import Batch, Encoded, HookedModel, Seen, hook
from virtuelens.models.run import pad
from virtuelens.values.texts import Text

LAYER = 6
POINT = f"blocks.{LAYER}.hook_resid_post"
N_PROMPTS, ROWS = 64, 16
N_NEW = 32


@dataclass(frozen=True)
class AddVector:
    """One edit, to see what steering costs."""

    point: str
    vector: torch.Tensor

    def __call__(self, acts: torch.Tensor, seen: Seen) -> torch.Tensor:
        """The activations with the vector added at every token."""
        return acts + seen.real[..., None] * self.vector


def main() -> None:
    """Run all contestants and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON line instead")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    model = llama_shape()
    batches = ragged_batches()
    n_read = sum(int(b.real.sum()) for b in batches)
    prompts = [Text(raw="Once upon a time there was a small bird. " * 3)] * 4
    tables = {
        "read layer 6": (n_read, readers(model, batches)),
        "generate": (len(prompts) * N_NEW, generators(model, prompts)),
    }
    result = {
        "machine": f"{cpu()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}, "
        f"transformers {transformers.__version__}",
        **{task: race(n, jobs, args.rounds) for task, (n, jobs) in tables.items()},
    }
    if args.json:
        print(json.dumps(result))
        return
    print(result.pop("machine"))
    for task, rows in result.items():
        print(f"\n{task:<44}{'tok/s':>8}{'slowest':>9}{'fastest':>9}")
        for name, row in rows.items():
            print(f"  {name:<42}{row['median']:>8}{row['slowest']:>9}{row['fastest']:>9}")


def cpu() -> str:
    """The processor's name, as far as the platform tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def llama_shape() -> HookedModel:
    """A 12-layer Llama with random weights and a small vocabulary's worth of real sizes."""
    config = transformers.LlamaConfig(
        vocab_size=32_000, hidden_size=256, intermediate_size=688, num_hidden_layers=12,
        num_attention_heads=8, num_key_value_heads=4, max_position_embeddings=512,
        bos_token_id=0, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    hf = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return hook(hf, tiny_tokenizer(), name="llama shape 12 x 256")


def ragged_batches() -> list[Batch]:
    """Prompts of 8 to 96 tokens, sorted by length, in padded batches."""
    rng = random.Random(0)
    rows = []
    for _ in range(N_PROMPTS):
        ids = tuple(rng.randrange(2, 32_000) for _ in range(rng.randint(8, 96)))
        rows.append(Encoded(ids, len(ids), ()))
    rows.sort(key=lambda e: len(e.ids))
    cpu = torch.device("cpu")
    return [pad(rows[i : i + ROWS], side="right", device=cpu) for i in range(0, len(rows), ROWS)]


def readers(model: HookedModel, batches: list[Batch]) -> dict[str, Callable[[], Any]]:
    """Everybody's way to the activations of one layer."""
    bridge, view = model.bridge, model.nnsight
    import nnsight

    @torch.no_grad()
    def nnsight_trace(batch: Batch, *, stop: bool) -> Any:
        inputs = {"input_ids": batch.tokens, "attention_mask": batch.real.long()}
        with view.trace(**inputs) as tracer:
            found = nnsight.save(view.model.layers[LAYER].output)
            if stop:
                tracer.stop()
        return found

    @torch.no_grad()
    def bridge_cache(batch: Batch, **how: Any) -> Any:
        _, cache = bridge.run_with_cache(
            batch.tokens, attention_mask=batch.real.long(), names_filter=POINT, **how
        )
        return cache[POINT]

    @torch.no_grad()
    def hidden_states(batch: Batch) -> Any:
        out = model.hf(
            batch.tokens, attention_mask=batch.real.long(), output_hidden_states=True,
            use_cache=False,
        )  # fmt: skip
        return out.hidden_states[LAYER + 1]

    ways: dict[str, Callable[[Batch], Any]] = {
        "virtuelens run": lambda b: model.run(b, read=[POINT]).acts[POINT],
        "TransformerBridge run_with_cache": bridge_cache,
        "TransformerBridge, stop_at_layer": lambda b: bridge_cache(b, stop_at_layer=LAYER + 1),
        "nnsight trace": lambda b: nnsight_trace(b, stop=False),
        "nnsight trace, stop": lambda b: nnsight_trace(b, stop=True),
        "transformers, all hidden states": hidden_states,
    }
    expected = ways["virtuelens run"](batches[-1])[batches[-1].real]
    for name, way in ways.items():
        found = way(batches[-1])
        found = found[0] if isinstance(found, tuple) else found
        found = found[batches[-1].real]
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4, msg=name)
    return {name: lambda way=way: [way(b) for b in batches] for name, way in ways.items()}


def generators(model: HookedModel, prompts: list[Text]) -> dict[str, Callable[[], Any]]:
    """Everybody's greedy generation, bare and under one hook."""
    ids = torch.tensor([model.encode(p).ids for p in prompts])
    vector = 0.1 * torch.linspace(-1, 1, model.info.d_model)
    edit = AddVector(POINT, vector)

    def transformers_generate() -> Any:
        return model.hf.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=N_NEW, do_sample=False
        )

    def hooked_generate() -> Any:
        layer = model.hf.model.layers[LAYER]
        handle = layer.register_forward_hook(lambda _, __, out: out + vector)
        try:
            return transformers_generate()
        finally:
            handle.remove()

    return {
        "virtuelens generate": lambda: model.generate(prompts, max_new_tokens=N_NEW),
        "virtuelens generate, one edit": lambda: model.generate(
            prompts, max_new_tokens=N_NEW, edits=[edit]
        ),
        "transformers generate": transformers_generate,
        "transformers generate, one forward hook": hooked_generate,
    }


def race(n_tokens: int, jobs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    """Tokens per second of each job: median, slowest and fastest of interleaved rounds."""
    speeds: dict[str, list[float]] = {name: [] for name in jobs}
    order = list(jobs)
    for round_number in range(rounds + 1):
        random.Random(round_number).shuffle(order)
        for name in order:
            start = time.perf_counter()
            jobs[name]()
            if round_number:  # the first round warms up
                speeds[name].append(n_tokens / (time.perf_counter() - start))
    return {
        name: {"median": round(statistics.median(s)), "slowest": round(min(s)),
               "fastest": round(max(s)), "rounds": rounds}
        for name, s in speeds.items()
    }  # fmt: skip


if __name__ == "__main__":
    main()
