"""Where a hook point is: TransformerLens names resolved to modules of the Hugging Face model.

The knowledge of some 160 architectures is TransformerLens': an architecture adapter says which
submodule plays which part, and which part a hook point is the input or output of. Only that
table is used here; no TransformerBridge is built and the model is not touched.

Names: `hook_embed` (token embedding), and per layer `hook_resid_pre`, `hook_attn_out`,
`hook_resid_mid`, `hook_mlp_out`, `hook_resid_post`. Blocks whose attention and MLP run side by side
(GPT-NeoX, Phi) have no `hook_resid_mid`; where a norm follows attention or MLP (Gemma 2 and 3),
`attn_out` and `mlp_out` are what comes after it, so that they add up to the residual stream.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn

from virtuelens.errors import ModelLoadError

IN_BLOCK = ("hook_resid_pre", "hook_attn_out", "hook_resid_mid", "hook_mlp_out", "hook_resid_post")


@dataclass(frozen=True)
class Place:
    """The input or output of a module.

    block, writer: for `resid_mid` only, the places whose sum it is (the block's input, and what
        attention writes to the stream): an edit changes the latter, so that the stream moves.
    """

    module: str
    side: Literal["in", "out"]
    block: "Place | None" = None
    writer: "Place | None" = None


def find_places(hf: nn.Module, *, name: str) -> dict[str, Place]:
    """Every hook point of the model and its place, in the order of execution.

    Raises: ModelLoadError: TransformerLens has no adapter for this architecture, or none with one
    stack of decoder blocks.
    """
    parts = _adapter_parts(hf, name)
    places = {"hook_embed": Place(parts["embed"].name, "out")}
    blocks = parts["blocks"]
    for layer in range(len(list(hf.get_submodule(blocks.name).children()))):
        path = f"{blocks.name}.{layer}"
        places |= {f"blocks.{layer}.{kind}": p for kind, p in _block(hf, blocks, path).items()}
    return places


def n_layers(places: dict[str, Place]) -> int:
    """How many blocks the points belong to."""
    return len({point.split(".")[1] for point in places if point.startswith("blocks.")})


def without_parts(places: dict[str, Place], kinds: set[str]) -> dict[str, Place]:
    """The points whose kind (`hook_attn_out`, ...) is not among `kinds`."""
    return {p: place for p, place in places.items() if p.rsplit(".", 1)[-1] not in kinds}


def _adapter_parts(hf: nn.Module, name: str) -> dict[str, Any]:
    from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory
    from transformer_lens.model_bridge.sources import build_bridge_config_from_hf

    architecture = type(hf).__name__
    try:
        cfg = build_bridge_config_from_hf(hf.config, architecture, "local", torch.float32)
        mapping = ArchitectureAdapterFactory.select_architecture_adapter(cfg).component_mapping
    except Exception as error:
        raise ModelLoadError(
            f"{name} is a {architecture}, which TransformerLens cannot describe ({error}): choose "
            "a decoder-only language model (GPT-2, Llama, Qwen, Gemma, Mistral, GPT-NeoX, Phi, ...)"
        ) from error
    if not mapping or "embed" not in mapping or "blocks" not in mapping:
        raise ModelLoadError(
            f"{name} is a {architecture}, which has no single stack of decoder blocks: "
            "choose a decoder-only language model (GPT-2, Llama, Qwen, Gemma, Mistral, ...)"
        )
    return dict(mapping)


def _block(hf: nn.Module, blocks: Any, path: str) -> dict[str, Place]:
    """The points of one block, by kind."""
    placed = {kind: _in_block(blocks, path, kind) for kind in IN_BLOCK}
    found = {k: p for k, p in placed.items() if p is not None and _exists(hf, p.module)}
    mid, writer = found.pop("hook_resid_mid", None), found.get("hook_attn_out")
    if mid is not None and writer is not None:  # without its writer it could be read, not edited
        found["hook_resid_mid"] = replace(mid, block=Place(path, "in"), writer=writer)
    return {kind: found[kind] for kind in IN_BLOCK if kind in found}


def _in_block(blocks: Any, path: str, kind: str) -> Place | None:
    """The place that the adapter's alias names, such as 'ln2.hook_in' or 'mlp.out.hook_out'."""
    alias = blocks.hook_aliases.get(kind)
    if not isinstance(alias, str):
        return None  # absent, or computed inside the block: nothing to hook
    *parts, hook = alias.split(".")
    if hook not in {"hook_in", "hook_out"}:
        return None
    part, names = blocks, [path]
    for key in parts:
        part = part.submodules.get(key)
        if part is None:
            return None
        if part.name:  # a part without a name stands for the block itself
            names.append(part.name)
    return Place(".".join(names), "in" if hook == "hook_in" else "out")


def _exists(hf: nn.Module, path: str) -> bool:
    try:
        hf.get_submodule(path)
    except AttributeError:
        return False
    return True
