"""What is checked when a model is loaded, on one small batch with padding on the left.

1. What is read equals transformers' `hidden_states`.
2. `attn_out` and `mlp_out` add up to the residual stream; where they do not (an architecture that
   scales or merges them), those points are not offered.
3. Padding changes nothing: a padded row equals the same row alone.
4. An edit moves the logits.
5. An edit of zero at every point changes nothing, to the bit (of what the device repeats).
6. No hook is left behind, also when an edit raises.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from virtuelens.models.chat import Encoded
from virtuelens.models.points import Place, n_layers, without_parts
from virtuelens.models.run import Batch, Reads, Seen, accepted, check_finite, pad, run

_LENGTHS = (9, 6)


@dataclass(frozen=True)
class Check:
    """One promise and whether it held; `detail` is the figure it was judged by."""

    promise: str
    held: bool
    detail: str


@dataclass(frozen=True)
class Verification:
    """What was checked at load; `not_offered` are kinds of points that failed their own check."""

    checks: tuple[Check, ...]
    not_offered: frozenset[str] = frozenset()

    @property
    def failed(self) -> Check | None:
        """The first promise that did not hold, or None."""
        return next((check for check in self.checks if not check.held), None)


@dataclass(frozen=True)
class _Change:
    """An edit for checking: adds `size` everywhere, or raises when `size` is None."""

    point: str
    size: float | None

    def __call__(
        self, acts: Float[Tensor, "batch pos d_model"], seen: Seen  # noqa: ARG002
    ) -> Float[Tensor, "batch pos d_model"]:
        if self.size is None:
            raise _DeliberateError
        return acts + self.size


class _DeliberateError(Exception):
    """Raised inside a checked forward pass, to see whether hooks survive it."""


@torch.no_grad()
def verify(hf: Any, places: Mapping[str, Place], *, d_vocab: int) -> Verification:
    """The checks above on this model; what fails is for the caller to judge.

    Tolerance: relative error (of norms) of 1e-4 in fp32, 3e-2 in half precision.

    Raises: NotFiniteError: activations overflow, naming the hook point.
    """
    tol = 1e-4 if hf.dtype in {torch.float32, torch.float64} else 3e-2
    rows = [_example(n, d_vocab) for n in _LENGTHS]
    batch = pad(rows, side="left", device=hf.device)
    hidden = _transformers_hidden_states(hf, batch)
    before = _n_hooks(hf)  # transformers itself leaves some once hidden states were asked for
    # layers may lie on several devices: what is compared is brought together
    reads = run(hf, places, batch, read=list(places), logits=True,
                take=lambda _, acts: acts.to("cpu", copy=True))
    for point in places:  # in the order of execution: the first one is where it begins
        check_finite(reads.acts[point], point, batch)
    sums, not_offered = _sums(reads, n_layers(dict(places)), tol)
    kept = without_parts(dict(places), set(not_offered))
    checks = (
        _hidden_states(hidden, batch, reads, n_layers(kept), tol),
        sums,
        # other kernels may be chosen for the two shapes, hence ten times the tolerance
        _check("padding changes nothing", _padding_error(hf, kept, rows[-1], reads), 10 * tol),
        *_edits(hf, kept, batch, reads),
        _nothing_left(hf, kept, batch, before),
    )
    return Verification(checks, not_offered)


def _example(length: int, d_vocab: int) -> Encoded:
    ids = tuple((7 * i + 3) % d_vocab for i in range(length))
    return Encoded(ids, length, tuple(str(i) for i in ids))


def _error(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference over the norm of what is expected."""
    difference = (found.float() - expected.float()).norm()
    return float(difference / expected.float().norm().clamp(min=1e-30))


def _transformers_hidden_states(hf: Any, batch: Batch) -> Sequence[Tensor]:
    out = hf(
        input_ids=batch.tokens, attention_mask=batch.real.long(), use_cache=False,
        output_hidden_states=True, return_dict=True,
        **accepted(hf.forward, position_ids=batch.seen.index),
    )  # fmt: skip
    hidden: Sequence[Tensor] = out.hidden_states
    return hidden


def _hidden_states(
    hidden: Sequence[Tensor], batch: Batch, reads: Reads, layers: int, tol: float
) -> Check:
    errors, real = [0.0], batch.real.cpu()
    for layer in range(layers):
        # the last of hidden_states is after the final norm, so it is left out
        pairs = {f"blocks.{layer}.hook_resid_pre": layer}
        if layer + 1 < layers:
            pairs[f"blocks.{layer}.hook_resid_post"] = layer + 1
        errors += [
            _error(reads.acts[point][real], hidden[i].cpu()[real])
            for point, i in pairs.items()
            if point in reads.acts
        ]
    return _check("reads equal transformers' hidden states", max(errors), tol)


def _sums(reads: Reads, layers: int, tol: float) -> tuple[Check, frozenset[str]]:
    """Do the parts add up to the residual stream? If not, which parts are not to be offered."""
    errors: dict[str, float] = {}
    for layer in range(layers):
        at = {p.rsplit(".", 1)[1]: a for p, a in reads.acts.items() if f"blocks.{layer}." in p}
        pre, post = at.get("hook_resid_pre"), at.get("hook_resid_post")
        mid, attn, mlp = (at.get(f"hook_{part}") for part in ("resid_mid", "attn_out", "mlp_out"))
        if pre is None or post is None:
            continue
        if mid is not None and attn is not None:
            _worst(errors, "attn_out", mid, pre, attn)
        if mid is not None and mlp is not None:
            _worst(errors, "mlp_out", post, mid, mlp)
        if mid is None and attn is not None and mlp is not None:
            _worst(errors, "parallel", post, pre, attn, mlp)
    bad = {part for part, error in errors.items() if error > tol}
    kinds = {
        "attn_out": {"hook_attn_out", "hook_resid_mid"},
        "mlp_out": {"hook_mlp_out"},
        "parallel": {"hook_attn_out", "hook_mlp_out"},
    }
    not_offered = frozenset(kind for part in bad for kind in kinds[part])
    detail = f"relative error {max(errors.values(), default=0.0):.1e}"
    if not_offered:
        detail = f"they do not here, so not offered: {', '.join(sorted(not_offered))}"
    return Check("attention and MLP add up to the residual stream", True, detail), not_offered


def _worst(errors: dict[str, float], part: str, whole: Tensor, *parts: Tensor) -> None:
    same_shape = all(p.shape == whole.shape for p in parts)
    error = _error(sum(parts[1:], parts[0]), whole) if same_shape else float("inf")
    errors[part] = max(errors.get(part, 0.0), error)


def _padding_error(
    hf: Any, places: Mapping[str, Place], row: Encoded, reads: Reads
) -> float:
    """Error of the batch's last row against the same row alone."""
    last = [p for p in places if p.endswith("hook_resid_post")][-1]
    padded = reads.acts[last][-1, -len(row.ids) :]
    alone = pad([row], side="right", device=hf.device)
    return _error(padded, run(hf, places, alone, read=[last]).acts[last][0].cpu())


def _edits(
    hf: nn.Module, places: Mapping[str, Place], batch: Batch, reads: Reads
) -> tuple[Check, Check]:
    assert reads.logits is not None
    clean = reads.logits[batch.real]
    first = next(p for p in places if p.endswith("hook_resid_post"))
    sizes = reads.acts[first][batch.real.cpu()].float().std()
    moved = _logits(hf, places, batch, [_AddRamp(first, float(sizes))])
    shift = _error(moved[batch.real], clean)
    still = _logits(hf, places, batch, [_Change(p, 0.0) for p in places])[batch.real]
    again = _logits(hf, places, batch, [])[batch.real]
    # some GPU kernels add in a random order: then two plain runs differ too, by the noise allowed
    change, noise = (float((other - clean).abs().max()) for other in (still, again))
    return (
        Check("an edit moves the logits", shift > 1e-3, f"relative change {shift:.1e}"),
        Check("an edit of zero changes nothing, to the bit", change <= noise,
              f"largest change {change:.1e} (between two plain runs {noise:.1e})"),
    )  # fmt: skip


@dataclass(frozen=True)
class _AddRamp:
    """Adds a ramp over dimensions: unlike a constant, no layer norm takes it out again."""

    point: str
    size: float

    def __call__(
        self, acts: Float[Tensor, "batch pos d_model"], seen: Seen  # noqa: ARG002
    ) -> Float[Tensor, "batch pos d_model"]:
        ramp = torch.linspace(-1, 1, acts.shape[-1], device=acts.device).to(acts.dtype)
        return acts + self.size * ramp


def _logits(
    hf: nn.Module, places: Mapping[str, Place], batch: Batch, edits: Sequence[Any]
) -> Tensor:
    logits = run(hf, places, batch, edits=edits, logits=True).logits
    assert logits is not None
    return logits


def _nothing_left(
    hf: nn.Module, places: Mapping[str, Place], batch: Batch, before: int
) -> Check:
    with contextlib.suppress(_DeliberateError):
        run(hf, places, batch, edits=[_Change(p, None) for p in places], logits=True)
    left = _n_hooks(hf) - before
    return Check("no hook is left behind, also after an error", left == 0, f"{left} left")


def _n_hooks(hf: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in hf.modules())


def _check(promise: str, error: float, tol: float) -> Check:
    return Check(promise, error <= tol, f"relative error {error:.1e} (allowed {tol:.0e})")
