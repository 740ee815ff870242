"""The models and texts that harvesting is measured on: random weights, one token a word."""

import random
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers

from virtuelens.models import HookedModel, hook
from virtuelens.models.fresh import word_tokenizer

WORDS = tuple(f"w{i}" for i in range(400))
SHAPES: dict[str, dict[str, int]] = {
    "llama": {"d_model": 768, "n_layers": 12, "d_mlp": 2048, "n_heads": 12, "n_kv": 12},
    "gpt2": {"d_model": 768, "n_layers": 12, "d_mlp": 3072, "n_heads": 12, "n_kv": 12},
    "llama-1b": {"d_model": 2048, "n_layers": 16, "d_mlp": 8192, "n_heads": 32, "n_kv": 8},
}
"""12 layers of 768, and the shape of Llama 3.2 1B for a GPU."""


def make_model(shape: str, *, dtype: torch.dtype, device: str = "cpu") -> HookedModel:
    """A model of that shape with random weights; a vocabulary of 50,257."""
    s = SHAPES[shape]
    torch.manual_seed(0)
    if shape == "gpt2":
        config: Any = transformers.GPT2Config(
            vocab_size=50_257, n_embd=s["d_model"], n_layer=s["n_layers"], n_head=s["n_heads"],
            n_positions=1024, bos_token_id=0, eos_token_id=1, pad_token_id=0)
    else:
        config = transformers.LlamaConfig(
            vocab_size=50_257, hidden_size=s["d_model"], intermediate_size=s["d_mlp"],
            num_hidden_layers=s["n_layers"], num_attention_heads=s["n_heads"],
            num_key_value_heads=s["n_kv"], max_position_embeddings=1024, bos_token_id=0,
            eos_token_id=1, pad_token_id=0)
    with torch.device(device):
        hf = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
    return hook(hf, word_tokenizer(WORDS), name=f"{shape} shape, random weights")


def ragged(n: int, *, seed: int = 0) -> list[str]:
    """Workload A: texts of 8 to 200 tokens, lognormal around 45, in no order."""
    rng = np.random.default_rng(seed)
    sizes = np.clip(np.round(rng.lognormal(np.log(45), 0.8, n)), 8, 200).astype(int)
    say = random.Random(seed)
    return [_say(say, size) for size in sizes]


def sharing(n: int, *, seed: int = 1) -> list[str]:
    """Workload B: texts of the same lengths that share 60 to 90 % of their beginning.

    Half of them are contrast pairs; the others are chats, eight to a system prompt.
    """
    rng, say = np.random.default_rng(seed), random.Random(seed)
    texts: list[str] = []
    while len(texts) < n:
        family = 2 if len(texts) < n // 2 else 8
        size = int(np.clip(round(rng.lognormal(np.log(45), 0.8)), 8, 200))
        shared = round(size * rng.uniform(0.6, 0.9))
        head = _say(say, shared)
        texts += [f"{head} {_say(say, size - shared)}" for _ in range(family)]
    texts = texts[:n]
    say.shuffle(texts)
    return texts


def about(texts: Sequence[str]) -> str:
    """How many texts, of how many tokens."""
    sizes = [len(t.split()) for t in texts]
    return (f"{len(texts)} texts of {min(sizes)} to {max(sizes)} tokens (median "
            f"{statistics.median(sizes):.0f}), {sum(sizes)} in all")


def _say(rng: random.Random, n: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(n))
