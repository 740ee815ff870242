"""A tiny Llama and texts of many lengths."""

import random

import pytest
import torch

from tests.tiny_models import save_tiny
from virtuelens.models import HookedModel, load_model
from virtuelens.values.texts import Example, Message, Text

WORDS = ("once", "upon", "a", "time", "there", "was", "small", "bird", "sing", "in", "the", "tree")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> HookedModel:
    """The tiny Llama."""
    return load_model(str(save_tiny(tmp_path_factory.mktemp("llama"), "llama")))


@pytest.fixture(scope="session")
def examples() -> list[Example]:
    """40 chats with a response, 9 to 60 tokens long, in 8 groups; the last 12 in other splits."""
    rng = random.Random(0)
    out = []
    for i in range(40):
        split = "main" if i < 28 else "shifted" if i < 34 else "transfer"
        said, answer = (" ".join(rng.choices(WORDS, k=rng.randint(1, 12))) for _ in range(2))
        text = Text(messages=(Message("user", said), Message("assistant", answer)))
        out.append(Example(f"e{i}", text, i % 2, f"g{i // 2 % 8}", f"p{i // 2}", split))
    return out
