"""Runs: padding, early stop, edits, and that nothing is left behind."""

import inspect
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.models.edits import BodyError, Change, add, fail
from tests.tiny_models import ARCHITECTURES, PARALLEL
from virtuelens.errors import HookPointError, NotFiniteError, SteeringError
from virtuelens.models import HookedModel
from virtuelens.models.run import accepted, check_finite
from virtuelens.values.texts import Text

SHORT, LONG = Text(raw="A small bird."), Text(raw="The old tree by the river liked to sing, yes.")
MIDDLE = "blocks.1.hook_resid_post"


def ramp(model: HookedModel) -> Tensor:
    """A vector that no layer norm takes out."""
    return torch.linspace(-1, 1, model.info.d_model)


def n_hooks(model: HookedModel) -> int:
    """Hooks on all modules."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.hf.modules())


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_rows_equal_their_unpadded_run(model: HookedModel, side: str) -> None:
    """Padding on either side changes no activation and no logit of a row, with and without edit."""
    rows = [model.encode(SHORT), model.encode(LONG)]
    for edits in ([], [add(MIDDLE, ramp(model))]):
        batch = model.batch(rows, side=side)
        found = model.run(batch, read=model.hook_points(), edits=edits, logits=True)
        for i, row in enumerate(rows):
            alone = model.run(
                model.batch([row]), read=model.hook_points(), edits=edits, logits=True
            )
            for point, acts in alone.acts.items():
                mine = found.acts[point][i][batch.real[i]]
                torch.testing.assert_close(mine, acts[0], atol=2e-5, rtol=1e-4)
            mine = found.logits[i][batch.real[i]]
            torch.testing.assert_close(mine, alone.logits[0], atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_never_edited(llama: HookedModel, side: str) -> None:
    """An edit that spoils padding, or writes in place, leaves the padding as it was."""
    batch = llama.batch([llama.encode(SHORT), llama.encode(LONG)], side=side)
    spoil = Change(MIDDLE, lambda a, seen: torch.where(seen.real[..., None], a + 1, torch.nan))
    in_place = Change(MIDDLE, lambda acts, seen: acts.add_(1))
    before = llama.run(batch, read=[MIDDLE]).acts[MIDDLE]
    for edit in (spoil, in_place):
        after = llama.run(batch, read=[MIDDLE], edits=[edit]).acts[MIDDLE]
        assert torch.equal(before[~batch.real], after[~batch.real])
        assert torch.equal(before[batch.real] + 1, after[batch.real])


def test_identical_rows_get_identical_changes(model: HookedModel) -> None:
    """Two equal rows of one batch come out equal under an edit."""
    batch = model.batch([model.encode(LONG)] * 2 + [model.encode(SHORT)], side="left")
    logits = model.run(batch, edits=[add(MIDDLE, ramp(model))], logits=True).logits
    assert torch.equal(logits[0], logits[1])


def test_index_counts_from_the_first_real_token(llama: HookedModel) -> None:
    """Edits see each token's place in its own text, whatever the padding."""
    seen_by: list[Tensor] = []
    look = Change(MIDDLE, lambda acts, seen: (seen_by.append(seen.index), acts)[1])
    for side in ("left", "right"):
        batch = llama.batch([llama.encode(SHORT), llama.encode(LONG)], side=side)
        llama.run(batch, edits=[look], logits=True)
        for row in range(2):
            n = int(batch.real[row].sum())
            assert seen_by[-1][row][batch.real[row]].tolist() == list(range(n))


def test_early_stop_runs_no_later_layer_and_no_head(
    model: HookedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading layer 1 runs layers 0 and 1 once, never layer 2, never the unembedding."""
    calls: list[str] = []
    watched = {"blocks.0": "0", "blocks.1": "1", "blocks.2": "2"}
    for prefix, label in watched.items():
        module = model.hf.get_submodule(model.places[f"{prefix}.hook_resid_post"].module)
        spy(module, label, calls, monkeypatch)
    spy(model.hf.get_output_embeddings(), "head", calls, monkeypatch)
    batch = model.batch([model.encode(LONG)])
    model.run(batch, read=["hook_embed", MIDDLE])
    assert calls == ["0", "1"]
    calls.clear()
    model.run(batch, read=[MIDDLE], logits=True)
    assert calls == ["0", "1", "2", "head"]


def spy(
    module: torch.nn.Module, label: str, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Note every call of the module's forward."""
    forward = module.forward

    def noted(*args: object, **kwargs: object) -> object:
        calls.append(label)
        return forward(*args, **kwargs)

    monkeypatch.setattr(module, "forward", noted)


def test_zero_edit_changes_nothing_to_the_bit(model: HookedModel) -> None:
    """Adding zero at every point at once gives the very same logits."""
    batch = model.batch([model.encode(SHORT), model.encode(LONG)], side="left")
    zero = torch.zeros(model.info.d_model)
    clean = model.run(batch, logits=True).logits
    still = model.run(batch, edits=[add(p, zero) for p in model.hook_points()], logits=True).logits
    assert torch.equal(still[batch.real], clean[batch.real])


def test_a_read_sees_the_edits_of_its_point_in_order(model: HookedModel) -> None:
    """Edits at one point apply in the order given, and a read there sees their result."""
    batch = model.batch([model.encode(LONG)])
    double = lambda point: Change(point, lambda acts, seen: 2 * acts)  # noqa: E731
    for point in model.hook_points():
        clean = model.run(batch, read=[point]).acts[point]
        edits = [add(point, ramp(model)), double(point)]
        found = model.run(batch, read=[point], edits=edits).acts[point]
        torch.testing.assert_close(found, 2 * (clean + ramp(model)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", sorted(PARALLEL))
def test_side_by_side_blocks_offer_no_resid_mid(
    tiny: Callable[[str], HookedModel], architecture: str
) -> None:
    """There is no stream between attention and MLP."""
    assert "blocks.1.hook_resid_mid" not in tiny(architecture).hook_points()


@pytest.mark.parametrize("architecture", sorted(set(ARCHITECTURES) - PARALLEL))
def test_resid_mid_edit_moves_the_stream_itself(
    tiny: Callable[[str], HookedModel], architecture: str
) -> None:
    """What is added at resid_mid is in resid_post besides what the MLP makes of it."""
    model, point = tiny(architecture), "blocks.1.hook_resid_mid"
    batch = model.batch([model.encode(LONG)])
    points = ["blocks.1.hook_attn_out", point, "blocks.1.hook_mlp_out", MIDDLE]
    clean = model.run(batch, read=points).acts
    found = model.run(batch, read=points, edits=[add(point, ramp(model))]).acts
    torch.testing.assert_close(found[points[0]], clean[points[0]])
    torch.testing.assert_close(found[point], clean[point] + ramp(model), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[MIDDLE], found[point] + found[points[2]], atol=1e-5, rtol=1e-5)


def test_a_change_at_resid_post_arrives_at_the_next_resid_pre(model: HookedModel) -> None:
    """The output of one block and the input of the next are one thing."""
    batch = model.batch([model.encode(LONG)])
    following = "blocks.2.hook_resid_pre"
    found = model.run(batch, read=[MIDDLE, following], edits=[add(MIDDLE, ramp(model))]).acts
    assert torch.equal(found[MIDDLE], found[following])


def test_hooks_are_removed_when_an_edit_raises(model: HookedModel) -> None:
    """After an error in an edit the model is as before, and the error is the edit's own."""
    batch = model.batch([model.encode(LONG)])
    before, clean = n_hooks(model), model.run(batch, logits=True).logits
    edits = [add(MIDDLE, ramp(model)), fail("blocks.2.hook_mlp_out")]
    with pytest.raises(BodyError, match="on purpose"):
        model.run(batch, edits=edits, logits=True)
    with pytest.raises(BodyError, match="on purpose"):
        model.generate([LONG], max_new_tokens=2, edits=edits)
    assert n_hooks(model) == before
    assert torch.equal(model.run(batch, logits=True).logits, clean)


def test_runs_nest(llama: HookedModel) -> None:
    """A run inside an edit of another run sees none of the outer run's edits."""
    batch = llama.batch([llama.encode(LONG)])
    clean = llama.run(batch, read=[MIDDLE]).acts[MIDDLE]
    inner: list[Tensor] = []

    def run_again(acts: Tensor, seen: object) -> Tensor:
        if not inner:
            inner.append(acts)  # guards against running for ever, were hooks global
            inner.append(llama.random_copy(0).run(batch, read=[MIDDLE]).acts[MIDDLE])
        return acts + ramp(llama)

    found = llama.run(batch, read=[MIDDLE], edits=[Change(MIDDLE, run_again)]).acts[MIDDLE]
    torch.testing.assert_close(found, clean + ramp(llama))
    expected = llama.random_copy(0).run(batch, read=[MIDDLE]).acts[MIDDLE]
    assert torch.equal(inner[1], expected)


def test_a_second_model_is_unaffected(llama: HookedModel, tiny: Callable[..., HookedModel]) -> None:
    """Standing edits on one model leave another of the same class as it was."""
    other = llama.random_copy(0)
    batch = llama.batch([llama.encode(LONG)])
    clean = other.run(batch, logits=True).logits
    with llama.editing([add(MIDDLE, ramp(llama))]):
        assert torch.equal(other.run(batch, logits=True).logits, clean)
        llama.run(batch, logits=True)
        assert torch.equal(other.run(batch, logits=True).logits, clean)


def test_editing_nests_and_ends(llama: HookedModel) -> None:
    """Edits of a with block hold inside it, add up when nested, and end also after an error."""
    batch = llama.batch([llama.encode(LONG)])
    read = lambda: llama.run(batch, read=[MIDDLE]).acts[MIDDLE]  # noqa: E731
    clean, v = read(), ramp(llama)
    with llama.editing([add(MIDDLE, v)]):
        torch.testing.assert_close(read(), clean + v)
        with pytest.raises(BodyError), llama.editing([add(MIDDLE, v)]):
            torch.testing.assert_close(read(), clean + 2 * v)
            raise BodyError
        torch.testing.assert_close(read(), clean + v)
    assert torch.equal(read(), clean)


@pytest.mark.parametrize("wrap", [tuple, list])
def test_layers_may_return_a_tuple(
    llama: HookedModel, wrap: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block that returns a tuple or list (older versions do) is read and edited all the same."""
    batch = llama.batch([llama.encode(LONG)])
    edits = [add(MIDDLE, ramp(llama))]
    expected = llama.run(batch, read=[MIDDLE], edits=edits).acts[MIDDLE]
    block = llama.hf.get_submodule(llama.places[MIDDLE].module)
    plain = block.forward
    monkeypatch.setattr(block, "forward", lambda *a, **k: wrap((plain(*a, **k), "rest")))
    found = llama.run(batch, read=[MIDDLE], edits=edits).acts[MIDDLE]
    assert torch.equal(found, expected)


def test_wrong_shape_from_an_edit_is_refused(llama: HookedModel) -> None:
    """An edit that collapses a dimension is named, with both shapes."""
    batch = llama.batch([llama.encode(LONG)])
    with pytest.raises(SteeringError, match=r"returned shape \(1, .*expected"):
        llama.run(batch, edits=[Change(MIDDLE, lambda a, seen: a[..., :1])], logits=True)


def test_edit_at_an_unknown_point_is_refused(llama: HookedModel) -> None:
    """An edit whose point does not exist is an error, not silence."""
    batch = llama.batch([llama.encode(LONG)])
    with pytest.raises(HookPointError, match=r"blocks\.9"):
        llama.run(batch, edits=[add("blocks.9.hook_resid_post", ramp(llama))], logits=True)


def test_reads_are_ordinary_tensors(llama: HookedModel) -> None:
    """What is read can be used under autograd, and is not the model's own memory."""
    batch = llama.batch([llama.encode(LONG)])
    reads = llama.run(batch, read=[MIDDLE], logits=True)
    weight = torch.ones(llama.info.d_model, requires_grad=True)
    (reads.acts[MIDDLE] @ weight).sum().backward()
    assert weight.grad is not None
    reads.acts[MIDDLE].zero_()
    assert torch.equal(llama.run(batch, logits=True).logits, reads.logits)


def test_a_forward_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a class; one that an object was given for its own is another."""
    class Part:
        def forward(self, position_ids: int) -> int:
            return position_ids

    looks: list[object] = []
    look = inspect.signature
    monkeypatch.setattr(inspect, "signature", lambda f: looks.append(f) or look(f))
    one, other = Part(), Part()
    for part in (one, one, other):
        assert accepted(part.forward, position_ids=1, logits_to_keep=2) == {"position_ids": 1}
    assert len(looks) == 1
    other.forward = lambda logits_to_keep: logits_to_keep  # type: ignore[method-assign]
    assert accepted(other.forward, position_ids=1, logits_to_keep=2) == {"logits_to_keep": 2}


def test_check_finite_names_point_and_row(llama: HookedModel) -> None:
    """Infinity at a real token is named; on padding it does not matter."""
    batch = llama.batch([llama.encode(SHORT), llama.encode(LONG)])
    acts = llama.run(batch, read=[MIDDLE]).acts[MIDDLE]
    acts[0, -1] = torch.inf  # padding
    check_finite(acts, MIDDLE, batch)
    acts[1, 2, 3] = torch.inf
    with pytest.raises(NotFiniteError, match=rf"{MIDDLE}, row 1"):
        check_finite(acts, MIDDLE, batch)
