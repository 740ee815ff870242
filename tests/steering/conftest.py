"""A tiny Llama, texts with a prompt and a response, and directions in it."""

import torch

from virtuelens.models import HookedModel
from virtuelens.values.directions import Direction, unit
from virtuelens.values.texts import ChoiceItem, Message, Text

MIDDLE = "blocks.1.hook_resid_post"


def user(said: str) -> Text:
    """A chat of one user's turn."""
    return Text(messages=(Message("user", said),))


PROMPTS = [user(said) for said in (
    "once upon a time", "there was a small bird", "sing", "the old tree by the river , yes or no",
)]


def choices(options: tuple[str, ...] = (" yes", " no")) -> list[ChoiceItem]:
    """Each prompt as a forced choice, in two groups."""
    return [ChoiceItem(f"i{i}", f"g{i % 2}", p, options, 0) for i, p in enumerate(PROMPTS)]


def direction(model: HookedModel, vector: torch.Tensor | None = None, *, scale: float = 2.0,
              point: str = MIDDLE) -> Direction:
    """A direction found on this model; random unless a vector is given."""
    if vector is None:
        vector = torch.randn(model.info.d_model, generator=torch.Generator().manual_seed(3))
    return Direction(unit(vector), scale, 0.0, point, "last_prompt", "test", "random",
                     model.info.fingerprint)
