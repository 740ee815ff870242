"""`HookedModel`: a language model whose activations can be read and edited by name."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens.errors import RemoteError
from virtuelens.models import chat, generate, matmul, packed, run, views
from virtuelens.models.chat import Encoded
from virtuelens.models.generate import Each, Generation, Piece
from virtuelens.models.packed import Packed
from virtuelens.models.points import Place
from virtuelens.models.prefix import Prefix, resumes
from virtuelens.models.run import Batch, Edit, Reads, Take
from virtuelens.models.traced import Trace, run_traced
from virtuelens.models.verify import Verification
from virtuelens.values.models import ModelInfo
from virtuelens.values.texts import Text


@final
@dataclass(frozen=True, eq=False)
class HookedModel:
    """A Hugging Face causal language model with TransformerLens hook points; made by `load_model`.

    hf: the transformers model, in evaluation mode, without gradients; never altered.
    verification: what was checked when it was loaded; None where that was switched off.
    trace: runs go through nnsight, here or on a server; None: through hooks of our own. Where the
        weights are on a server, only `run` (and what is built on it, like harvest) works.
    """

    info: ModelInfo
    hf: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    places: Mapping[str, Place] = field(repr=False)
    verification: Verification | None = field(default=None, repr=False)
    trace: Trace | None = field(default=None, repr=False)
    _standing: list[Edit] = field(default_factory=list, init=False, repr=False)

    def hook_points(self) -> tuple[str, ...]:
        """Names of all points that can be read and edited, in the order of execution."""
        return tuple(self.places)

    def encode(self, text: Text) -> Encoded:
        """Tokens of a text; see `virtuelens.models.chat` for template, BOS and boundary.

        Raises: TextTooLongError: longer than the context. TextError: empty or refused.
        """
        return chat.encode(
            self.tokenizer, text, n_ctx=self.info.n_ctx, d_vocab=self.info.d_vocab
        )

    def encode_each(self, texts: Sequence[Text], *, words: bool = True) -> Iterator[Encoded]:
        """`encode` of one text after the other, many times faster than one by one.

        words: without them `tokens` is empty and `spoken` None.

        Raises: as `encode`, when it comes to the text at fault.
        """
        return chat.encode_each(self.tokenizer, texts, n_ctx=self.info.n_ctx,
                                d_vocab=self.info.d_vocab, words=words)

    def batch(
        self, encoded: Sequence[Encoded], *, side: Literal["left", "right"] = "right"
    ) -> Batch:
        """The rows padded to equal length on one side, on the model's device."""
        device = torch.device("cpu") if self.hf.device.type == "meta" else self.hf.device
        return run.pad(encoded, side=side, device=device)

    def run(
        self,
        batch: Batch,
        *,
        read: Sequence[str] = (),
        edits: Sequence[Edit] = (),
        logits: bool = False,
        take: Take | None = None,
        after: Prefix | None = None,
        keep: bool = False,
    ) -> Reads:
        """Activations at the points of `read` (after the edits there), and logits if asked for.

        Stops after the last point read when no logits are wanted; padding is never edited.

        take: what to keep of each point's activations (called with point and activations); a
            copy of all by default.
        after: a prefix that the rows go on from, one row each; made by a run with `keep`.

        Raises: HookPointError: a point this model does not have.
        """
        edits = (*self._standing, *edits)
        if self.trace is not None:
            assert after is None, "nothing goes on from a prefix in a trace"
            assert not keep, "no prefix is kept in a trace"
            acts, found = run_traced(self.trace, self.places, batch, read=read, edits=edits,
                                     logits=logits, take=take)
            return Reads(acts, found)
        return run.run(
            self.hf, self.places, batch, read=read, edits=edits, logits=logits, take=take,
            after=after, keep=keep,
        )  # fmt: skip

    def run_packed(self, row: Packed, *, read: Sequence[str], take: Take) -> dict[str, Tensor]:
        """What `take` keeps of the activations `[1 n d_model]` of texts that stand end to end.

        Only where `packs` is true and no edits stand.

        Raises: HookPointError: a point this model does not have.
        """
        assert not self._standing, "edits are told of texts, a packed row has many"
        return packed.run_packed(self.hf, self.places, row, read=read, take=take)

    @property
    def matmul(self) -> str:
        """Which library multiplies its matrices: onednn or torch (see `matmul`), or remote."""
        if self.trace is not None:
            return "remote" if self.trace.remote is True else "torch"
        return matmul.library(self.hf)

    @property
    def edited(self) -> bool:
        """Whether edits stand (`editing`)."""
        return bool(self._standing)

    @cached_property
    def resumes(self) -> bool:
        """Whether rows may go on from a kept prefix in this architecture: tried, not assumed."""
        return self.trace is None and resumes(self.hf, self.places, list(self.places)[-1])

    @cached_property
    def packs(self) -> bool:
        """Whether texts may stand end to end in one row (`run_packed`): tried, not assumed."""
        return self.trace is None and packed.packs(self.hf, self.places, list(self.places)[-1])

    def logits_with_grad(
        self, batch: Batch, *, edits: Sequence[Edit] = ()
    ) -> Float[Tensor, "batch pos d_vocab"]:
        """Logits with gradients towards what the edits hold: for fitting a direction or subspace.

        Raises: HookPointError: a point this model does not have.
        """
        self._check_here("take gradients")
        edits = (*self._standing, *edits)
        return run.logits_with_grad(self.hf, self.places, batch, edits=edits)

    def generate(
        self,
        prompts: Text | str | Sequence[Text | str],
        *,
        max_new_tokens: int = 40,
        edits: Sequence[Edit] = (),
        read: Sequence[str] = (),
        temperature: float = 0.0,
        seed: int = 0,
        stop: Sequence[str] = (),
        top_k: int = 0,
        top_p: float = 1.0,
        each: Each | None = None,
    ) -> list[Generation]:
        """What the model says after each prompt; greedy at temperature 0, else sampled.

        prompts: one or several; a string is raw text, no chat template is put around it.
        each: called with every token as the model takes it in (`Taken`), with what `read` reads
            there; a true answer ends that row with the token chosen next.
        top_k, top_p: sample among the likeliest tokens only (0 and 1: among all).
        Edits act on the prompt and on every new token. A row's sample depends on `seed` and on
        its place in `prompts`, not on the rows beside it.

        Raises: TextTooLongError: prompt and `max_new_tokens` together exceed the context.
        NotFiniteError: the logits are not numbers. RemoteError: the weights are on a server.
        """
        self._check_here("generate")
        how = generate.Sampling(max_new_tokens, temperature, seed, tuple(stop), top_k, top_p)
        return generate.generate(
            self.hf, self.tokenizer, self.places, self._encoded(prompts),
            how=how, edits=(*self._standing, *edits), read=read, n_ctx=self.info.n_ctx, each=each,
        )  # fmt: skip

    def stream(
        self,
        prompts: Text | str | Sequence[Text | str],
        *,
        max_new_tokens: int = 40,
        edits: Sequence[Edit] = (),
        temperature: float = 0.0,
        seed: int = 0,
        stop: Sequence[str] = (),
        top_k: int = 0,
        top_p: float = 1.0,
    ) -> Iterator[Piece]:
        """The texts of `generate` piece by piece, as they come: place of the prompt, and news.

        All pieces of a row joined are the text that `generate` gives. Standing edits are those at
        the call. Giving it up half-way leaves nothing on the model.

        Raises: as `generate`, with the first piece.
        """
        self._check_here("generate")
        how = generate.Sampling(max_new_tokens, temperature, seed, tuple(stop), top_k, top_p)
        return generate.stream(
            self.hf, self.tokenizer, self.places, self._encoded(prompts),
            how=how, edits=(*self._standing, *edits), n_ctx=self.info.n_ctx,
        )  # fmt: skip

    def _encoded(self, prompts: Text | str | Sequence[Text | str]) -> list[Encoded]:
        given = [prompts] if isinstance(prompts, Text | str) else prompts
        return [self.encode(Text(raw=p) if isinstance(p, str) else p) for p in given]

    def _check_here(self, what: str) -> None:
        if self.hf.device.type == "meta":
            raise RemoteError(f"The weights of {self.info.name} are on a server, which can be read "
                              f"and edited in a run, but not made to {what}.")

    @contextlib.contextmanager
    def editing(self, edits: Sequence[Edit]) -> Iterator["HookedModel"]:
        """Apply `edits` in every run and generation of the body, before those given there.

        Nests; removed on every exit. Of this object only: views and other models are unaffected.
        """
        before = len(self._standing)
        self._standing.extend(edits)
        try:
            yield self
        finally:
            del self._standing[before:]

    @cached_property
    def bridge(self) -> Any:
        """A TransformerLens `TransformerBridge` over the same weights (not copied)."""
        return views.bridge(self.hf, self.tokenizer, self.info.name)

    @cached_property
    def nnsight(self) -> Any:
        """An nnsight `LanguageModel` over the same weights (not copied)."""
        return views.nnsight(self.hf, self.tokenizer)

    def random_copy(self, seed: int) -> "HookedModel":
        """The same architecture and tokenizer with weights freshly drawn by its own initialiser."""
        from virtuelens.models.load import randomised

        return randomised(self, seed)
