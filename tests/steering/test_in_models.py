"""The edits of the table inside a model: cache, padding, batches, and what is left afterwards."""

from collections.abc import Callable

import pytest
import torch

from tests.steering.conftest import MIDDLE, PROMPTS, direction
from virtuelens.errors import ModelMismatchError
from virtuelens.models import HookedModel
from virtuelens.steering.edits import EDITS, Ablate, Add, Clamp, ClampFeature
from virtuelens.steering.steer import steer
from virtuelens.steering.where import WHERE

Make = Callable[[HookedModel, str], object]


def _vector(model: HookedModel) -> torch.Tensor:
    return 3 * direction(model).vector  # not of norm 1: edits must not rely on it


MAKE: dict[str, Make] = {
    "add": lambda m, where: Add(MIDDLE, _vector(m), where),
    "clamp": lambda m, where: Clamp(MIDDLE, _vector(m), 2.5, where),
    "ablate": lambda m, where: Ablate(MIDDLE, _vector(m), where),
    "clamp_feature": lambda m, where: ClampFeature(
        MIDDLE, lambda x: (x @ _vector(m) - 0.2).relu(), _vector(m).flip(0), 2.0, where),
}
CASES = [(name, where) for name in EDITS for where in WHERE]


@pytest.mark.parametrize(("name", "where"), CASES)
def test_cached_generation_is_edited_as_one_run_over_the_whole_text(
    llama: HookedModel, name: str, where: str
) -> None:
    """The same tokens are touched, by the same amount, whether or not a cache is used."""
    edit = MAKE[name](llama, where)
    found = llama.generate(PROMPTS, max_new_tokens=4, edits=[edit], read=[MIDDLE])
    for prompt, generation in zip(PROMPTS, found, strict=True):
        ids = [*generation.prompt_ids, *generation.ids[:-1]]
        batch = llama.batch([llama.encode(prompt)])
        whole = type(batch)(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool),
                            batch.prompt_length)
        alone = llama.run(whole, read=[MIDDLE], edits=[edit]).acts[MIDDLE][0]
        torch.testing.assert_close(generation.reads[MIDDLE], alone, atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "where"), CASES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_and_neighbours_change_nothing(
    llama: HookedModel, name: str, where: str, side: str
) -> None:
    """A row in a padded batch gets what it gets alone."""
    edit = MAKE[name](llama, where)
    rows = [llama.encode(p) for p in PROMPTS]
    batch = llama.batch(rows, side=side)
    together = llama.run(batch, read=[MIDDLE], edits=[edit]).acts[MIDDLE]
    for i, row in enumerate(rows):
        alone = llama.run(llama.batch([row]), read=[MIDDLE], edits=[edit]).acts[MIDDLE][0]
        torch.testing.assert_close(together[i][batch.real[i]], alone, atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize("name", EDITS)
def test_identical_rows_get_identical_edits(llama: HookedModel, name: str) -> None:
    """The second of two equal rows is edited as the first is."""
    batch = llama.batch([llama.encode(PROMPTS[0])] * 2)
    acts = llama.run(batch, read=[MIDDLE], edits=[MAKE[name](llama, "all")]).acts[MIDDLE]
    assert torch.equal(acts[0], acts[1])


def test_ablated_projection_is_gone_in_generation_too(llama: HookedModel) -> None:
    """|x.v| vanishes at every token read, generated ones included."""
    v = _vector(llama)
    (found,) = llama.generate(PROMPTS[:1], max_new_tokens=4, edits=[Ablate(MIDDLE, v)],
                              read=[MIDDLE])
    assert (found.reads[MIDDLE] @ v).abs().max() < 1e-4


def test_strength_zero_is_an_exact_identity(llama: HookedModel) -> None:
    """Not one bit of the logits differs, and generation says the same."""
    batch = llama.batch([llama.encode(p) for p in PROMPTS])
    plain = llama.run(batch, logits=True).logits
    said = [g.ids for g in llama.generate(PROMPTS, max_new_tokens=4)]
    with steer(llama, direction(llama), strength=0.0):
        assert torch.equal(llama.run(batch, logits=True).logits, plain)
        assert [g.ids for g in llama.generate(PROMPTS, max_new_tokens=4)] == said


def test_strength_is_in_standard_deviations_of_the_projection(llama: HookedModel) -> None:
    """Strength 1.5 moves the projection by 1.5 scales, and nothing orthogonal to it."""
    d = direction(llama, scale=2.0)
    batch = llama.batch([llama.encode(PROMPTS[0])])
    before = llama.run(batch, read=[MIDDLE]).acts[MIDDLE][0]
    with steer(llama, d, strength=1.5):
        after = llama.run(batch, read=[MIDDLE]).acts[MIDDLE][0]
    torch.testing.assert_close(after - before, (3.0 * d.vector).expand_as(before),
                               atol=1e-5, rtol=1e-4)


def test_the_steer_is_gone_after_the_body_even_when_it_raises(llama: HookedModel) -> None:
    """The original error comes through; the next run is a plain one."""
    batch = llama.batch([llama.encode(PROMPTS[0])])
    plain = llama.run(batch, logits=True).logits
    with pytest.raises(ZeroDivisionError), steer(llama, direction(llama), strength=3.0):
        assert not torch.equal(llama.run(batch, logits=True).logits, plain)
        _ = 1 / 0
    assert torch.equal(llama.run(batch, logits=True).logits, plain)


def test_a_second_model_in_the_process_is_untouched(llama: HookedModel) -> None:
    """Steering one leaves its random copy alone."""
    other = llama.random_copy(1)
    batch = other.batch([other.encode(PROMPTS[0])])
    plain = other.run(batch, logits=True).logits
    with steer(llama, direction(llama), strength=3.0):
        assert torch.equal(other.run(batch, logits=True).logits, plain)


def test_a_direction_of_another_model_is_refused(llama: HookedModel) -> None:
    """By fingerprint, before anything runs."""
    other = llama.random_copy(1)
    with pytest.raises(ModelMismatchError, match="was found on weights"), \
            steer(other, direction(llama), strength=1.0):
        pass
