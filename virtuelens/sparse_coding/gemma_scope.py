"""Gemma Scope as published: folders that hold `params.npz`, read without unpickling.

The file holds W_enc, b_enc, W_dec, b_dec and threshold of a JumpReLU SAE, and does not say what
it was trained on. The folder's path does, where it is kept as published, such as
`gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71`: `-res`, `-mlp` and `-att` are SAEs,
`-transcoders` write elsewhere than they read.

Source: Lieberum et al. 2024, arXiv:2408.05147.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from virtuelens.errors import SaeError

if TYPE_CHECKING:
    from sae_lens import SAE

PARAMS = "params.npz"
NAMES = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")

_SITES = {
    "res": "blocks.{}.hook_resid_post", "mlp": "blocks.{}.hook_mlp_out",
    "att": "blocks.{}.attn.hook_z", "transcoders": "blocks.{}.ln2.hook_normalized",
}
_OUT = "blocks.{}.hook_mlp_out"


class Origin(NamedTuple):
    """What a folder's path says: model, hook point read, hook point written (of transcoders).

    "" where it does not say.
    """

    model: str
    point: str
    point_out: str


def read_gemma_scope(folder: Path, *, device: str) -> "SAE[Any]":
    """The SAE (or transcoder) of a folder as SAELens' own object.

    Raises: SaeError: not an archive of plain arrays, or not these ones.
    """
    from sae_lens import SAE

    weights = _arrays(folder / PARAMS)
    d_in, d_sae = weights["W_enc"].shape
    d_out = weights["W_dec"].shape[1]
    wanted = {"W_enc": (d_in, d_sae), "W_dec": (d_sae, d_out), "b_enc": (d_sae,),
              "b_dec": (d_out,), "threshold": (d_sae,)}
    for name, shape in wanted.items():
        if weights[name].shape != shape:
            raise SaeError(
                f"{folder / PARAMS}: {name} has shape {list(weights[name].shape)}, W_enc and W_dec "
                f"make it {list(shape)}: it is damaged, or no JumpReLU SAE."
            )
    origin = origin_of(folder)
    transcoder = bool(origin.point_out) or d_out != d_in
    settings: dict[str, Any] = {
        "architecture": "jumprelu_transcoder" if transcoder else "jumprelu", "d_in": d_in,
        "d_sae": d_sae, "device": device, "apply_b_dec_to_input": False,
        "metadata": {"model_name": origin.model, "hook_name": origin.point,
                     "hook_name_out": origin.point_out},
    }  # fmt: skip
    if transcoder:
        settings["d_out"] = d_out
    module: SAE[Any] = SAE.from_dict(settings)
    module.load_state_dict({k: torch.from_numpy(v).to(device) for k, v in weights.items()})
    return module


def origin_of(folder: Path) -> Origin:
    """What the names of the folders say, as far as they are those of the publication."""
    parts = folder.absolute().parts
    layer = next((m[1] for p in parts[::-1] if (m := re.fullmatch(r"layer_(\d+)", p))), None)
    scope = next(
        (m for p in parts[::-1] if (m := re.fullmatch(
            r"(?:.*--)?gemma-scope-(\w+)-(pt|it)-(res|mlp|att|transcoders)(?:-\w+)?", p))), None
    )
    if scope is None:
        return Origin("", "", "")
    model = f"google/gemma-2-{scope[1]}" + ("-it" if scope[2] == "it" else "")
    transcoder = scope[3] == "transcoders"
    if layer is None:
        return Origin(model, "", "elsewhere" if transcoder else "")
    return Origin(model, _SITES[scope[3]].format(layer), _OUT.format(layer) if transcoder else "")


def _arrays(path: Path) -> dict[str, "np.ndarray[Any, Any]"]:
    """The parameters as fp32; arrays of objects (which are pickles) are refused by numpy."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in NAMES if name not in archive.files]
            if missing:
                raise SaeError(
                    f"{path} has no {missing[0]}, but {', '.join(archive.files) or 'nothing'}: "
                    f"Gemma Scope's files hold {', '.join(NAMES)}."
                )
            found = {name: np.asarray(archive[name], dtype=np.float32) for name in NAMES}
    except SaeError:
        raise
    except Exception as error:  # whatever a damaged file leads numpy, zipfile and zlib to
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SaeError(
            f"{path} could not be read as an archive of plain arrays ({reason}): it is damaged, or "
            "holds pickled objects, which are never opened here."
        ) from error
    for name in ("W_enc", "W_dec"):
        if found[name].ndim != 2:
            raise SaeError(
                f"{path}: {name} has shape {list(found[name].shape)}, expected a matrix."
            )
    return found
