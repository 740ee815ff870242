"""How a model behaves on forced choices: log-probabilities of the choices, no judge.

Score of an item: log-probability of the target choice minus the best other choice, in nats, each
choice's tokens summed. Rate: the share of items on which the target choice wins.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens.values.texts import ChoiceItem

if TYPE_CHECKING:
    from virtuelens.models import HookedModel
    from virtuelens.models.chat import Encoded
    from virtuelens.models.run import Edit

Array = np.ndarray


@dataclass(frozen=True)
class Question:
    """A choice item as tokens, made once and scored under many edits.

    rows: one text to run per choice, or a single one where every choice is one token.
    """

    item: ChoiceItem
    rows: tuple["Encoded", ...]
    choice_ids: tuple[tuple[int, ...], ...]


def encode_items(model: "HookedModel", items: Sequence[ChoiceItem]) -> list[Question]:
    """Items as tokens for this model.

    Raises: TextTooLongError: an item does not fit the context.
    """
    questions = []
    for item in items:
        full = [model.encode(item.prompt.answered(choice)) for choice in item.choices]
        choice_ids = tuple(e.ids[e.prompt_length :] for e in full)
        heads = {e.ids[: e.prompt_length] for e in full}
        if all(len(ids) == 1 for ids in choice_ids) and len(heads) == 1:
            # one pass gives every choice's log-probability: the prompt alone is run
            prompt = model.encode(item.prompt)
            rows: tuple[Encoded, ...] = (prompt,)
        else:
            rows = tuple(full)
        questions.append(Question(item, rows, choice_ids))
    return questions


@torch.inference_mode()
def score_items(
    model: "HookedModel",
    questions: Sequence[Question],
    *,
    edits: Sequence["Edit"] = (),
    batch_tokens: int = 8192,
) -> Float[Array, " n"]:
    """Score of every item under the edits, in nats, in the order given."""
    jobs = [(q, r) for q in range(len(questions)) for r in range(len(questions[q].rows))]
    jobs.sort(key=lambda job: len(questions[job[0]].rows[job[1]].ids))
    found: dict[tuple[int, int], Float[Array, " c"] | float] = {}
    start = 0
    while start < len(jobs):
        stop = start + 1
        # rows are sorted by length: the next one sets the padded width
        while stop < len(jobs):
            q, r = jobs[stop]
            if (stop - start + 1) * len(questions[q].rows[r].ids) > batch_tokens:
                break
            stop += 1
        part = jobs[start:stop]
        batch = model.batch([questions[q].rows[r] for q, r in part], side="left")
        logits = model.run(batch, edits=edits, logits=True).logits
        assert logits is not None
        for i, (q, r) in enumerate(part):
            found[q, r] = _row_score(questions[q], r, logits[i])
        start = stop
    return np.array([_item_score(q, [found[i, r] for r in range(len(q.rows))])
                     for i, q in enumerate(questions)])


def _row_score(question: Question, row: int, logits: Tensor) -> "Float[Array, ' c'] | float":
    """All choices' log-probabilities (single-token case), or this row's choice's. Left padding."""
    if len(question.rows) == 1:
        logprobs = logits[-1].float().log_softmax(-1)
        return logprobs[[ids[0] for ids in question.choice_ids]].numpy(force=True)
    ids = question.choice_ids[row]
    logprobs = logits[-len(ids) - 1 : -1].float().log_softmax(-1)  # [k d_vocab]
    chosen = logprobs[torch.arange(len(ids)), torch.tensor(ids)]
    return float(chosen.sum())


def _item_score(question: Question, values: list) -> float:  # type: ignore[type-arg]
    logprobs = values[0] if len(question.rows) == 1 else np.array(values)
    target = question.item.target
    others = np.delete(logprobs, target)
    return float(logprobs[target] - others.max())

