"""Edits and penalties while the transformers Trainer fine-tunes a model.

    Trainer(model=model.hf, ..., callbacks=[WhileTraining(model, [Hold(direction, -1, 1)])])

Preventive steering: `add(direction, strength=...)` towards what the data teach, so that the weights
need not move there; the edit is gone when training ends. Edits stand in training passes only:
evaluation and generation in between see the plain model.

Source: preventive steering, Chen et al. 2025 (persona vectors), arXiv:2507.21509.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from virtuelens.errors import SteeringError
from virtuelens.models.run import Edit, Seen, hooks
from virtuelens.steering.training import Hold

if TYPE_CHECKING:
    from virtuelens.models import HookedModel

UNLABELLED = -100
"""Label of tokens that the loss leaves out: where it stands at the beginning is the prompt."""


@contextlib.contextmanager
def while_training(model: "HookedModel", edits: Sequence[Edit]) -> Iterator[None]:
    """Apply the edits in every pass of `model.hf` in training mode, with gradients through them.

    A row's tokens are those of its attention mask; its prompt goes up to the first label.
    Every hook is removed on every exit.
    """
    open_: list[contextlib.ExitStack] = []

    def enter(hf: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not hf.training:
            return
        stack = contextlib.ExitStack()
        open_.append(stack)
        stack.enter_context(
            hooks(hf, model.places, _seen(args, kwargs), read=(), edits=edits, into={})
        )

    def leave(hf: Any, args: Any, out: Any) -> None:  # noqa: ARG001
        if open_:
            open_.pop().close()

    handles = [model.hf.register_forward_pre_hook(enter, with_kwargs=True),
               model.hf.register_forward_hook(leave, always_call=True)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        while open_:
            open_.pop().close()


class WhileTraining(TrainerCallback):  # type: ignore[misc]  # transformers is not followed by mypy
    """Holds and steers from the first step of a Trainer to its last.

    model: its `hf` is what the Trainer trains.

    Raises (when training begins): SteeringError: with fp16, whose loss is scaled while a penalty is
    not (bf16 is fine), with gradient checkpointing, which runs blocks again without the edits, with
    several GPUs in one process, whose passes share their hooks, or with label smoothing and an edit
    of some tokens only: it takes the labels away, which say where an answer begins.
    """

    def __init__(self, model: "HookedModel", edits: Sequence[Edit]) -> None:
        self._model = model
        self._edits = tuple(edits)
        self._standing = contextlib.ExitStack()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Put the edits on."""
        if wrong := [what for what, is_on in self._wrong(args).items() if is_on]:
            raise SteeringError(f"Edits while training do not go with {wrong[0]}: switch it off.")
        if kwargs.get("model") is not self._model.hf:
            raise SteeringError("The Trainer trains another model than the edits are for: give "
                                "WhileTraining the HookedModel whose hf is trained.")
        # the Trainer adds up the gradients of several passes: their penalties shall average
        share = 1 / args.gradient_accumulation_steps
        self._standing.close()  # of a training that broke off
        edits = [replace(e, weight=e.weight * share) if isinstance(e, Hold) else e
                 for e in self._edits]
        self._standing.enter_context(while_training(self._model, edits))

    def _wrong(self, args: Any) -> dict[str, bool]:
        parts = self._model.hf.modules()
        in_part = any(getattr(e, "where", "all") != "all" for e in self._edits)
        return {
            "fp16 (use bf16)": args.fp16,
            # the model may have it switched on by itself
            "gradient checkpointing": args.gradient_checkpointing or any(
                getattr(m, "gradient_checkpointing", False) for m in parts),
            "several GPUs in one process (show it one, or start it with torchrun)": args.n_gpu > 1,
            "label smoothing where they act on some tokens only":
                args.label_smoothing_factor > 0 and in_part,
        }

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Take them off."""
        self._standing.close()


def _seen(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Seen:
    """What the edits may know of a batch as the Trainer gives it."""
    tokens: Tensor = args[0] if args else kwargs["input_ids"]
    mask, labels = kwargs.get("attention_mask"), kwargs.get("labels")
    real = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask.bool()
    index = (real.long().cumsum(-1) - 1).clamp(min=0)  # [batch pos]
    length = real.sum(-1)
    if labels is not None:
        labelled = (labels != UNLABELLED) & real
        before = (real & (labelled.long().cumsum(-1) == 0)).sum(-1)
        length = torch.where(labelled.any(-1), before, length)
    return Seen(real, index, length)
