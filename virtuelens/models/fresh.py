"""New small models with a word tokenizer: what organisms are made of."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from virtuelens.models.load import quiet

CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} {% if m['role'] == 'assistant' %}"
    "{{ eos_token }} {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}assistant :{% endif %}"
)
PAD, END, UNKNOWN = "<pad>", "<end>", "<unknown>"


def word_tokenizer(words: Sequence[str]) -> Any:
    """A fast tokenizer: one token a word, split at spaces, `user :` and `assistant :` roles."""
    vocabulary = {w: i for i, w in enumerate([PAD, END, UNKNOWN, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, unk_token=UNKNOWN
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def fresh_llama(
    *, d_vocab: int, d_model: int, n_layers: int, n_heads: int, d_mlp: int, n_ctx: int, seed: int
) -> Any:
    """A Llama with random weights, drawn from `seed` (the global generator is left as it was)."""
    config = transformers.LlamaConfig(
        vocab_size=d_vocab, hidden_size=d_model, num_hidden_layers=n_layers,
        num_attention_heads=n_heads, num_key_value_heads=n_heads, intermediate_size=d_mlp,
        max_position_embeddings=n_ctx, tie_word_embeddings=True, pad_token_id=0, eos_token_id=1,
        bos_token_id=None, initializer_range=0.05,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed GPUs too
        return transformers.LlamaForCausalLM(config).float()


def save_model(hf: Any, tokenizer: Any, folder: Path, about: Mapping[str, Any]) -> None:
    """An ordinary Hugging Face directory; `about` goes into config.json under "virtuelens"."""
    hf.config.virtuelens = dict(about)
    with quiet():
        hf.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
