"""The edits of the table inside a model: cache, padding, batches, and what is left afterwards."""

import pytest
import torch

from tests.steering.conftest import MIDDLE, PROMPTS, direction
from tests.steering.rows import MAKE
from virtuelens.errors import ModelMismatchError, SteeringError
from virtuelens.models import HookedModel
from virtuelens.steering.conditions import Scheduled, When
from virtuelens.steering.edits import EDITS, Ablate, Add
from virtuelens.steering.steer import steer
from virtuelens.steering.where import WHERE

EARLY = "blocks.0.hook_resid_post"
WRAPPED = {
    "scheduled": lambda edit, v: Scheduled(edit, "ramp:3"),
    "where a probe fires": lambda edit, v: When(edit, v, 0.1),
    "where an earlier probe fires, decaying": lambda edit, v: When(
        Scheduled(edit, "decay:2"), v, 0.1, EARLY),
}
CASES = [(name, where) for name in EDITS for where in (*WHERE, "response[1:2]+user", *WRAPPED)]


def _vectors(model: HookedModel) -> torch.Tensor:
    d = model.info.d_model
    return 3 * torch.randn(2, d, generator=torch.Generator().manual_seed(3)) / d**0.5


def _edit(model: HookedModel, name: str, where: str = "all", n: int = 1) -> object:
    v = _vectors(model)
    edit = MAKE[name](MIDDLE, v, "all" if where in WRAPPED else where, n)
    return WRAPPED[where](edit, v[1]) if where in WRAPPED else edit


@pytest.mark.parametrize(("name", "where"), CASES)
def test_cached_generation_is_edited_as_one_run_over_the_whole_text(
    llama: HookedModel, name: str, where: str
) -> None:
    """The same tokens are touched, by the same amount, whether or not a cache is used."""
    edit, alone_edit = (_edit(llama, name, where, n) for n in (len(PROMPTS), 1))
    found = llama.generate(PROMPTS, max_new_tokens=4, edits=[edit], read=[MIDDLE])
    for prompt, generation in zip(PROMPTS, found, strict=True):
        ids = [*generation.prompt_ids, *generation.ids[:-1]]
        batch = llama.batch([llama.encode(prompt)])
        whole = type(batch)(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool),
                            batch.prompt_length, batch.spoken)
        alone = llama.run(whole, read=[MIDDLE], edits=[alone_edit]).acts[MIDDLE][0]
        torch.testing.assert_close(generation.reads[MIDDLE], alone, atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "where"), CASES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_and_neighbours_change_nothing(
    llama: HookedModel, name: str, where: str, side: str
) -> None:
    """A row in a padded batch gets what it gets alone."""
    edit, alone_edit = (_edit(llama, name, where, n) for n in (len(PROMPTS), 1))
    rows = [llama.encode(p) for p in PROMPTS]
    batch = llama.batch(rows, side=side)
    together = llama.run(batch, read=[MIDDLE], edits=[edit]).acts[MIDDLE]
    for i, row in enumerate(rows):
        alone = llama.run(llama.batch([row]), read=[MIDDLE], edits=[alone_edit]).acts[MIDDLE][0]
        torch.testing.assert_close(together[i][batch.real[i]], alone, atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize("name", EDITS)
def test_identical_rows_get_identical_edits(llama: HookedModel, name: str) -> None:
    """The second of two equal rows is edited as the first is."""
    batch = llama.batch([llama.encode(PROMPTS[0])] * 2)
    acts = llama.run(batch, read=[MIDDLE], edits=[_edit(llama, name, n=2)]).acts[MIDDLE]
    assert torch.equal(acts[0], acts[1])


def test_ablated_projection_is_gone_in_generation_too(llama: HookedModel) -> None:
    """|x.v| vanishes at every token read, generated ones included."""
    v = _vectors(llama)[0]
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


def test_a_condition_of_an_earlier_point_sees_this_very_pass(llama: HookedModel) -> None:
    """Tokens whose projection there is above the threshold move, by hand from a plain run."""
    v = _vectors(llama)
    batch = llama.batch([llama.encode(p) for p in PROMPTS])
    plain = llama.run(batch, read=[EARLY, MIDDLE]).acts
    holds = (plain[EARLY] @ v[1] / v[1].norm() > 0.1) & batch.real
    assert 0 < int(holds.sum()) < int(batch.real.sum())
    edit = When(Add(MIDDLE, v[0]), v[1], 0.1, EARLY)
    acts = llama.run(batch, read=[MIDDLE], edits=[edit]).acts[MIDDLE]
    torch.testing.assert_close(acts - plain[MIDDLE], holds[..., None] * v[0], atol=1e-5, rtol=1e-4)


def test_a_condition_of_a_later_point_is_refused(llama: HookedModel) -> None:
    """What has not run yet cannot be looked at."""
    v = _vectors(llama)[0]
    batch = llama.batch([llama.encode(PROMPTS[0])])
    with pytest.raises(SteeringError, match="which is not before it"):
        llama.run(batch, logits=True, edits=[When(Add(EARLY, v), v, 0.0, MIDDLE)])


def test_edits_of_several_concepts_act_together(llama: HookedModel) -> None:
    """Two additions at one point move by their sum, in either order."""
    a, b = (Add(MIDDLE, v) for v in _vectors(llama))
    batch = llama.batch([llama.encode(PROMPTS[0])])
    plain = llama.run(batch, read=[MIDDLE]).acts[MIDDLE]
    for edits in ([a, b], [b, a]):
        acts = llama.run(batch, read=[MIDDLE], edits=edits).acts[MIDDLE]
        torch.testing.assert_close(acts - plain, (a.vector + b.vector).expand_as(plain),
                                   atol=1e-5, rtol=1e-4)
