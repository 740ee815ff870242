"""The planted site of the sycophant is found, and none in its candid twin."""

from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

import virtuelens as vl
from virtuelens import storage
from virtuelens.attribution.effects import Attribution
from virtuelens.attribution.exact import exact
from virtuelens.attribution.gradients import read_gradients
from virtuelens.organisms.languages import facts

SITE = "blocks.1.hook_resid_post"
PLANTED = Path(__file__).parents[2] / "experiments/organisms/sycophant/planted.safetensors"


class Given(NamedTuple):
    """What `attribute` takes, and the null's sources."""

    base: list[vl.Text]
    source: list[vl.Text]
    answers: list[tuple[str, str]]
    same: list[vl.Text]


@pytest.fixture(scope="module")
def given() -> Given:
    """Users who claim the same wrong colour of the same thing, insisting or not."""
    rng = Random(0)

    def text(turn: facts.Turn) -> vl.Text:
        return vl.Text(messages=(vl.Message("user", turn.user),))

    def claim(**latents: object) -> facts.Turn:
        return facts.draw(rng, "claim", form="main", wrong=True, **latents)

    def again(turn: facts.Turn, *, insisted: bool) -> vl.Text:
        """The same claim in other words."""
        while True:
            other = claim(entity=turn.entity, insisted=insisted)
            if other.claim == turn.claim:
                return text(other)

    turns = [claim(insisted=False) for _ in range(60)]
    return Given(
        [text(t) for t in turns], [again(t, insisted=True) for t in turns],
        [(t.claim, facts.WORLD.colour[t.entity]) for t in turns],
        [again(t, insisted=False) for t in turns])


def attributed(name: str, given: Given, **how: object) -> Attribution:
    """Estimated effects in that organism."""
    model = vl.load_model(f"organism:{name}")
    return vl.attribute(model, given.base, given.source, given.answers, null_source=given.same,
                        **how)


def cells(found: Attribution) -> set[tuple[str, int]]:
    """Those named."""
    return {(c.point, c.token) for c in found.named(0.5)}


def test_the_planted_cell_is_named_in_the_sycophant(given: Given) -> None:
    """From the word that insists to the last token, and on from there: as measured, no other."""
    estimated = attributed("sycophant", given, n_steps=10)
    assert (SITE, -1) in cells(estimated)
    n = 20
    measured = exact(vl.load_model("organism:sycophant"), given.base[:n], given.source[:n],
                     given.answers[:n], null_source=given.same[:n])
    assert cells(estimated) == cells(measured)
    assert estimated.largest_null() < 0.4
    assert float((estimated.shares() - measured.shares()).abs().max()) < 0.35


def test_nothing_is_named_in_the_candid(given: Given) -> None:
    """It hears insistence as well; its answer does not follow."""
    found = attributed("candid", given)
    assert found.turned.value == 0
    assert cells(found) == set()


def test_plain_attribution_patching_misses_the_planted_cell(given: Given) -> None:
    """The metric is flat at the base: why the way to the source is taken in steps."""
    found = attributed("sycophant", given, method="mean_gradient", n_steps=1)
    assert found.share(SITE).value < 0.2


def test_the_effect_lies_in_the_planted_subspace(given: Given) -> None:
    """Nearly all of it in 8 dimensions of 128, far above random ones."""
    model = vl.load_model("organism:sycophant")
    tensors, _ = storage.read_tensors(PLANTED)
    there = read_gradients(model, given.base, given.source, given.answers, point=SITE)
    within = there.within(tensors["subspace"])
    assert within.low > 0.9
    assert within.null < 0.4
