"""A tiny Llama, texts with a prompt and a response, and directions in it."""

import pytest
import torch

from tests.tiny_models import save_tiny
from virtuelens.models import HookedModel, load_model
from virtuelens.values.directions import Direction, unit
from virtuelens.values.texts import ChoiceItem, Message, Text

MIDDLE = "blocks.1.hook_resid_post"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> HookedModel:
    """Three layers, d_model 32, random weights."""
    return load_model(str(save_tiny(tmp_path_factory.mktemp("llama"), "llama")))


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
