"""Estimated and measured effects where they are known: small steps, linear parts, whole layers."""

from pathlib import Path

import pytest
import torch

from tests.tiny_models import save_tiny
from virtuelens.attribution.attribute import attribute
from virtuelens.attribution.exact import exact
from virtuelens.attribution.pairs import encode_pairs
from virtuelens.attribution.steps import METHODS
from virtuelens.errors import AttributionError, HookPointError
from virtuelens.exchange.swap import Swap
from virtuelens.models import HookedModel, load_model
from virtuelens.organisms.compiled import Repetition
from virtuelens.values.texts import Message, Text

LAST, MIDDLE = "blocks.2.hook_resid_post", "blocks.1.hook_resid_post"
KINDS = ("hook_resid_pre", "hook_attn_out", "hook_resid_mid", "hook_mlp_out", "hook_resid_post")
BASE = [Text(raw=t) for t in ("a small bird q sings", "the tree q", "q once upon a time there was")]
SOURCE = [Text(raw=t.raw.replace("q", "z")) for t in BASE]
ANSWERS = [(5, 9), (70, 12), (33, 41)]


def metric(model: HookedModel, i: int, edits: list[Swap]) -> float:
    """Of the base of pair i by itself."""
    batch = model.batch([model.encode(BASE[i])])
    logits = model.run(batch, edits=edits, logits=True).logits[0, -1]
    return float(logits[ANSWERS[i][0]] - logits[ANSWERS[i][1]])


def acts(model: HookedModel, text: Text, point: str) -> torch.Tensor:
    """Of one text by itself, `[pos d_model]`."""
    return model.run(model.batch([model.encode(text)]), read=[point]).acts[point][0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_is_what_a_small_step_does(llama: HookedModel, kind: str) -> None:
    """Attribution patching at every kind of point is the slope of the metric towards the source."""
    point = f"blocks.1.{kind}"
    found = attribute(llama, BASE, SOURCE, ANSWERS, points=[point], method="mean_gradient",
                      n_steps=1)
    i, n = 0, len(llama.encode(BASE[0]).ids)
    here, there = (acts(llama, text[i], point) for text in (BASE, SOURCE))
    token = int((there - here).norm(dim=-1).argmax())
    step = 0.02
    ends = [
        metric(llama, i, [Swap(point, (here + s * (there - here))[token][None], None,
                               torch.tensor([token]))])
        for s in (step, -step)
    ]
    slope = (ends[0] - ends[1]) / (2 * step)
    assert abs(slope) > 1e-3
    assert float(found.effects[i, 0, token - n]) == pytest.approx(slope, rel=0.03, abs=1e-4)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2", "phi"])
def test_along_the_way_the_cells_of_a_layer_add_up_to_the_total(
    tmp_path: Path, architecture: str
) -> None:
    """Whatever reaches the answer passes every layer, at one token or another."""
    model = load_model(str(save_tiny(tmp_path, architecture)))
    points = [p for p in model.hook_points() if "resid" in p]
    found = attribute(model, BASE, SOURCE, ANSWERS, points=points, n_steps=40)
    total = found.source - found.base
    assert float(total.abs().max()) > 0.02
    sums = found.effects.nansum(-1)  # [pair point]
    torch.testing.assert_close(sums, total[:, None].expand_as(sums), rtol=0.03, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_comes_of_a_text_and_itself(llama: HookedModel, method: str) -> None:
    """Every effect is 0, no cell is named, and a share of nothing is refused."""
    found = attribute(llama, BASE, BASE, ANSWERS, method=method, n_steps=3)
    assert not found.effects.nan_to_num().any()
    assert torch.equal(found.base, found.source)
    assert found.named() == ()
    with pytest.raises(AttributionError, match="do not differ"):
        found.shares()
    assert not exact(llama, BASE, BASE, ANSWERS).effects.nan_to_num().any()


@pytest.mark.parametrize("method", METHODS)
def test_where_the_rest_is_linear_the_estimate_is_exact(
    induction: HookedModel, values: list[Repetition], method: str
) -> None:
    """After the last block of the hand-built model only a scaling and the unembedding follow."""
    texts = [p.base for p in values], [p.source for p in values], [p.answers for p in values]
    point = ["blocks.1.hook_resid_post"]
    estimated = attribute(induction, *texts, points=point, method=method, n_steps=1)
    measured = exact(induction, *texts, points=point)
    torch.testing.assert_close(estimated.effects, measured.effects, rtol=1e-3, atol=1e-3)
    assert float(measured.share(point[0]).value) == pytest.approx(1)


@pytest.mark.parametrize("method", [*METHODS, "exact"])
def test_batches_and_padding_do_not_matter(llama: HookedModel, method: str) -> None:
    """One pair at a time gives what all at once give; each text is aligned at its last token."""
    def run(rows: slice, **how: int) -> torch.Tensor:
        given = BASE[rows], SOURCE[rows], ANSWERS[rows]
        if method == "exact":
            return exact(llama, *given, **how).effects
        return attribute(llama, *given, method=method, n_steps=2, **how).effects

    whole = run(slice(None))
    torch.testing.assert_close(run(slice(None), batch_tokens=1), whole, equal_nan=True,
                               atol=1e-5, rtol=1e-4)
    for i, text in enumerate(BASE):
        n = len(llama.encode(text).ids)
        alone = run(slice(i, i + 1))[0]
        assert alone.shape[-1] == n
        torch.testing.assert_close(whole[i, :, -n:], alone, atol=1e-5, rtol=1e-4)
        assert whole[i, :, :-n].isnan().all()


def test_a_measured_effect_is_one_swap(llama: HookedModel) -> None:
    """Each cell equals the metric of that text alone with that one activation replaced."""
    found = exact(llama, BASE, SOURCE, ANSWERS, points=[MIDDLE, LAST])
    for i in range(len(BASE)):
        there, n = acts(llama, SOURCE[i], MIDDLE), len(llama.encode(BASE[i]).ids)
        for token in range(n):
            swap = Swap(MIDDLE, there[token][None], None, torch.tensor([token]))
            expected = metric(llama, i, [swap]) - metric(llama, i, [])
            assert float(found.effects[i, 0, token - n]) == pytest.approx(expected, abs=1e-5)
    # after the last block the last token is all there is
    torch.testing.assert_close(found.effects[:, 1, -1], found.source - found.base,
                               atol=1e-5, rtol=1e-4)
    assert not found.effects[:, 1, :-1].nan_to_num().any()


def test_progress_counts_cells(llama: HookedModel) -> None:
    """Tokens of all texts times points, the null's included."""
    told: list[tuple[int, int]] = []
    exact(llama, BASE, SOURCE, ANSWERS, points=[LAST], null_source=BASE,
          progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (2 * sum(len(llama.encode(t).ids) for t in BASE),) * 2


def test_answers_are_ids_or_the_first_token_of_a_text(llama: HookedModel) -> None:
    """As they follow the prompt; a response that stands there already does not count."""
    prompt = Text(messages=(Message("user", "a bird"),))
    said = llama.encode(prompt.answered("river"))
    first = said.ids[said.prompt_length]
    pairs = encode_pairs(llama, [prompt], [prompt], [("river", 12)])
    assert pairs.answers.tolist() == [[first, 12]]
    longer = encode_pairs(llama, [prompt.answered("the tree")], [prompt], [("river", 12)])
    assert longer.base == pairs.base
    assert longer.answers.tolist() == pairs.answers.tolist()


def test_the_model_is_left_as_it_was(llama: HookedModel) -> None:
    """No gradients on weights, no hook left behind."""
    def n_hooks() -> int:
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in llama.hf.modules())

    before = n_hooks()
    attribute(llama, BASE, SOURCE, ANSWERS)
    assert all(p.grad is None and not p.requires_grad for p in llama.hf.parameters())
    assert n_hooks() == before


def test_points_are_the_ends_of_blocks_unless_given(llama: HookedModel) -> None:
    """In the order of execution, each once."""
    assert attribute(llama, BASE, SOURCE, ANSWERS, n_steps=1).points == tuple(
        f"blocks.{i}.hook_resid_post" for i in range(3))
    twice = attribute(llama, BASE, SOURCE, ANSWERS, points=["hook_embed", "hook_embed"], n_steps=1)
    assert twice.points == ("hook_embed",)


def test_what_cannot_be_attributed_is_said(llama: HookedModel) -> None:
    """Lists, lengths, answers, groups, methods and points that do not go together."""
    def refused(match: str, *given: object, **how: object) -> None:
        with pytest.raises(AttributionError, match=match):
            attribute(llama, *given, **how)

    refused("3 base texts, 2 source texts and 3 pairs", BASE, SOURCE[:2], ANSWERS)
    refused("at least one", [], [], [])
    refused("Pair 0: the base has .* tokens and the source", BASE, SOURCE[::-1], ANSWERS)
    refused("both answers", BASE, SOURCE, [(5, 5), *ANSWERS[1:]])
    refused("its vocabulary has 320", BASE, SOURCE, [(5, 320), *ANSWERS[1:]])
    refused("answer is empty", BASE, SOURCE, [("", 3), *ANSWERS[1:]])
    refused("2 groups for 3 pairs", BASE, SOURCE, ANSWERS, groups=["a", "b"])
    refused("Unknown attribution method 'best'", BASE, SOURCE, ANSWERS, method="best")
    refused("n_steps is 0", BASE, SOURCE, ANSWERS, n_steps=0)
    refused("3 base texts, 1 source", BASE, SOURCE, ANSWERS, null_source=SOURCE[:1])
    for verb in (attribute, exact):
        with pytest.raises(HookPointError):
            verb(llama, BASE, SOURCE, ANSWERS, points=["blocks.9.hook_resid_post"])
