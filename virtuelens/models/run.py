"""One primitive: run the model, reading some hook points and editing others, then stop.

1. Every point that is read or edited gets one plain PyTorch hook, in the order of execution.
2. A hook applies the point's edits in the order given; padding keeps its activations whatever an
   edit returns; then, if the point is read, the result is copied.
3. When no logits are asked for, only the base model runs (no `lm_head`), and it stops by an
   exception as soon as the last point is read.
4. Hooks are removed on every exit; nothing is kept on modules or classes.
5. Rows may go on from a prefix that was run before (`after`): then its tokens are not run again.

`resid_mid` is special: it is read where the second norm takes it in, but a change there would
reach the MLP only (as it does in TransformerBridge). So an edit of it is added to what attention
writes, which moves the residual stream itself.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Literal, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from virtuelens.errors import HookPointError, NotFiniteError, SteeringError
from virtuelens.models.chat import Encoded, Spoken
from virtuelens.models.matmul import fast_matmul
from virtuelens.models.points import Place
from virtuelens.models.prefix import Prefix, empty_cache, fresh


@dataclass(frozen=True)
class Seen:
    """What an edit may know about the tokens it is given.

    real: False on padding.
    index: place of the token in its row's text: 0 at the first real token, going on through the
        KV cache in generation; meaningless on padding.
    prompt_length: tokens before the response, per row.
    spoken: per row, who says which tokens of the prompt; None where unknown.
    elsewhere: activations of this very pass at the points that edits look at (`looks_at`).
    """

    real: Bool[Tensor, "batch pos"]
    index: Int[Tensor, "batch pos"]
    prompt_length: Int[Tensor, " batch"]
    spoken: tuple[tuple[Spoken, ...] | None, ...] = ()
    elsewhere: Mapping[str, Tensor] = field(default_factory=dict)


@runtime_checkable
class Edit(Protocol):
    """A change of the activations at one hook point; any frozen object of this shape serves.

    One with an attribute `looks_at` (hook points, each before its own) finds their activations of
    the same pass in `seen.elsewhere`.
    """

    @property
    def point(self) -> str:
        """The hook point that is changed."""
        ...

    def __call__(
        self, acts: Float[Tensor, "batch pos d_model"], seen: Seen
    ) -> Float[Tensor, "batch pos d_model"]:
        """The changed activations; `acts` may be written to and returned."""
        ...


@dataclass(frozen=True)
class Batch:
    """Padded token rows. `real` is False on padding, which may stand on either side.

    prompt_length: tokens before the response, per row (padding not counted).
    spoken: per row, who says which tokens of the prompt; None where unknown.
    padded: the side of the padding, where it is known without asking the device.
    """

    tokens: Int[Tensor, "batch pos"]
    real: Bool[Tensor, "batch pos"]
    prompt_length: Int[Tensor, " batch"]
    spoken: tuple[tuple[Spoken, ...] | None, ...] = ()
    padded: Literal["left", "right"] | None = None

    @property
    def seen(self) -> Seen:
        """The batch as edits see it."""
        return self.seen_after(None)

    def seen_after(self, prefix: Prefix | None) -> Seen:
        """The same where rows go on from a prefix: places count from the start of the text."""
        index = (self.real.long().cumsum(-1) - 1).clamp(min=0)  # [batch pos]
        if prefix is not None:
            index = index + prefix.length[:, None]
        return Seen(self.real, index, self.prompt_length, self.spoken)


def pad(
    encoded: Sequence[Encoded], *, side: Literal["left", "right"], device: torch.device
) -> Batch:
    """The rows padded to equal length on one side."""
    lengths = np.array([len(e.ids) for e in encoded], dtype=np.int64)
    width = int(lengths.max(initial=0))
    real = np.arange(width) < lengths[:, None]
    if side == "left":
        real = real[:, ::-1].copy()
    tokens = np.zeros(real.shape, dtype=np.int64)  # padding: any id will do
    tokens[real] = np.fromiter(chain.from_iterable(e.ids for e in encoded), np.int64)
    prompt_length = np.array([e.prompt_length for e in encoded], dtype=np.int64)
    there = [to_device(torch.from_numpy(x), device) for x in (tokens, real, prompt_length)]
    return Batch(there[0], there[1], there[2], tuple(e.spoken for e in encoded), side)


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """`x` there; a GPU fetches it when it gets there, without being waited for."""
    if device.type != "cuda":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)


@dataclass(frozen=True)
class Reads:
    """What a run gave: activations in the batch's padded coordinates, and logits if asked for.

    acts: what `take` made of them, where it was given.
    prefix: the rows as a prefix to go on from, if kept.
    """

    acts: Mapping[str, Float[Tensor, "batch pos d_model"]]
    logits: Float[Tensor, "batch pos d_vocab"] | None
    prefix: Prefix | None = None


Take = Callable[[str, Tensor], Tensor]
"""Hook point and `[batch pos d_model]` -> what is kept of it; must not keep a view of it."""


@torch.no_grad()
def run(
    hf: nn.Module,
    places: Mapping[str, Place],
    batch: Batch,
    *,
    read: Sequence[str] = (),
    edits: Sequence[Edit] = (),
    logits: bool = False,
    take: Take | None = None,
    after: Prefix | None = None,
    keep: bool = False,
) -> Reads:
    """Activations at the points of `read`, after the edits there; logits when asked for.

    The activations are ordinary tensors (usable under autograd), not views of the model's own.

    take: what to keep of each point's activations, instead of a copy of all.
    after: what the rows go on from, row by row.
    keep: give back the rows' past, as a prefix for others. Layers above the last point read did
        not run, unless logits were asked for: go on no further than that.

    Raises: HookPointError: a point the model does not have. SteeringError: an edit that returned
    another shape.
    """
    acts: dict[str, Tensor] = {}
    if not read and not logits:
        return Reads(acts, None)
    seen = batch.seen_after(after)
    body = hf if logits else base_model(hf)
    inputs = _inputs(body, batch, seen, after)
    cache = None
    if after is not None or keep:
        cache = inputs["past_key_values"] = fresh(after.cache) if after else empty_cache(hf)
    wanted = None if logits else len(set(read))
    on = hooks(hf, places, seen, read=read, edits=edits, into=acts, stop_after=wanted, take=take)
    out = None
    with torch.inference_mode(), fast_matmul(hf), on, contextlib.suppress(AllRead):
        out = body(**inputs, use_cache=cache is not None, return_dict=True)
    check_all_read(read, acts)
    real = batch.real if after is None else torch.cat([after.real, batch.real], -1)
    prefix = Prefix(cache, real) if keep else None
    found = None
    if logits:
        assert out is not None
        found = out.logits.clone()  # outside inference mode: an ordinary tensor
    return Reads(acts, found, prefix)


def logits_with_grad(
    hf: nn.Module, places: Mapping[str, Place], batch: Batch, *, edits: Sequence[Edit]
) -> Float[Tensor, "batch pos d_vocab"]:
    """Logits under edits, with gradients towards whatever the edits hold that wants them.

    The model's own weights get none.
    """
    seen = batch.seen
    with torch.enable_grad(), hooks(hf, places, seen, read=(), edits=edits, into={}):
        out = hf(**_inputs(hf, batch, seen, None), use_cache=False, return_dict=True)
    logits: Tensor = out.logits
    return logits


def base_model(hf: nn.Module) -> nn.Module:
    """The model without its language-modelling head (itself, where it has no such part)."""
    body = getattr(hf, getattr(hf, "base_model_prefix", "") or "", None)
    return body if isinstance(body, nn.Module) else hf


def check_finite(acts: Float[Tensor, "batch pos d_model"], point: str, batch: Batch) -> None:
    """Raise unless the activations of all real tokens are finite: one pass, no copy when they are.

    Raises: NotFiniteError: naming the point and the row.
    """
    per_row = torch.isfinite(acts).all(-1) | ~batch.real.to(acts.device)  # [batch pos]
    if not per_row.all():
        row = int((~per_row).any(-1).nonzero()[0])
        raise NotFiniteError(
            f"NaN or infinity at {point}, row {row} of the batch: the model overflows there. "
            "Load it in another precision (dtype='float32'), or check its weights."
        )


_NAMES: WeakKeyDictionary[Any, frozenset[str]] = WeakKeyDictionary()
"""Parameters of the forwards met so far: looking takes as long as a layer of a small model."""


def accepted(forward: Callable[..., Any], **inputs: Any) -> dict[str, Any]:
    """Those of `inputs` that the forward names as parameters."""
    function = getattr(forward, "__func__", forward)  # a bound method is made anew at every look
    names = _NAMES.get(function)
    if names is None:
        names = _NAMES[function] = frozenset(inspect.signature(forward).parameters)
    return {k: v for k, v in inputs.items() if k in names}


def _inputs(body: nn.Module, batch: Batch, seen: Seen, after: Prefix | None) -> dict[str, Any]:
    real = batch.real if after is None else torch.cat([after.real, batch.real], -1)
    if after is None and (batch.padded == "right" or _padding_follows(real)):
        # causality alone hides the padding and positions count from 0, so neither mask nor
        # positions are given: attention then takes its fast path
        return {"input_ids": batch.tokens}
    positions = accepted(body.forward, position_ids=seen.index)
    return {"input_ids": batch.tokens, "attention_mask": real.long(), **positions}


def _padding_follows(real: Bool[Tensor, "batch pos"]) -> bool:
    return bool((real[:, :-1] >= real[:, 1:]).all())


class AllRead(BaseException):
    """Ends a forward whose last point has been read (no `except Exception` may swallow it)."""


@contextlib.contextmanager
def hooks(
    hf: nn.Module,
    places: Mapping[str, Place],
    seen: Seen,
    *,
    read: Sequence[str],
    edits: Sequence[Edit],
    into: dict[str, Tensor],
    stop_after: int | None = None,
    take: Take | None = None,
) -> Iterator[None]:
    """Put the hooks on for the body: what is read is stored in `into`.

    stop_after: raise the stopping exception when that many points are stored.
    take: what is stored of them; a copy of all by default.
    """
    by_point: dict[str, list[Edit]] = {}
    for edit in edits:
        by_point.setdefault(edit.point, []).append(edit)
    looked_at = _looked_at(edits, places)
    for point in (*read, *by_point, *looked_at):
        if point not in places:
            raise HookPointError(_unknown_point(point, places))
    elsewhere: dict[str, Tensor] = {}
    if looked_at:
        seen = replace(seen, elsewhere=elsewhere)

    def keep(point: str, acts: Tensor) -> None:
        with torch.inference_mode(mode=False):
            into[point] = acts.clone() if take is None else take(point, acts)
        if stop_after is not None and len(into) == stop_after:
            raise AllRead

    def visit(point: str) -> Callable[[Tensor], Tensor]:
        # resid_mid's edits are made upstream, where attention writes
        mine = [] if places[point].writer else by_point.get(point, [])
        reads = point in read

        def at_point(acts: Tensor) -> Tensor:
            acts = alter(acts, mine, seen)
            if point in looked_at:
                elsewhere[point] = acts
            if reads:
                keep(point, acts)
            return acts

        return at_point

    handles: list[RemovableHandle] = []
    try:
        for point, place in places.items():  # in the order of execution
            edited_here = point in by_point and not place.writer
            if point in read or point in looked_at or edited_here:
                handles.append(_hook(hf, place, visit(point)))
            if point in by_point and place.writer:
                handles += _hook_stream(hf, place, by_point[point], seen)
        yield
    finally:
        for handle in handles:
            handle.remove()


def _looked_at(edits: Sequence[Edit], places: Mapping[str, Place]) -> set[str]:
    """Points that edits look at; each must run before the point that is edited.

    Raises: SteeringError: it runs later.
    """
    order = {point: i for i, point in enumerate(places)}
    found = set()
    for edit in edits:
        for point in getattr(edit, "looks_at", ()):
            if order.get(point, -1) >= order.get(edit.point, len(order)):
                raise SteeringError(
                    f"An edit at {edit.point} looks at {point}, which is not before it: look at "
                    "an earlier point, or edit a later one."
                )
            found.add(point)
    return found


def _hook(hf: nn.Module, place: Place, visit: Callable[[Tensor], Tensor]) -> RemovableHandle:
    """Let `visit` see, and possibly replace, the tensor at that place."""
    module = hf.get_submodule(place.module)
    if place.side == "in":
        return module.register_forward_pre_hook(
            lambda _, args, kwargs: _replace_input(args, kwargs, visit), with_kwargs=True
        )
    return module.register_forward_hook(lambda _, __, out: _replace_output(out, visit))


def _hook_stream(
    hf: nn.Module, place: Place, edits: Sequence[Edit], seen: Seen
) -> list[RemovableHandle]:
    """Edit the sum of a block's input and what its attention writes, by changing what it writes."""
    assert place.block is not None
    assert place.writer is not None
    entered: list[Tensor] = []

    def remember(acts: Tensor) -> Tensor:
        entered[:] = [acts]
        return acts

    def write(out: Tensor) -> Tensor:
        mid = entered.pop().to(out.device) + out
        change = alter(mid, edits, seen) - mid
        return torch.where(change != 0, out + change, out)

    return [_hook(hf, place.block, remember), _hook(hf, place.writer, write)]


def alter(acts: Tensor, edits: Sequence[Edit], seen: Seen) -> Tensor:
    """One edit after the other; padding stays as it is.

    Raises: SteeringError: an edit returned another shape.
    """
    for edit in edits:
        new = edit(acts.clone(), seen)  # one that writes in place shall not reach the padding
        if new.shape != acts.shape:
            raise SteeringError(
                f"An edit at {edit.point} returned shape {tuple(new.shape)}, expected "
                f"{tuple(acts.shape)}: return the whole tensor, changed where you want it."
            )
        acts = torch.where(seen.real.to(acts.device)[..., None], new.to(acts), acts)
    return acts


def _replace_input(
    args: tuple[Any, ...], kwargs: dict[str, Any], visit: Callable[[Tensor], Tensor]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if args:
        return (visit(args[0]), *args[1:]), kwargs
    name = "hidden_states" if "hidden_states" in kwargs else next(iter(kwargs))
    return args, kwargs | {name: visit(kwargs[name])}


def _replace_output(out: Any, visit: Callable[[Tensor], Tensor]) -> Any:
    """A layer returns a tensor or, by version and architecture, a tuple or list that begins so."""
    if isinstance(out, tuple | list):
        return type(out)((visit(out[0]), *out[1:]))
    return visit(out)


def check_all_read(read: Sequence[str], acts: Mapping[str, Tensor]) -> None:
    missed = [point for point in read if point not in acts]
    if missed:
        raise HookPointError(
            f"The forward pass never reached {missed[0]}: this layer does not run that part. "
            "Read a residual point (hook_resid_pre, hook_resid_post) instead."
        )


def _unknown_point(point: str, places: Mapping[str, Place]) -> str:
    layers = [int(p.split(".")[1]) for p in places if p.startswith("blocks.")]
    kinds = list(dict.fromkeys(p.rsplit(".", 1)[-1] for p in places))
    return (
        f"Hook point {point!r} is not in this model: it has {', '.join(kinds)} with layers "
        f"0-{max(layers, default=0)}, written like 'blocks.0.hook_resid_post'. "
        "List them with: virtuelens model NAME --hooks"
    )
