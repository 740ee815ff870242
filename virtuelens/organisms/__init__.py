"""Models with known truth: languages with planted variables, training, proof by interchange."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from virtuelens.organisms.recipe import list_organisms as list_organisms
    from virtuelens.organisms.training import train_organism as train_organism
    from virtuelens.organisms.verify import verify_organism as verify_organism

_HOMES = {"list_organisms": "recipe", "train_organism": "training", "verify_organism": "verify"}
__all__ = ["list_organisms", "train_organism", "verify_organism"]


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'virtuelens.organisms' has no attribute {name!r}")
    return getattr(importlib.import_module(f"virtuelens.organisms.{_HOMES[name]}"), name)
