"""Token by token gives what generation in one go gives."""

from collections.abc import Callable

import pytest

from tests.steering.conftest import PROMPTS, direction
from virtuelens.models import HookedModel
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
