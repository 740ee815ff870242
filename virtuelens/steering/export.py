"""Edits in the files that other programs read: the table FORMATS.

- `gguf`: a control vector for llama.cpp, as repeng writes it
- `lm-eval`: a table and weights for the model type `steered` of lm-evaluation-harness
- `safetensors`: plain tensors with a description, for anything else

Nothing is pickled, so lm-eval's own `.pt` files are not written. A file holds the dose that was
asked for: strength 1 there is that dose. What acts on some tokens only has no place in these
formats and is refused; `weights` saves a whole model instead.
"""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens import storage
from virtuelens.errors import SteeringError
from virtuelens.steering.edits import Add, Clamp

if TYPE_CHECKING:
    from virtuelens.models import HookedModel

SCHEMA = 1
_LM_EVAL_COLUMNS = ("loader", "action", "sparse_model", "hookpoint", "feature_index",
                    "steering_coefficient", "head_index", "sae_id", "description")


@dataclass(frozen=True)
class Format:
    """A row of the table: what it writes, and where (`folder`: a directory, else one file)."""

    name: str
    about: str
    write: Callable[["HookedModel", Sequence[Add | Clamp], Path], None]
    folder: bool = False


def export(
    model: "HookedModel", edits: Sequence[Add | Clamp], out: Path, *, form: str
) -> Path:
    """Write the edits in that format.

    Raises: SteeringError: no such format, edits that it cannot hold, or a library is missing.
    """
    if form not in FORMATS:
        raise SteeringError(f"Unknown format {form!r}: choose from {', '.join(FORMATS)}.")
    if not edits:
        raise SteeringError("There is nothing to export: give at least one edit.")
    for edit in edits:
        if not isinstance(edit, Add | Clamp):
            raise SteeringError(f"An edit of kind {type(edit).__name__} cannot be exported: "
                                "only additions and clamps can.")
        vector = edit.vector if isinstance(edit, Add) else edit.direction
        if edit.where != "all" or vector.ndim != 1:
            raise SteeringError(
                f"The format {form} knows one vector at every token, this edit acts on "
                f"{edit.where!r} with shape {list(vector.shape)}: use where='all'."
            )
    FORMATS[form].write(model, edits, Path(out))
    return Path(out)


def _by_point(edits: Sequence[Add | Clamp], form: str) -> dict[str, Float[Tensor, " d_model"]]:
    """Additions summed where they act at the same point."""
    found: dict[str, Tensor] = {}
    for edit in edits:
        if not isinstance(edit, Add):
            raise SteeringError(f"The format {form} holds additions only, not a clamp.")
        vector = edit.vector.detach().to("cpu", torch.float32)
        found[edit.point] = found.get(edit.point, torch.zeros_like(vector)) + vector
    return found


def _gguf(model: "HookedModel", edits: Sequence[Add | Clamp], out: Path) -> None:
    """Tensors `direction.N`, added by llama.cpp to what layer N gives out (N from 1).

    Source: repeng's ControlVector.export_gguf; llama.cpp's common_control_vector_load.
    """
    layers = {}
    for point, vector in _by_point(edits, "gguf").items():
        _, layer, kind = (*point.split("."), "", "")[:3]
        if kind != "hook_resid_post" or not layer.isdigit() or int(layer) == 0:
            raise SteeringError(
                f"llama.cpp adds control vectors after whole layers from the second on, so {point} "
                "has no place in GGUF: use blocks.N.hook_resid_post with N at least 1."
            )
        layers[int(layer)] = vector.numpy()
    try:
        from gguf import GGUFWriter
    except ImportError as error:
        raise SteeringError("Writing GGUF needs the package gguf: pip install 'virtuelens[gguf]'."
                            ) from error

    def write(part: Path) -> None:
        writer = GGUFWriter(str(part), "controlvector")
        writer.add_string("controlvector.model_hint", model.hf.config.model_type)
        writer.add_uint32("controlvector.layer_count", len(layers))
        for layer, vector in sorted(layers.items()):
            writer.add_tensor(f"direction.{layer}", vector)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    storage.write_whole(out, write)


def _lm_eval(model: "HookedModel", edits: Sequence[Add | Clamp], out: Path) -> None:
    """`steer.csv`, and beside it a sparse coder of one feature whose decoder row is the vector.

    For `--model steered --model_args pretrained=...,steer_path=OUT/steer.csv`; lm-eval reads the
    coder with EleutherAI's sparsify. One edit only: in some versions the last of several acts at
    all places.
    """
    if len({e.point for e in edits}) > 1 or (len(edits) > 1 and not all(
            isinstance(e, Add) for e in edits)):
        raise SteeringError(
            "lm-eval's steered model is right for one hook point only (some versions apply the "
            "last vector everywhere): export one edit, or save a model with the edits folded into "
            "its weights (virtuelens steer export --format weights)."
        )
    first = edits[0]
    place = model.places.get(first.point)
    if place is None or place.side != "out":
        raise SteeringError(f"lm-eval steers what a module gives out, {first.point} is not that: "
                            "use a hook_resid_post, hook_attn_out or hook_mlp_out.")
    if isinstance(first, Clamp):
        vector, action, coefficient = first.direction, "clamp", float(first.value)
    else:
        vector, action, coefficient = _by_point(edits, "lm-eval")[first.point], "add", 1.0
    vector = vector.detach().to("cpu", torch.float32)
    prefix = f"{model.hf.base_model_prefix}."
    hookpoint = place.module.removeprefix(prefix)
    if out.exists():
        raise SteeringError(f"{out} exists: choose another folder, or remove it first.")
    with storage.whole_directory(out) as part:
        coder = part / "coder" / hookpoint
        coder.mkdir(parents=True)
        d = len(vector)
        storage.write_json(coder / "cfg.json", {
            "activation": "topk", "expansion_factor": 1, "normalize_decoder": False,
            "num_latents": 1, "k": 1, "multi_topk": False, "skip_connection": False,
            "transcode": False, "d_in": d})
        zeros = torch.zeros(d)
        storage.write_tensors(coder / "sae.safetensors", {
            "encoder.weight": vector[None].clone(), "encoder.bias": torch.zeros(1),
            "W_dec": vector[None].clone(), "b_dec": zeros}, _about(model, edits))
        lines = io.StringIO()
        rows = csv.DictWriter(lines, _LM_EVAL_COLUMNS)
        rows.writeheader()
        rows.writerow({"loader": "sparsify", "action": action,
                       "sparse_model": str((out / "coder").resolve()), "hookpoint": hookpoint,
                       "feature_index": 0, "steering_coefficient": coefficient,
                       "description": "made by virtuelens"})
        storage.write_text(part / "steer.csv", lines.getvalue())


def _safetensors(model: "HookedModel", edits: Sequence[Add | Clamp], out: Path) -> None:
    """One tensor a hook point, named by it; what it is for in the header."""
    tensors = _by_point(edits, "safetensors")
    storage.write_tensors(out, tensors, _about(model, edits))


def _about(model: "HookedModel", edits: Sequence[Add | Clamp]) -> dict[str, object]:
    return {"schema": SCHEMA, "kind": "steering", "model": model.info.name,
            "fingerprint": model.info.fingerprint,
            "edits": [{"edit": type(e).__name__.lower(), "point": e.point, "where": e.where}
                      for e in edits]}


FORMATS: dict[str, Format] = {
    f.name: f
    for f in (
        Format("gguf", "a control vector for llama.cpp", _gguf),
        Format("lm-eval", "steer.csv and a one-feature coder for lm-eval's model type steered",
               _lm_eval, folder=True),
        Format("safetensors", "one tensor a hook point, with a description", _safetensors),
    )
}  # fmt: skip
