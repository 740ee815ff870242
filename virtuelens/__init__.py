"""virtuelens: find, show and steer virtue and welfare features in language models.

Public names are loaded when they are first used, so that `import virtuelens` stays fast.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from virtuelens.models import HookedModel as HookedModel
    from virtuelens.models import load_model as load_model

__version__ = "0.1.0"

_HOMES = {
    "HookedModel": "virtuelens.models",
    "load_model": "virtuelens.models",
}
"""Public name -> module it lives in."""

__all__ = ["HookedModel", "__version__", "load_model"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'virtuelens' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
