"""How a model behaves on forced choices: log-probabilities of the choices, no judge.

Score of an item: log-probability of the target choice minus the best other choice, in nats, each
choice's tokens summed. Rate: the share of items on which the target choice wins.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens.models.chat import Encoded
from virtuelens.values.texts import ChoiceItem

if TYPE_CHECKING:
    from virtuelens.models import HookedModel
    from virtuelens.models.prefix import Prefix
    from virtuelens.models.run import Edit

Array = np.ndarray


@dataclass(frozen=True)
class Question:
    """A choice item as tokens, made once and scored under many edits.

    rows: one text to run per choice, or a single one where every choice is one token.
    """

    item: ChoiceItem
    rows: tuple[Encoded, ...]
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


def score_items(
    model: "HookedModel",
    questions: Sequence[Question],
    *,
    edits: Sequence["Edit"] = (),
    batch_tokens: int = 8192,
) -> Float[Array, " n"]:
    """Score of every item under the edits, in nats, in the order given."""
    scores: Float[Array, " n"] = score_each(model, questions, [edits], batch_tokens=batch_tokens)[0]
    return scores


def score_each(
    model: "HookedModel",
    questions: Sequence[Question],
    edits: Sequence[Sequence["Edit"]],
    *,
    spare_prompt: bool = False,
    batch_tokens: int = 8192,
    progress: Callable[[], None] = lambda: None,
) -> Float[Array, "k n"]:
    """Scores under each of `k` lists of edits, in nats; the rows are made ready once.

    spare_prompt: as in `choice_logprobs`.
    """
    found = choice_logprobs(model, questions, edits, spare_prompt=spare_prompt,
                            batch_tokens=batch_tokens, progress=progress)
    return np.array([[_item_score(q, logprobs)
                      for q, logprobs in zip(questions, of_list, strict=True)]
                     for of_list in found])


@torch.inference_mode()
def choice_logprobs(
    model: "HookedModel",
    questions: Sequence[Question],
    edits: Sequence[Sequence["Edit"]],
    *,
    spare_prompt: bool = False,
    batch_tokens: int = 8192,
    progress: Callable[[], None] = lambda: None,
) -> list[list[Float[Array, " _"]]]:
    """Log-probability of every choice under each list of edits, in nats, tokens summed.

    The rows are made ready once for all lists.

    spare_prompt: promise that no edit touches a token before the prompt's last: these are then run
        once for all lists (where the architecture allows it).
    """
    jobs = [(q, r) for q in range(len(questions)) for r in range(len(questions[q].rows))]
    jobs.sort(key=lambda job: len(questions[job[0]].rows[job[1]].ids))
    found = np.zeros((len(edits), len(questions), max((len(q.choice_ids) for q in questions),
                                                      default=0)))
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
        rows = [questions[q].rows[r] for q, r in part]
        prefix, cuts = _prompts(model, rows) if spare_prompt else (None, [0] * len(rows))
        batch = model.batch(
            [Encoded(e.ids[cut:], e.prompt_length, (), e.spoken)
             for e, cut in zip(rows, cuts, strict=True)]
        )
        for k, of_list in enumerate(edits):
            logits = model.run(batch, edits=of_list, logits=True, after=prefix).logits
            assert logits is not None
            for i, (q, r) in enumerate(part):
                _score_row(found[k, q], questions[q], r, logits[i], cuts[i])
            progress()
        start = stop
    return [[scores[i, : len(q.choice_ids)] for i, q in enumerate(questions)] for scores in found]


def _prompts(
    model: "HookedModel", rows: Sequence[Encoded]
) -> tuple["Prefix | None", list[int]]:
    """The rows' prompts but for their last token, run once; and where each row is cut."""
    cuts = [e.prompt_length - 1 for e in rows]
    if min(cuts) < 1 or not model.resumes:
        return None, [0] * len(rows)
    heads = [Encoded(e.ids[:cut], e.prompt_length, (), e.spoken)
             for e, cut in zip(rows, cuts, strict=True)]
    return model.run(model.batch(heads, side="left"), logits=True, keep=True).prefix, cuts


def _score_row(
    into: Float[Array, " c"], question: Question, row: int, logits: Tensor, cut: int
) -> None:
    """All choices' log-probabilities (single-token case), or this row's choice's.

    logits: of the row from its token `cut` on; padding follows.
    """
    first = question.rows[row].prompt_length - 1 - cut
    if len(question.rows) == 1:
        logprobs = logits[first].float().log_softmax(-1)
        ids = [ids[0] for ids in question.choice_ids]
        into[: len(ids)] = logprobs[ids].numpy(force=True)  # another item may have more choices
        return
    said = question.choice_ids[row]
    logprobs = logits[first : first + len(said)].float().log_softmax(-1)  # [k d_vocab]
    into[row] = float(logprobs[torch.arange(len(said)), torch.tensor(said)].sum())


def _item_score(question: Question, logprobs: Float[Array, " c"]) -> float:
    target = question.item.target
    others = np.delete(logprobs, target)
    return float(logprobs[target] - others.max())
