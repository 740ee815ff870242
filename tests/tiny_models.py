"""Tiny random-weight directories of many architectures, made on the spot: no network, no files."""

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers import models as tokenizer_models

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_WORDS = (
    "Once upon a time there was a small bird that liked to sing in the old tree by the river. "
    "The user asks, the assistant answers: yes or no, true or false, good or bad, never both."
)
_SPECIALS = ["<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
_SHAPE = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 96,
}  # fmt: skip
_GROUPED = {**_SHAPE, "num_key_value_heads": 2, "head_dim": 8}

ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 96}),
    "llama": ("LlamaConfig", {**_GROUPED, "tie_word_embeddings": True}),
    "qwen2": ("Qwen2Config", {**_SHAPE, "num_key_value_heads": 2}),
    "qwen3": ("Qwen3Config", _GROUPED),
    "gemma2": (
        "Gemma2Config",
        {**_GROUPED, "sliding_window": 8, "query_pre_attn_scalar": 8,
         "attn_logit_softcapping": 2.0},
    ),
    "gemma3": (
        "Gemma3TextConfig",
        {**_GROUPED, "sliding_window": 8, "query_pre_attn_scalar": 8,
         "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    ),
    "mistral": ("MistralConfig", {**_GROUPED, "sliding_window": 8}),
    "gpt_neox": ("GPTNeoXConfig", _SHAPE),
    "phi": ("PhiConfig", {**_SHAPE, "partial_rotary_factor": 0.5}),
}  # fmt: skip
PARALLEL = frozenset({"gpt_neox", "phi"})
"""Architectures whose attention and MLP run side by side: they have no `resid_mid`."""


def tiny_tokenizer(*, bos: bool = True, chat: bool = True) -> Any:
    """A byte-level BPE tokenizer with a few merges and no pad token.

    bos: put `<s>` before any text, as Llama's does.
    """
    raw = Tokenizer(tokenizer_models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=_SPECIALS, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    raw.train_from_iterator([_WORDS], trainer)
    if bos:
        raw.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", raw.token_to_id("<s>"))]
        )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>"
    )
    tokenizer.chat_template = CHAT_TEMPLATE if chat else None
    return tokenizer


def tiny_model(architecture: str, *, seed: int = 0, d_vocab: int = 320) -> Any:
    """A model of that architecture with random weights, norms and biases included."""
    config_class, fields = ARCHITECTURES[architecture]
    config = getattr(transformers, config_class)(
        vocab_size=d_vocab, bos_token_id=0, eos_token_id=1, pad_token_id=None, **fields
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        # initialisers leave norms at 1 and biases at 0, which would hide a wrong place
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=noise))
    return model.eval()


def save_tiny(folder: Path, architecture: str, *, seed: int = 0, **save: Any) -> Path:
    """The directory of such a model with its tokenizer, as `save_pretrained` writes it."""
    tiny_model(architecture, seed=seed).save_pretrained(folder, **save)
    tiny_tokenizer().save_pretrained(folder)
    return folder
