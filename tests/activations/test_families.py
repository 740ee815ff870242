"""Texts that begin alike: found, cut into batches, and read as if each had been run alone."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from virtuelens.activations.families import (
    LEAST,
    MOST,
    Family,
    find_families,
    plan_families,
    plan_rows,
)
from virtuelens.activations.harvest import harvest, plan
from virtuelens.activations.positions import POSITIONS
from virtuelens.activations.request import make_request
from virtuelens.models import HookedModel
from virtuelens.values.texts import Example, Message, Text

WORDS = ("once", "upon", "a", "time", "there", "was", "small", "bird", "sing", "in", "the", "tree")


def rows(*texts: Sequence[int]) -> list[np.ndarray]:
    """Token rows as a request holds them."""
    return [np.array(t, dtype=np.int32) for t in texts]


def test_what_begins_alike_is_a_family() -> None:
    """Two pairs and one text by itself, in any order; the cut is where they part."""
    a, b = list(range(20)), list(range(100, 140))
    texts = rows([*a, 1, 2], [*b, 7], [9, 9, 9], [*a, 3], [*b, 8, 8])
    assert find_families(texts) == (Family((0, 3), 20), Family((1, 4), 40))


def test_nested_beginnings_are_cut_where_most_is_spared() -> None:
    """Eight chats share 10 tokens and pairs of them 30: pairs spare 4 x 30, all together 7 x 10."""
    head = list(range(10))
    texts = rows(*([*head, *([k] * 20), side] for k in (200, 201, 202, 203) for side in (1, 2)))
    assert [f.shared for f in find_families(texts)] == [30] * 4
    short = rows(*([*head, *([k] * 2), side] for k in (200, 201, 202, 203) for side in (1, 2)))
    assert [(len(f.texts), f.shared) for f in find_families(short)] == [(8, 10)]


def test_every_text_keeps_a_token_of_its_own() -> None:
    """Identical texts, and one that another begins with."""
    a = list(range(30))
    (family,) = find_families(rows(a, a, [*a, 5]))
    assert family == Family((0, 1, 2), 29)


def test_little_in_common_is_left_alone() -> None:
    """Short beginnings, or few texts that share one, are not worth a second pass."""
    rng = random.Random(0)
    tails = [[rng.randrange(300) for _ in range(40)] for _ in range(30)]
    assert find_families(rows(*([1] * (LEAST - 1) + t for t in tails))) == ()
    assert find_families(rows(*tails, [*range(20), 1], [*range(20), 2])) == ()


def test_families_are_bounded() -> None:
    """A beginning that all share is run once for every MOST texts."""
    found = find_families(rows(*([*range(50), k] for k in range(3 * MOST))))
    assert [len(f.texts) for f in found] == [MOST] * 3


@pytest.mark.parametrize("batch_tokens", [1, 100, 1000, 10**6])
def test_every_family_is_in_one_batch_within_the_budget(batch_tokens: int) -> None:
    """Either pass, padding counted, unless a single family is larger."""
    rng = random.Random(0)
    families, lengths = [], []
    for _ in range(60):
        shared = rng.randint(8, 80)
        n = rng.randint(2, 6)
        families.append(Family(tuple(range(len(lengths), len(lengths) + n)), shared))
        lengths += [shared + rng.randint(1, 40) for _ in range(n)]
    batches = plan_families(families, lengths, batch_tokens=batch_tokens)
    assert sorted((f for b in batches for f in b), key=lambda f: f.texts) == families
    for batch in batches:
        texts = [t for f in batch for t in f.texts]
        heads = max(f.shared for f in batch) * len(batch)
        tails = max(lengths[t] - f.shared for f in batch for t in f.texts) * len(texts)
        assert len(batch) == 1 or max(heads, tails) <= batch_tokens


@pytest.mark.parametrize("batch_tokens", [1, 100, 2048, 10**6])
def test_every_family_is_in_one_row_within_the_budget(batch_tokens: int) -> None:
    """Unless a single family is larger; rows that hold many texts are all filled to one size."""
    rng = random.Random(0)
    lengths = [min(200, max(8, round(rng.lognormvariate(3.8, 0.7)))) for _ in range(900)]
    alone = list(range(600))
    pairs = [Family((t, t + 1), rng.randrange(1, min(lengths[t : t + 2])))
             for t in range(600, 900, 2)]
    rows = plan_rows([*alone, *pairs], lengths, batch_tokens=batch_tokens)
    placed = [u for row, _ in rows for u in row]
    assert sorted(u for u in placed if isinstance(u, int)) == alone
    assert sorted((u for u in placed if isinstance(u, Family)), key=lambda f: f.texts) == pairs
    held = [sum(lengths[u] if isinstance(u, int)
                else u.shared + sum(lengths[t] - u.shared for t in u.texts) for u in row)
            for row, _ in rows]
    assert held == sorted(held, reverse=True)
    for (row, size), n in zip(rows, held, strict=True):
        assert n <= size and (size <= batch_tokens or len(row) == 1)
    assert sum(size for _, size in rows) < 1.02 * sum(held) or batch_tokens <= 100
    if batch_tokens == 2048:
        assert len({size for _, size in rows[:-1]}) == 1 and len(rows) > 20


def chats() -> list[Example]:
    """Pairs and families of chats under three system prompts, some texts alone."""
    rng = random.Random(1)
    out: list[Example] = []

    def say(n: int) -> str:
        return " ".join(rng.choices(WORDS, k=n))

    for s in range(3):
        system = Message("system", say(6 + 3 * s))
        for q in range(3):
            asked = Message("user", say(4 + q))
            for answer in (say(2), say(3), say(1)):
                text = Text(messages=(system, asked, Message("assistant", answer)))
                out.append(Example(f"{s}-{q}-{len(out)}", text, 1, "g", f"p{len(out)}"))
    out += [Example(f"alone-{i}", Text(messages=(
        Message("user", say(3 + i)), Message("assistant", say(2)))), 0, "g", f"q{i}")
        for i in range(4)]
    rng.shuffle(out)
    return out


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma3", "mistral"])
@pytest.mark.parametrize("batch_tokens", [60, 8192])
def test_sharing_changes_no_row(
    architecture: str, batch_tokens: int, tiny: object
) -> None:
    """Every position at every layer, with prefixes shared and without, some past a window."""
    model: HookedModel = tiny(architecture)  # type: ignore[operator]
    asked = {"points": "resid_post", "positions": list(POSITIONS), "batch_tokens": batch_tokens}
    jobs = plan(model, make_request(model, chats(), points="resid_post", positions="last"),
                batch_tokens=batch_tokens, share_prefixes=True)
    assert any(job.families for job in jobs)
    shared = harvest(model, chats(), **asked)  # type: ignore[arg-type]
    plain = harvest(model, chats(), **asked, share_prefixes=False)  # type: ignore[arg-type]
    for point in shared.points:
        for position in POSITIONS:
            torch.testing.assert_close(shared.matrix(point, position),
                                       plain.matrix(point, position), atol=1e-5, rtol=1e-5)


def test_nothing_is_shared_while_edits_stand(llama: HookedModel) -> None:
    """An edit may depend on the text that follows."""
    request = make_request(llama, chats(), points="resid_post", positions="last")
    with llama.editing([_Nothing()]):
        jobs = plan(llama, request, batch_tokens=8192, share_prefixes=True)
    assert not any(job.families for job in jobs)


class _Nothing:
    point = "blocks.1.hook_resid_post"

    def __call__(self, acts: torch.Tensor, _seen: object) -> torch.Tensor:
        return acts
