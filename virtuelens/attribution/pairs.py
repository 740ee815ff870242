"""Base and source texts as tokens that stand under each other, with the two answers compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from virtuelens.errors import AttributionError
from virtuelens.values.texts import Text

if TYPE_CHECKING:
    from virtuelens.models import Encoded, HookedModel

Answers = Sequence[tuple[int | str, int | str]]


@dataclass(frozen=True)
class Pairs:
    """Encoded prompts: token k of a base and token k of its source are one place.

    answers: ids of what is said if the source's cause holds, and of what the base says.
    """

    base: tuple["Encoded", ...]
    source: tuple["Encoded", ...]
    answers: Int[Tensor, "pair 2"]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each pair's prompts."""
        return [len(e.ids) for e in self.base]

    def metric(
        self, logits: Float[Tensor, "row d_vocab"], rows: Sequence[int]
    ) -> Float[Tensor, " row"]:
        """Logit of the first answer minus logit of the second (fp32).

        rows: the pair that each row of logits belongs to.
        """
        first, second = self.answers[list(rows)].to(logits.device).T
        row = torch.arange(len(logits), device=logits.device)
        return logits[row, first].float() - logits[row, second].float()


def encode_pairs(
    model: "HookedModel", base: Sequence[Text], source: Sequence[Text], answers: Answers
) -> Pairs:
    """The prompts of both texts; a response is left out, since nothing in it reaches the metric.

    answers: token ids, or text, of which the first token counts as it follows the base's prompt.

    Raises: AttributionError: lists of unequal length, prompts of unequal length in a pair, or
    answers that begin with the same token. TextTooLongError, TextError.
    """
    sizes = (len(base), len(source), len(answers))
    if len(set(sizes)) > 1 or not base:
        raise AttributionError(
            "{} base texts, {} source texts and {} pairs of answers: give as many of each, at "
            "least one.".format(*sizes)
        )
    asked = [_prompt(text) for text in base]
    given = [_prompt(text) for text in source]
    encoded = Pairs(
        tuple(model.encode(text) for text in asked),
        tuple(model.encode(text) for text in given),
        torch.tensor([[_id(model, text, a) for a in pair]
                      for text, pair in zip(asked, answers, strict=True)]),
    )
    for i, (b, s) in enumerate(zip(encoded.base, encoded.source, strict=True)):
        if len(b.ids) != len(s.ids):
            raise AttributionError(
                f"Pair {i}: the base has {len(b.ids)} tokens and the source {len(s.ids)}. Tokens "
                "are compared place by place: word the two so that they come out equally long."
            )
    for i, (first, second) in enumerate(encoded.answers.tolist()):
        if first == second:
            raise AttributionError(
                f"Pair {i}: both answers ({answers[i][0]!r}, {answers[i][1]!r}) begin with token "
                f"{first}, so that their difference is always 0: give answers that begin apart."
            )
    return encoded


def _prompt(text: Text) -> Text:
    if text.response is None:
        return text
    return Text(raw=text.raw) if text.raw is not None else Text(messages=text.prompt_messages)


def _id(model: "HookedModel", prompt: Text, answer: int | str) -> int:
    if isinstance(answer, int):
        if not 0 <= answer < model.info.d_vocab:
            raise AttributionError(
                f"Answer {answer} is no token of this model: its vocabulary has "
                f"{model.info.d_vocab}. Give an id below that, or the answer's text."
            )
        return answer
    e = model.encode(prompt.answered(answer))
    if len(e.ids) == e.prompt_length:
        raise AttributionError("An answer is empty: give at least one character.")
    return e.ids[e.prompt_length]
