"""A tiny Llama and texts of many lengths."""

import random

import pytest

from virtuelens.values.texts import Example, Message, Text

WORDS = ("once", "upon", "a", "time", "there", "was", "small", "bird", "sing", "in", "the", "tree")


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
