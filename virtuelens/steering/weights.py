"""Edits that live in the weights: folded into biases, or projected out of every writer.

1. Make a copy of the model, other weights shared.
2. Change what writes to the residual stream.
3. Save it as an ordinary Hugging Face directory.
4. Load that directory again and compare its logits with the runtime edit's on tokens of all kinds.
   Where they differ (a norm follows the writer, say) nothing is left on disk.

The saved model is another model: its fingerprint differs, and directions found on the original are
refused on it. `steering.json` beside the weights says what was done to which model.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens import storage
from virtuelens.errors import SteeringError
from virtuelens.models.chat import Encoded
from virtuelens.models.writers import Copy, by_output, editable_copy, save, set_weight
from virtuelens.steering.edits import Ablate, Add, span

if TYPE_CHECKING:
    from virtuelens.models import HookedModel
    from virtuelens.models.run import Batch, Edit

SCHEMA = 1
_WRITTEN_BY = {
    "hook_resid_post": "hook_mlp_out", "hook_mlp_out": "hook_mlp_out",
    "hook_resid_mid": "hook_attn_out", "hook_attn_out": "hook_attn_out",
}


def fold(model: "HookedModel", additions: Sequence[Add], out: Path) -> Path:
    """Save the model with the additions in the biases of what writes there.

    Only what acts on every token can be folded (`where="all"`, one vector for all rows). Where the
    architecture has no bias there, its configuration must know one (Llama's `mlp_bias`).

    Raises: SteeringError: not such an addition, no place for it, `out` exists, or the saved model
    does not do what the edit does.
    """
    copy = editable_copy(model.hf, model.places)
    for edit in additions:
        if not isinstance(edit, Add) or edit.where != "all" or edit.vector.ndim != 1:
            raise SteeringError(
                "Only additions of one vector at every token (where='all') can be folded into "
                f"weights, not {type(edit).__name__} at {getattr(edit, 'where', 'some tokens')!r}."
            )
        kind = edit.point.rsplit(".", 1)[-1]
        if kind not in _WRITTEN_BY:
            raise SteeringError(
                f"Nothing with a bias writes at {edit.point}: choose one of "
                f"{', '.join(_WRITTEN_BY)}."
            )
        writer = copy.with_bias(edit.point.replace(kind, _WRITTEN_BY[kind]))
        bias = writer.bias.detach()
        set_weight(writer, "bias", bias + edit.vector.to(bias.device, torch.float32))
    about = [{"edit": "add", "point": e.point, "norm": float(e.vector.norm())} for e in additions]
    return _save(model, copy, list(additions), about, out)


def orthogonalise(
    model: "HookedModel", directions: Float[Tensor, "*k d_model"], out: Path
) -> Path:
    """Save the model with the directions projected out of every matrix that writes to the stream.

    Embeddings (the unembedding becomes a matrix of its own), attention outputs, MLP outputs and
    their biases. The same as ablating the directions wherever something is written.

    Raises: SteeringError: as for `fold`. Source: Arditi et al. 2024, arXiv:2406.11717.
    """
    basis = span(directions)
    copy = editable_copy(model.hf, model.places)

    def without(rows: Tensor) -> Tensor:
        b = basis.to(rows.device, torch.float32)
        return rows.float() - (rows.float() @ b.T) @ b

    for table in copy.embeddings():
        set_weight(table, "weight", without(table.weight.detach()))
    written = [p for p in model.places if p.endswith((".hook_attn_out", ".hook_mlp_out"))]
    for point in written:
        writer = copy.writer(point)
        set_weight(writer, "weight", by_output(writer, without))
        if writer.bias is not None:
            set_weight(writer, "bias", without(writer.bias.detach()[None])[0])
    runtime: list[Edit] = [Ablate(p, directions) for p in ("blocks.0.hook_resid_pre", *written)]
    about = [{"edit": "orthogonalise", "rank": len(basis)}]
    return _save(model, copy, runtime, about, out)


def _save(
    model: "HookedModel", copy: Copy, runtime: Sequence["Edit"], about: list[dict[str, Any]],
    out: Path,
) -> Path:
    out = Path(out)
    if out.exists():
        raise SteeringError(f"{out} exists: choose another folder, or remove it first.")
    with storage.whole_directory(out) as part:
        save(copy.hf, model.tokenizer, part)
        storage.write_json(part / "steering.json", {
            "schema": SCHEMA, "base": model.info.name, "base_fingerprint": model.info.fingerprint,
            "edits": about})
        _compare(model, runtime, part)
    return out


def _compare(model: "HookedModel", runtime: Sequence["Edit"], folder: Path) -> None:
    """Raise unless the saved model's logits are those of the original under the runtime edits.

    The tolerance is rounding's, by the model's dtype, and half of what the edit does: weights that
    do a small edit wrongly are no further from it than rounding is after many layers.
    """
    from virtuelens.models import load_model

    saved = load_model(str(folder), device=str(model.hf.device.type), verify=False,
                       dtype=str(model.hf.dtype).removeprefix("torch."))
    d = min(model.info.d_vocab, saved.info.d_vocab)
    rows = [tuple((7 * i * i + (3 + n) * i + n) % d for i in range(n)) for n in (24, 17)]
    batch = model.batch([Encoded(ids, len(ids), ()) for ids in rows])
    plain, expected, found = (
        _logits(m, batch, edits) for m, edits in ((model, ()), (model, runtime), (saved, ())))
    off, effect = (float((x - expected).norm() / expected.norm()) for x in (found, plain))
    rounding, most = (1e-4, 1e-3) if model.hf.dtype == torch.float32 else (2e-2, 5e-2)
    allowed = min(most, max(rounding, effect / 2))
    if not off <= allowed:
        raise SteeringError(
            f"The weights of {model.info.name} cannot hold this edit: the saved model's logits are "
            f"off by {off:.2g} of their norm from the runtime edit's (allowed {allowed:.2g}), "
            "because something between writer and stream rescales it. Steer while it runs instead."
        )


def _logits(model: "HookedModel", batch: "Batch", edits: Sequence["Edit"]) -> Tensor:
    logits = model.run(batch, edits=edits, logits=True).logits
    assert logits is not None
    return logits[batch.real].float()
