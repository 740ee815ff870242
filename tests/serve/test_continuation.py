"""Token by token gives what generation in one go gives."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models

from tests.steering.conftest import PROMPTS, direction
from virtuelens.models import HookedModel
from virtuelens.models.chat import Encoded
from virtuelens.models.generate import Sampling
from virtuelens.serve.continuation import Continuation
from virtuelens.steering.edits import add


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3", "gemma3", "gpt_neox"])
@pytest.mark.parametrize("where", ["all", "last_prompt", "response"])
def test_greedy_is_that_of_generate(
    tiny: Callable[[str], HookedModel], architecture: str, where: str
) -> None:
    """Tokens and text, under an edit, whatever tokens it touches."""
    model = tiny(architecture)
    edits = [add(direction(model), strength=4, where=where)]
    for prompt in PROMPTS[:2]:
        (expected,) = model.generate([prompt], max_new_tokens=12, edits=edits)
        growing = Continuation(model, model.encode(prompt), Sampling(12), edits)
        text = ""
        while growing.finish is None:
            text += growing.step()
        assert tuple(growing.ids) == expected.ids
        assert text == expected.text


def scripted(tokenizer: Any, ids: list[int]) -> Any:
    """A model that says these tokens one after the other."""
    def run(*_: object, logits: bool, **__: object) -> Any:
        one = torch.zeros(1, 1, len(tokenizer))
        if logits:
            one[..., ids.pop(0)] = 1
        return SimpleNamespace(logits=one, prefix=None)

    return SimpleNamespace(tokenizer=tokenizer, hf=None, hook_points=lambda: ["last"],
                           batch=lambda rows: rows, run=run)


@pytest.mark.parametrize("prompt", ["a", "a\u00e9"])
def test_characters_of_many_tokens_are_said_whole(prompt: str) -> None:
    """One token a byte, as Llama 2 has emoji: where a run of them stops within a character, none of
    the run is shown, the prompt's last character included.
    """
    bytes_ = {f"<0x{b:02X}>": b for b in range(256)}
    raw = Tokenizer(models.BPE(bytes_ | {"a": 256, "</s>": 257}, [], byte_fallback=True))
    raw.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>")
    ids, said = (tokenizer(t)["input_ids"] for t in (prompt, "\u4e2d\U0001f600\U0001f408a"))
    growing = Continuation(scripted(tokenizer, list(said)), Encoded(tuple(ids), len(ids), ()),
                           Sampling(len(said)))
    pieces = []
    while growing.finish is None:
        pieces.append(growing.step())
    assert [p for p in pieces if p] == ["\u4e2d", "\U0001f600", "\U0001f408", "a"]
