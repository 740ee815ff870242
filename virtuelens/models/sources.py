"""What a model's name leads to, and whether it can be loaded, before any weight is read."""

from dataclasses import dataclass
from pathlib import Path

from virtuelens import catalog
from virtuelens.errors import ModelLoadError

PREFIX = "organism:"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


@dataclass(frozen=True)
class Source:
    """What transformers is given: a checked local directory, or an id of the Hugging Face hub."""

    target: str
    local: bool
    revision: str | None = None


def find_source(name: str) -> Source:
    """The source that `name` means: `organism:NAME`, a directory, or a Hugging Face id.

    An id may end in `@` and a revision (branch, tag or commit).

    Raises: ModelLoadError: unknown organism; a directory that lacks configuration, safetensors
    weights or a tokenizer; a path that does not exist; an id that is unknown, has no safetensors,
    or cannot be looked up.
    """
    if name.startswith(PREFIX):
        return Source(str(_checked(_organism(name.removeprefix(PREFIX)))), local=True)
    path = Path(name).expanduser()
    if path.is_dir():
        return Source(str(_checked(path)), local=True)
    if path.exists():
        raise ModelLoadError(f"{name} is a file: give the directory that holds config.json.")
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or not name:
        raise ModelLoadError(
            f"{name!r} is not a directory here, and not a Hugging Face id (owner/model): "
            "check the path."
        )
    target, _, revision = name.partition("@")
    _check_hub(target, revision or None)
    return Source(target, local=False, revision=revision or None)


def at_revision(name: str, revision: str) -> str:
    """The name of a model's checkpoint: a directory beside it (or in it), or `id@revision`.

    name: `runs/model` with the revision `step500` is `runs/model-step500`, `runs/model/step500` or
        `runs/step500`, whichever is there.

    Raises: ModelLoadError: none is, and the name is no Hugging Face id; or the revision is a path.
    """
    if not revision or Path(revision).name != revision:
        raise ModelLoadError(
            f"{revision!r} is not a checkpoint's name: give what stands after MODEL- or MODEL/, "
            "or a revision on the hub."
        )
    path = Path(name).expanduser()
    tried = [path.with_name(f"{path.name}-{revision}"), path / revision, path.parent / revision]
    for folder in tried:
        if folder.is_dir():
            return str(folder)
    if path.parent.is_dir() and (path.exists() or name.startswith((".", "/", "~"))
                                 or name.count("/") != 1):
        raise ModelLoadError(
            f"No checkpoint {revision!r} of {name}: looked for "
            f"{', '.join(str(t) for t in tried)}."
        )
    return f"{name}@{revision}"


def _organism(name: str) -> Path:
    found = catalog.find("organisms", name, "config.json")
    if found is None:
        known = ", ".join(catalog.names("organisms", "config.json"))
        advice = f"choose from {known}" if known else "none is installed, set VIRTUELENS_PATH"
        raise ModelLoadError(f"Unknown organism {name!r}: {advice}.")
    return found


def _check_hub(name: str, revision: str | None) -> None:
    """Ask the hub once, instead of waiting for the five retries of every file's download."""
    from huggingface_hub import HfApi, constants, try_to_load_from_cache
    from huggingface_hub.errors import (
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        if isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str):
            return
        if constants.HF_HUB_OFFLINE:
            raise ModelLoadError(
                f"{name} is neither a directory here nor in the local cache, and HF_HUB_OFFLINE is "
                "set: unset it to download, or give a local directory or organism:NAME."
            )
        about = HfApi().model_info(name, revision=revision, timeout=10)
        files = [file.rfilename for file in about.siblings or ()]
    except ModelLoadError:
        raise
    except RevisionNotFoundError as error:
        raise ModelLoadError(f"{name} has no revision {revision!r} on the hub.") from error
    except (HFValidationError, RepositoryNotFoundError) as error:
        raise ModelLoadError(
            f"{name} is not a directory here and not a public model on the hub: check the name, or "
            "log in with hf auth login if it is private."
        ) from error
    except Exception as error:  # whatever the network and its libraries raise
        raise ModelLoadError(
            f"{name} is not a directory here and the Hugging Face hub cannot be reached "
            f"({type(error).__name__}): check the network, or give a local directory or "
            "organism:NAME."
        ) from error
    if not any(file.endswith(".safetensors") for file in files):
        raise ModelLoadError(
            f"{name} has no safetensors weights on the hub, and virtuelens reads nothing else "
            "(pickles can run any code): choose a revision or copy that has them."
        )


def _checked(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise ModelLoadError(
            f"{folder} has no config.json: it is not a Hugging Face model directory "
            "(save one with model.save_pretrained)."
        )
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(p.name for kind in _PICKLES for p in folder.glob(kind))
        if pickles:
            raise ModelLoadError(
                f"{folder} has its weights only as {pickles[0]}, a pickle, which can run any code "
                "when opened. virtuelens reads safetensors: convert it on a machine you can lose, "
                "with model.save_pretrained(directory, safe_serialization=True)."
            )
        raise ModelLoadError(f"{folder} has no weights: expected model.safetensors (or shards).")
    if not any((folder / file).is_file() for file in _TOKENIZERS):
        raise ModelLoadError(
            f"{folder} has no tokenizer: expected tokenizer.json "
            "(save one with tokenizer.save_pretrained)."
        )
    return folder
