"""Forced choices are scored by the model's own log-probabilities."""

import numpy as np
import pytest
import torch

from tests.steering.conftest import PROMPTS, choices
from virtuelens.errors import TextTooLongError
from virtuelens.models import HookedModel
from virtuelens.steering.behaviour import encode_items, score_each, score_items
from virtuelens.steering.edits import Add
from virtuelens.values.texts import ChoiceItem, Message, Text


def by_hand(model: HookedModel, item: ChoiceItem) -> float:
    """Log-probability of the target minus the best other, with transformers alone."""
    totals = []
    for choice in item.choices:
        e = model.encode(item.prompt.answered(choice))
        logits = model.hf(input_ids=torch.tensor([e.ids])).logits[0].log_softmax(-1)
        totals.append(sum(float(logits[t - 1, e.ids[t]].detach())
                          for t in range(e.prompt_length, len(e.ids))))
    target = totals.pop(item.target)
    return target - max(totals)


@pytest.mark.parametrize("options", [(" yes", " no"), ("y", "n"), ("good", "a bad one", "tree")])
def test_scores_are_transformers_log_probabilities(
    llama: HookedModel, options: tuple[str, ...]
) -> None:
    """Choices of one token and of several, two and three of them."""
    items = choices(options)
    found = score_items(llama, encode_items(llama, items))
    assert found == pytest.approx([by_hand(llama, i) for i in items], abs=1e-4)


def test_one_token_choices_need_one_row(llama: HookedModel) -> None:
    """The prompt is run once for all choices of one token, per choice otherwise."""
    assert [len(q.rows) for q in encode_items(llama, choices(("y", "n")))] == [1] * len(PROMPTS)
    assert [len(q.rows) for q in encode_items(llama, choices(("yes", "no never")))] == [2] * 4


def test_batching_and_order_do_not_matter(llama: HookedModel) -> None:
    """Small batches, one batch, and any order give the same scores."""
    questions = encode_items(llama, choices((" yes", " no never")))
    whole = score_items(llama, questions)
    small = score_items(llama, questions, batch_tokens=30)
    turned = score_items(llama, questions[::-1])
    assert whole == pytest.approx(small, abs=1e-4)
    assert whole == pytest.approx(turned[::-1], abs=1e-4)


def test_swapping_the_target_turns_the_sign(llama: HookedModel) -> None:
    """With two choices the score is antisymmetric."""
    items = choices((" yes", " no"))
    turned = [ChoiceItem(i.id, i.group, i.prompt, i.choices, 1) for i in items]
    a, b = (score_items(llama, encode_items(llama, x)) for x in (items, turned))
    assert a == pytest.approx(-b, abs=1e-5)
    assert np.abs(a).max() > 0


def test_an_item_beyond_the_context_is_refused(llama: HookedModel) -> None:
    """Nothing is cut in silence."""
    long = Text(messages=(Message("user", "small bird " * 200),))
    with pytest.raises(TextTooLongError):
        encode_items(llama, [ChoiceItem("long", "g", long, ("y", "n"), 0)])


@pytest.mark.parametrize("options", [(" yes", " no"), ("good", "a bad one", "tree")])
def test_running_the_prompts_once_gives_the_same_scores(
    llama: HookedModel, options: tuple[str, ...]
) -> None:
    """Edits from the prompt's last token on: with the prompts spared and without."""
    questions = encode_items(llama, choices(options))
    vector = torch.randn(llama.info.d_model, generator=torch.Generator().manual_seed(0))
    edits = [[], *([Add("blocks.1.hook_resid_post", size * vector, "from_last_prompt")]
                   for size in (-1.0, 2.0))]
    spared = score_each(llama, questions, edits, spare_prompt=True, batch_tokens=40)
    whole = np.stack([score_items(llama, questions, edits=e) for e in edits])
    assert spared == pytest.approx(whole, abs=1e-4)
    assert np.abs(whole[1] - whole[2]).min() > 1e-3


def test_items_may_have_different_numbers_of_choices(llama: HookedModel) -> None:
    """Two beside three, of one token and of several: each is scored as it is alone."""
    items = [c for options in (("y", "n"), ("y", "n", "t"), ("yes", "no never"))
             for c in choices(options)]
    found = score_items(llama, encode_items(llama, items))
    assert found == pytest.approx([by_hand(llama, i) for i in items], abs=1e-4)
