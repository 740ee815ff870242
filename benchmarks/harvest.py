"""Harvesting the last token of ragged texts, side by side with plain transformers.

    python benchmarks/harvest.py [--quick] [--json] [--rounds 5]

A 12-layer Llama shape (d_model 768, random weights, fp32) and 128 texts of 8 to 256 tokens, most of
them short. Everybody starts from the same strings, so tokenising is counted. Plain transformers
takes texts in the order of arrival, 16 at a time, padded, with `output_hidden_states=True`: once
as the causal language model, once as the base model without its head. virtuelens sorts, stops after
the last layer read, and checks every row for NaN. Rows must agree before anything is measured.
Rounds are interleaved in a changing order; times are medians, ratios are medians of ratios within
rounds, with the smallest and largest.
"""

import argparse
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import transformers

from tests.tiny_models import tiny_tokenizer
from virtuelens.activations.harvest import harvest
from virtuelens.models import HookedModel, hook
from virtuelens.values.texts import Text

LAYER = 6
POINT = f"blocks.{LAYER}.hook_resid_post"
PLAIN = "transformers, causal LM, all hidden states"
ROWS = 16
WORDS = ("once", "upon", "time", "there", "small", "bird", "river", "user", "assistant", "false")


def main() -> None:
    """Run all contestants and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="d_model 256, 48 texts, 3 rounds")
    parser.add_argument("--json", action="store_true", help="print one JSON line instead")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    d_model, n_texts = (256, 48) if args.quick else (768, 128)
    rounds = min(args.rounds, 3) if args.quick else args.rounds
    model = llama_shape(d_model)
    texts = ragged_texts(n_texts)
    lengths = [len(model.encode(Text(raw=t)).ids) for t in texts]
    jobs = contestants(model, texts)
    agree(jobs)
    result = {
        "machine": f"{cpu()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}, "
        f"transformers {transformers.__version__}",
        "task": f"12 layers x {d_model}, fp32, layer {LAYER}, last token of {n_texts} texts of "
        f"{min(lengths)} to {max(lengths)} tokens ({sum(lengths)} in all)",
        "rows": race(sum(lengths), jobs, rounds),
    }
    if args.json:
        print(json.dumps(result))
        return
    print(result["machine"], result["task"], sep="\n")
    print(f"\n{'':<48}{'tok/s':>8}{'times plain':>13}{'smallest':>10}{'largest':>9}")
    for name, row in result["rows"].items():
        ratios = f"{row['ratio']:>13.2f}{row['smallest']:>10.2f}{row['largest']:>9.2f}"
        print(f"{name:<48}{row['tokens_per_second']:>8}{ratios}")


def cpu() -> str:
    """The processor's name, as far as the platform tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def llama_shape(d_model: int) -> HookedModel:
    """A 12-layer Llama with random weights and a vocabulary of usual size."""
    config = transformers.LlamaConfig(
        vocab_size=32_000, hidden_size=d_model, intermediate_size=d_model * 8 // 3,
        num_hidden_layers=12, num_attention_heads=d_model // 64,
        num_key_value_heads=d_model // 64, max_position_embeddings=512,
        bos_token_id=0, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    hf = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return hook(hf, tiny_tokenizer(), name=f"llama shape 12 x {d_model}")


def ragged_texts(n: int) -> list[str]:
    """Texts of about 15 to 320 tokens, most of them short, in no order."""
    rng = random.Random(0)
    sizes = [6 + int(120 * rng.random() ** 2) for _ in range(n)]
    return [" ".join(rng.choice(WORDS) for _ in range(size)) for size in sizes]


def contestants(model: HookedModel, texts: list[str]) -> dict[str, Callable[[], torch.Tensor]]:
    """Everybody's way from strings to one row per text."""
    tokenizer = model.tokenizer
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    given = [Text(raw=t) for t in texts]

    @torch.no_grad()
    def plain(body: Any) -> torch.Tensor:
        rows = []
        for start in range(0, len(texts), ROWS):
            batch = tokenizer(texts[start : start + ROWS], padding=True, return_tensors="pt")
            out = body(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"],
                output_hidden_states=True, use_cache=False,
            )  # fmt: skip
            last = batch["attention_mask"].sum(1) - 1
            rows.append(out.hidden_states[LAYER + 1][torch.arange(len(last)), last])
        return torch.cat(rows)

    def streamed() -> torch.Tensor:
        with tempfile.TemporaryDirectory() as folder:
            return harvest(model, given, points=POINT, out=Path(folder) / "store").point(POINT)

    return {
        "virtuelens harvest": lambda: harvest(model, given, points=POINT).point(POINT),
        "virtuelens harvest, into a store": streamed,
        "virtuelens harvest, every layer": lambda: harvest(
            model, given, points="resid_post"
        ).point(POINT),
        PLAIN: lambda: plain(model.hf),
        "transformers, base model, all hidden states": lambda: plain(model.hf.model),
    }


def agree(jobs: dict[str, Callable[[], torch.Tensor]]) -> None:
    """All contestants give the same rows (this also warms them up)."""
    expected = jobs[PLAIN]()
    for name, job in jobs.items():
        torch.testing.assert_close(job(), expected, atol=1e-4, rtol=1e-4, msg=name)


def race(n_tokens: int, jobs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    """Tokens per second of each job, and how many times as fast as the plain one it is."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    order = list(jobs)
    for number in range(rounds):
        random.Random(number).shuffle(order)
        for name in order:
            start = time.perf_counter()
            jobs[name]()
            seconds[name].append(time.perf_counter() - start)
    rows = {}
    for name, taken in seconds.items():
        ratios = [p / t for p, t in zip(seconds[PLAIN], taken, strict=True)]
        rows[name] = {
            "tokens_per_second": round(n_tokens / statistics.median(taken)),
            "ratio": round(statistics.median(ratios), 2),
            "smallest": round(min(ratios), 2), "largest": round(max(ratios), 2), "rounds": rounds,
        }  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
