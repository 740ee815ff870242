"""Sparse autoencoders from disk, from what virtuelens ships, or from SAELens' registry.

A directory holds `cfg.json` and `sae_weights.safetensors`, as SAELens writes them, or `params.npz`,
as Gemma Scope does. Nothing is unpickled: what is published as a pickle is refused with the way to
convert it. Transcoders are loaded so that their features can be read; they are not run as SAEs.
Training checkpoints of batch top-k and matryoshka SAEs are turned into what SAELens
itself would save for inference (jumprelu with a fixed threshold), because their own encoding of a
text would depend on the other texts in the batch.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from virtuelens import catalog
from virtuelens.errors import NotFiniteError, SaeError
from virtuelens.sparse_coding.gemma_scope import PARAMS, read_gemma_scope
from virtuelens.sparse_coding.sae import Sae

if TYPE_CHECKING:
    from sae_lens import SAE

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"

ARCHITECTURES = (
    "standard", "topk", "batchtopk", "matryoshka_batchtopk", "jumprelu", "gated", "abstopk",
    "matching_pursuit",
)
TRANSCODERS = (
    "transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder"
)
"""What is read. Transcoders write elsewhere than they read; temporal SAEs are not read."""

CONVERT = (
    "Convert it to safetensors outside virtuelens, by the command in docs/saes.md (\"Convert a "
    "pickle\"), and give the directory that it writes."
)
_PICKLES = {".pt", ".pth", ".bin", ".pkl", ".ckpt"}

_BATCH_DEPENDENT = ("batchtopk", "matryoshka_batchtopk")

# read with torch.load by SAELens' converter
_PICKLED_RELEASES = (
    "connor_rob_hook_z", "goodfire", "deepseek_r1", "qwen_scope", "dictionary_learning_1"
)


def load_sae(name: str | Path, *, device: str = "cpu") -> Sae:
    """The SAE of that name.

    name: a directory (of SAELens or Gemma Scope); or the name of a shipped SAE; or `RELEASE/ID` of
        SAELens' registry, or `OWNER/REPOSITORY/PATH` on the Hugging Face hub, where one is
        reachable.

    Raises: SaeError: not found, incomplete, damaged, pickled, or of an architecture that is not
    read here. NotFiniteError: NaN or infinity in its weights.
    """
    path = Path(name)
    if path.is_file() and path.name == PARAMS:
        path = path.parent
    if path.is_file():
        raise SaeError(_not_a_directory(path))
    if path.is_dir():
        return _from_directory(path, str(name), device)
    shipped = catalog.find("saes", str(name), CONFIG)
    if shipped is not None:
        return _from_directory(shipped, str(name), device)
    if isinstance(name, str) and "/" in name.strip("/") and not name.startswith((".", "/", "~")):
        return _from_registry(name, device)
    known = ", ".join(catalog.names("saes", CONFIG)) or "none"
    raise SaeError(
        f"No SAE {str(name)!r}: it is neither a directory nor shipped (shipped: {known}). Give a "
        "directory with cfg.json and sae_weights.safetensors, or RELEASE/ID of SAELens' registry."
    )


def _from_directory(path: Path, name: str, device: str) -> Sae:
    if (path / PARAMS).is_file() and not (path / CONFIG).is_file():
        return _wrap(read_gemma_scope(path, device=device), name)
    config = _read_config(path)
    _check_files(path)
    architecture = config["architecture"]
    _check_architecture(architecture, str(path))
    # imported here: SAELens takes seconds to import, and most commands need no SAE
    from sae_lens import SAE, TrainingSAE

    try:
        if architecture in _BATCH_DEPENDENT:
            module = _for_inference(TrainingSAE.load_from_disk(path, device=device))
        else:
            module = SAE.load_from_disk(path, device=device)
    except Exception as error:  # whatever a strange file leads SAELens to
        raise SaeError(
            f"{path} could not be read as a {architecture} SAE ({_first_line(error)}): its weights "
            "and its cfg.json do not fit each other, or are damaged."
        ) from error
    return _wrap(module, name)


def _from_registry(name: str, device: str) -> Sae:
    from sae_lens import SAE
    from sae_lens.loading.pretrained_sae_loaders import get_conversion_loader_name

    release, sae_id = _release_and_id(name)
    converter = get_conversion_loader_name(release)
    if converter in _PICKLED_RELEASES:
        raise SaeError(
            f"The release {release!r} is published as pickle files, which can run code when "
            f"opened. {CONVERT}"
        )
    try:
        module = SAE.from_pretrained(release, sae_id, device=device)
    except Exception as error:  # of the network, or of SAELens' many converters
        raise SaeError(
            f"Could not get the SAE {name!r} ({_first_line(error)}): check the name and the "
            "connection to the hub, or download it and give its directory."
        ) from error
    _check_architecture(module.cfg.architecture(), name)
    return _wrap(module, name)


def _release_and_id(name: str) -> tuple[str, str]:
    """`RELEASE/ID` where SAELens knows the release, else `OWNER/REPOSITORY` and the path in it."""
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    known = get_pretrained_saes_directory()
    release, _, sae_id = name.partition("/")
    if release in known:
        ids = known[release].saes_map
        if sae_id not in ids:
            some = ", ".join(list(ids)[:4])
            raise SaeError(f"The release {release!r} has no SAE {sae_id!r}: it has {some}, ...")
        return release, sae_id
    parts = name.split("/", 2)
    if len(parts) < 3:
        raise SaeError(
            f"No SAE {name!r}: there is no such directory, SAELens' registry has no release "
            f"{release!r}, and a hub name is OWNER/REPOSITORY/PATH."
        )
    return f"{parts[0]}/{parts[1]}", parts[2]


def _wrap(module: "SAE[Any]", name: str) -> Sae:
    module.eval().requires_grad_(requires_grad=False)
    # activations are given flat here, also for hook_z
    module.turn_off_forward_pass_hook_z_reshaping()
    _check_finite(module, name)
    _check_folded(module, name)
    metadata = module.cfg.metadata
    architecture = module.cfg.architecture()
    ours = metadata.get("virtuelens") or {}
    if not isinstance(ours, dict):
        raise SaeError(
            f"{name}: metadata.virtuelens in {CONFIG} is {ours!r}, expected an object: it was not "
            "written by virtuelens. Take it out, or train the SAE again."
        )
    return Sae(
        name=name,
        point=metadata.get("hook_name") or "",
        d_in=module.cfg.d_in,
        d_sae=module.cfg.d_sae,
        architecture=architecture,
        fingerprint=ours.get("fingerprint"),
        module=module,
        writes=(metadata.get("hook_name_out") or "elsewhere") if architecture in TRANSCODERS
        else "",
    )


def _for_inference(trained: Any) -> "SAE[Any]":
    """The SAE that `trained.save_inference_model` would write."""
    from sae_lens import SAE

    state = {k: v.clone() for k, v in trained.state_dict().items()}
    trained.process_state_dict_for_saving_inference(state)
    module: SAE[Any] = SAE.from_dict(trained.cfg.get_inference_sae_cfg_dict())
    module.load_state_dict(state)
    return module


def _read_config(path: Path) -> dict[str, Any]:
    """The parsed cfg.json, with `architecture` filled in as SAELens does for old files."""
    try:
        config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        pickled = _pickles(path)
        raise SaeError(
            _refuse_pickle(pickled[0]) if pickled
            else f"{path} has no {CONFIG}: an SAE directory holds {CONFIG} and {WEIGHTS}."
        ) from error
    except OSError as error:
        raise SaeError(f"Could not read {path / CONFIG} ({error.strerror}).") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SaeError(f"{path / CONFIG} is not valid JSON ({error}).") from error
    if not isinstance(config, dict):
        raise SaeError(f"{path / CONFIG} holds no settings: it is not an SAE's configuration.")
    missing = [key for key in ("d_in", "d_sae") if not isinstance(config.get(key), int)]
    if missing:
        raise SaeError(f"{path / CONFIG} does not say {missing[0]}: it is not an SAE of SAELens.")
    config.setdefault("architecture", "standard")
    return config


def _check_files(path: Path) -> None:
    if (path / WEIGHTS).is_file():
        return
    pickled = _pickles(path)
    if pickled:
        raise SaeError(_refuse_pickle(pickled[0]))
    raise SaeError(f"{path} has no {WEIGHTS}: the download or the training was not finished.")


def _check_architecture(architecture: object, where: str) -> None:
    if architecture not in (*ARCHITECTURES, *TRANSCODERS):
        raise SaeError(
            f"{where} is of architecture {architecture!r}, which is not read here: "
            f"choose one of {', '.join((*ARCHITECTURES, *TRANSCODERS))}."
        )


def _check_finite(module: torch.nn.Module, name: str) -> None:
    for key, tensor in module.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise NotFiniteError(
                f"NaN or infinity in {key} of the SAE {name}: the file is damaged or the training "
                "diverged. Get or train it again."
            )


def _check_folded(module: "SAE[Any]", name: str) -> None:
    norm = module.cfg.normalize_activations
    if norm in ("expected_average_only_in", "covariance_whitening"):
        raise SaeError(
            f"{name} was saved before its scaling of activations ({norm}) was folded into its "
            "weights, and the file does not hold the factor: save it with SAELens at the end of "
            "training, or fold it with fold_activation_norm_scaling_factor."
        )


def _pickles(path: Path) -> list[Path]:
    return sorted(f for f in path.iterdir() if f.suffix in _PICKLES)


def _refuse_pickle(path: Path) -> str:
    return f"{path} may be a pickle, which can run code when opened, so it is not. {CONVERT}"


def _not_a_directory(path: Path) -> str:
    if path.suffix in _PICKLES:
        return _refuse_pickle(path)
    return f"{path} is a file: give the directory that holds {CONFIG} and {WEIGHTS}."


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__
