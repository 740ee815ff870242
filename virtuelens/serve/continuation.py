"""One continuation while it grows, token by token, under its own edits.

The prompt but its last token is run without the head; then one token at a time goes on from the
kept past (`HookedModel.run`). Greedy tokens are those of `HookedModel.generate`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens.models.chat import Encoded
from virtuelens.models.generate import Sampling, choose, cut, end_ids, new_text, settled

if TYPE_CHECKING:
    from virtuelens.models import HookedModel
    from virtuelens.models.prefix import Prefix
    from virtuelens.models.run import Edit
    from virtuelens.serve.readings import Reading

Finish = Literal["stop", "length"]


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
        self._ends = end_ids(self.model.hf, self.model.tokenizer)

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
        (token,) = choose(logits, [self._generator], self.how)
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

    def _run(self, ids: Sequence[int]) -> Float[Tensor, "1 d_vocab"]:
        found = self._forward(ids, self._points(), logits=True)
        assert found is not None
        return found[:, -1]

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
        whole = self._text()
        text = cut(whole, self.how.stop)
        if len(text) < len(whole):
            self.finish = "stop"
        elif self.finish is None:
            text = text[: settled(text, self.how.stop, self._text)]
        news = text[len(self._sent) :]
        self._sent += news
        return news

    def _text(self, tokens_ago: int = 0) -> str:
        return new_text(self.model.tokenizer, self.prompt, self.ids[: -tokens_ago or None])
