"""What an edit does where it should do nothing: KL divergence on neutral text, per token."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens.errors import SteeringError, TextTooLongError
from virtuelens.values.texts import Text

if TYPE_CHECKING:
    from virtuelens.models import HookedModel
    from virtuelens.models.run import Batch, Edit

KL_BUDGET = 1.0
"""Nats at the 95th percentile of tokens: the iso-KL dose unit of the steering-lite protocol."""


@dataclass(frozen=True)
class Neutral:
    """Neutral texts with what the unedited model predicts on them, computed once.

    logprobs: one `[n_real d_vocab]` tensor per batch; n_real is each batch's own.
    left_out: texts that do not fit the model's context.
    """

    batches: tuple["Batch", ...]
    logprobs: tuple[Float[Tensor, "_ d_vocab"], ...]
    left_out: int = 0


@dataclass(frozen=True)
class SideEffect:
    """KL(unedited || edited) over the tokens of neutral text, in nats.

    perplexity: of the edited model on these texts, as a multiple of the unedited one's.
    Infinite where the edited model's predictions are no numbers: beyond every budget.
    """

    kl_mean: float
    kl_p95: float
    n: int
    perplexity: float = 1.0


@torch.inference_mode()
def read_neutral(
    model: "HookedModel", texts: Sequence[Text], *, max_tokens: int = 1500, batch_rows: int = 32
) -> Neutral:
    """The unedited model's predictions on whole neutral texts, up to about `max_tokens` tokens.

    Raises: SteeringError: none of them fits the model's context.
    """
    encoded, total, left_out = [], 0, 0
    for text in texts:
        try:
            e = model.encode(text)
        except TextTooLongError:
            left_out += 1  # counted and reported: side effects are measured on the others
            continue
        if total and total + len(e.ids) > max_tokens:
            break
        encoded.append(e)
        total += len(e.ids)
    if not encoded:
        raise SteeringError(
            f"None of {len(texts)} neutral texts fits the context of {model.info.n_ctx} tokens: "
            f"put shorter ones into neutral/{model.info.dialect}.jsonl in a folder probes/, and "
            "the folder above it into VIRTUELENS_PATH."
        )
    encoded.sort(key=lambda e: len(e.ids))
    batches = tuple(
        model.batch(encoded[i : i + batch_rows], side="right")
        for i in range(0, len(encoded), batch_rows)
    )
    return Neutral(batches, tuple(_logprobs(model, batch, ()) for batch in batches), left_out)


@torch.inference_mode()
def side_effect(model: "HookedModel", neutral: Neutral, edits: Sequence["Edit"]) -> SideEffect:
    """KL of the edited model from the unedited one on every token of the neutral texts."""
    parts, rises = [], []
    for batch, clean in zip(neutral.batches, neutral.logprobs, strict=True):
        edited = _logprobs(model, batch, edits)
        parts.append((clean.exp() * (clean - edited)).sum(-1))
        rises.append(_of_next(batch, clean - edited))
    kl = torch.cat(parts).clamp(min=0)
    perplexity = torch.cat(rises).mean().exp() if sum(map(len, rises)) else torch.ones(())
    mean, p95, times = (_or_infinite(x) for x in (kl.mean(), kl.quantile(0.95), perplexity))
    return SideEffect(mean, p95, len(kl), times)


def _or_infinite(value: Float[Tensor, ""]) -> float:
    # `max` over both signs would lose a NaN that comes second, and every budget lets one through
    return math.inf if value.isnan() else float(value)


def _of_next(batch: "Batch", values: Float[Tensor, "n d_vocab"]) -> Float[Tensor, " m"]:
    """The entry of the token that follows, at every real token that one follows."""
    follows = batch.real & batch.real.roll(-1, dims=1)
    follows[:, -1] = False
    chosen: Tensor = values[follows[batch.real]]
    return chosen.gather(-1, batch.tokens.roll(-1, dims=1)[follows][:, None])[:, 0]


def largest_dose(
    kl_p95: Callable[[float], float], *, cap: float, budget: float = KL_BUDGET, n_steps: int = 6
) -> float:
    """The largest dose up to `cap` whose KL (the worse sign) stays within the budget.

    kl_p95: dose -> 95th percentile of KL in nats, of the worse sign.
    Found by a secant search on the square-root law (KL grows with the square of a small dose);
    0.0 where even a thousandth of the cap is over budget.
    """
    low, high, dose = 0.0, cap, cap
    for _ in range(n_steps):
        kl = kl_p95(dose)
        if kl <= budget:
            low = dose
            if dose >= cap or kl > 0.8 * budget:
                break
        else:
            high = dose
        guess = dose * (0.9 * budget / max(kl, 1e-9)) ** 0.5
        # keep the search inside the bracket, and never creep towards one end of it
        width = high - low
        dose = min(max(guess, low + 0.1 * width), high - 0.1 * width)
        if dose < cap / 1000:
            break
    return low


def _logprobs(model: "HookedModel", batch: "Batch", edits: Sequence["Edit"]) -> Tensor:
    logits = model.run(batch, edits=edits, logits=True).logits
    assert logits is not None
    return logits[batch.real].float().log_softmax(-1)
