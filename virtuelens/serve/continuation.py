"""One continuation while it grows, token by token, under its own edits.

The prompt but its last token is run without the head; then one token at a time goes on from the
kept past (`HookedModel.run`). Greedy tokens are those of `HookedModel.generate`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens.errors import NotFiniteError
from virtuelens.models.chat import Encoded
from virtuelens.models.generate import Sampling

if TYPE_CHECKING:
    from virtuelens.models import HookedModel
    from virtuelens.models.prefix import Prefix
    from virtuelens.models.run import Edit
    from virtuelens.serve.readings import Reading

Finish = Literal["stop", "length"]
_UNFINISHED = "\ufffd"  # what a tokenizer shows for a character of which bytes are missing
_MOST_UNFINISHED = 3  # bytes of a character that still lacks one


@dataclass
class Continuation:
    """A prompt, and what has been said after it so far.

    finish: why it ended; None while it goes on.
    """

    model: "HookedModel"
    prompt: Encoded
    how: Sampling
    edits: Sequence["Edit"] = ()
    readings: Sequence["Reading"] = ()
    ids: list[int] = field(default_factory=list)
    finish: Finish | None = None
    _past: "Prefix | None" = None
    _sent: str = ""

    def __post_init__(self) -> None:
        self._generator = torch.Generator().manual_seed(self.how.seed)
        self._ends = end_ids(self.model)

    def step(self) -> str:
        """Go on by one token; what text is certain after it and was not before.

        Raises: NotFiniteError: the edits drive the model out of its numbers.
        """
        if self.ids:
            logits = self._run(self.ids[-1:])
        else:
            if len(self.prompt.ids) > 1:
                self._prefill(self.prompt.ids[:-1])
            logits = self._run(self.prompt.ids[-1:])
        token = choose(logits, self.how, self._generator)
        self.ids.append(token)
        if token in self._ends:
            self.finish = "stop"
        elif len(self.ids) >= self.how.max_new_tokens:
            self.finish = "length"
        return self._news()

    def _prefill(self, ids: Sequence[int]) -> None:
        last = self.model.hook_points()[-1]
        points = list(dict.fromkeys([*self._points(), last]))
        self._forward(ids, points, logits=False)

    def _run(self, ids: Sequence[int]) -> Float[Tensor, " d_vocab"]:
        found = self._forward(ids, self._points(), logits=True)
        assert found is not None
        return found[0, -1]

    def _points(self) -> list[str]:
        return list(dict.fromkeys(r.direction.point for r in self.readings))

    def _forward(self, ids: Sequence[int], points: list[str], *, logits: bool) -> Tensor | None:
        batch = self.model.batch([replace(self.prompt, ids=tuple(ids), tokens=())])
        reads = self.model.run(batch, read=points, edits=self.edits, logits=logits,
                               after=self._past, keep=True)
        self._past = reads.prefix
        for reading in self.readings:
            reading.take(reads.acts[reading.direction.point][0])
        return reads.logits

    def _news(self) -> str:
        text = self._text()
        found = [at for s in self.how.stop if (at := text.find(s)) >= 0]
        if found:
            text, self.finish = text[: min(found)], "stop"
        elif self.finish is None:
            text = text[: len(text) - _uncertain(text, self.how.stop)]
        news = text[len(self._sent) :]
        self._sent += news
        return news

    def _text(self) -> str:
        """The continuation as it follows the prompt: its own leading space included."""
        lead = list(self.prompt.ids[-4:])
        before, whole = (
            str(self.model.tokenizer.decode(
                ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
            for ids in (lead, lead + self.ids)
        )
        return whole.removeprefix(before)


def choose(
    logits: Float[Tensor, " d_vocab"], how: Sampling, generator: torch.Generator
) -> int:
    """The next token.

    Raises: NotFiniteError: no token has a likelihood.
    """
    if bool(torch.isnan(logits).any()):
        raise NotFiniteError("The model's logits are not numbers under this steer: lower its "
                             "strength.")
    if how.temperature <= 0:
        return int(logits.argmax())
    probs = (logits.float().cpu() / how.temperature).softmax(-1)
    if how.top_p < 1 or how.top_k:
        ranked, order = probs.sort(descending=True)
        kept = ranked.cumsum(-1) - ranked < how.top_p  # the first always
        kept[how.top_k or len(kept) :] = False
        probs = torch.zeros_like(probs).scatter(0, order[kept], ranked[kept])
    return int(torch.multinomial(probs, 1, generator=generator))


def end_ids(model: "HookedModel") -> frozenset[int]:
    """The tokens that end a continuation: the checkpoint's, else the tokenizer's."""
    config = getattr(model.hf, "generation_config", None)
    ends: Any = getattr(config, "eos_token_id", None)
    if ends is None:
        ends = model.tokenizer.eos_token_id
    if ends is None:
        return frozenset()
    return frozenset([ends] if isinstance(ends, int) else ends)


def _uncertain(text: str, stop: Sequence[str]) -> int:
    """Characters at the end that what follows may change: half a stop string, half a character."""
    half = max((n for s in stop for n in range(1, min(len(s), len(text) + 1))
                if text.endswith(s[:n])), default=0)
    return max(half, min(_MOST_UNFINISHED, len(text) - len(text.rstrip(_UNFINISHED))))
