"""A tiny Llama trained for seconds on a small cyclic language, and SAEs made on the spot."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from virtuelens.models import HookedModel, hook
from virtuelens.values.texts import Text

WORDS = [f"w{i}" for i in range(20)]
POINT = "blocks.0.hook_resid_post"


def cyclic_texts(n: int, *, seed: int, length: int = 12) -> list[Text]:
    """Word i is followed by word i+1 or i+2: predictable, but not from the position."""
    g = torch.Generator().manual_seed(seed)
    starts = torch.randint(len(WORDS), (n, 1), generator=g)
    walks = (starts + torch.randint(1, 3, (n, length), generator=g).cumsum(-1)) % len(WORDS)
    lengths = torch.randint(4, length + 1, (n,), generator=g)
    return [
        Text(raw=" ".join(WORDS[i] for i in walk[:k]))
        for walk, k in zip(walks.tolist(), lengths.tolist(), strict=True)
    ]


@pytest.fixture(scope="session")
def tiny() -> HookedModel:
    """Two layers, d_model 32, trained until it predicts much better than chance."""
    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["<unk>", *WORDS])}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        hf = LlamaForCausalLM(LlamaConfig(
            vocab_size=len(WORDS) + 1, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=32,
            bos_token_id=None, eos_token_id=None,
        ))
    rows = [text.raw for text in cyclic_texts(600, seed=1, length=12) if text.raw]
    full = [tokenizer(r)["input_ids"] for r in rows]
    tokens = torch.tensor([ids for ids in full if len(ids) == 12])
    optimizer = torch.optim.Adam(hf.parameters(), lr=1e-2)
    for _ in range(60):
        loss = hf(input_ids=tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss < 1.3  # chance is log 21 = 3.0, the language's own entropy is log 2
    return hook(hf, tokenizer, name="tiny")


def save_sae(
    folder: Path, architecture: str, *, d_in: int = 32, d_sae: int = 48, **settings
) -> Path:
    """An untrained SAE of that architecture, with every parameter random, as SAELens saves it."""
    from sae_lens import SAE, TrainingSAE

    trained = architecture in {"batchtopk", "matryoshka_batchtopk"}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sae = (TrainingSAE if trained else SAE).from_dict({
            "architecture": architecture, "d_in": d_in, "d_sae": d_sae,
            "metadata": {"hook_name": POINT, **settings.pop("metadata", {})}, **settings,
        })
        for parameter in sae.parameters():
            parameter.data = torch.randn_like(parameter) * 0.3
    if trained:
        sae.topk_threshold.fill_(0.2)
    sae.save_model(folder)
    return folder


def identity_sae(folder: Path, *, d_in: int = 32, **metadata) -> Path:
    """An SAE that reconstructs exactly: features are the positive and negative coordinates."""
    from sae_lens import SAE

    sae = SAE.from_dict({
        "architecture": "standard", "d_in": d_in, "d_sae": 2 * d_in,
        "metadata": {"hook_name": POINT, **metadata},
    })
    eye = torch.eye(d_in)
    sae.W_enc.data = torch.cat([eye, -eye], dim=1)
    sae.W_dec.data = torch.cat([eye, -eye])
    sae.save_model(folder)
    return folder
