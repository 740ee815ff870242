"""virtuelens: find, show and steer virtue and welfare features in language models.

Public names are loaded when they are first used, so that `import virtuelens` stays fast.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from virtuelens.activations.activations import Activations as Activations
    from virtuelens.activations.harvest import harvest as harvest
    from virtuelens.activations.series import open_series as open_series
    from virtuelens.activations.store import open_store as open_store
    from virtuelens.attribution.attribute import attribute as attribute
    from virtuelens.audits.audit import audit as audit
    from virtuelens.audits.run import Run as Run
    from virtuelens.audits.run import open_run as open_run
    from virtuelens.concepts.pack import Concept as Concept
    from virtuelens.concepts.pack import load_concept as load_concept
    from virtuelens.exchange.interchange import interchange as interchange
    from virtuelens.models import HookedModel as HookedModel
    from virtuelens.models import load_model as load_model
    from virtuelens.probing.das import SwapPairs as SwapPairs
    from virtuelens.probing.das import fit_alignment as fit_alignment
    from virtuelens.probing.monitor import Monitor as Monitor
    from virtuelens.probing.monitor import load_monitor as load_monitor
    from virtuelens.probing.monitor import save_monitor as save_monitor
    from virtuelens.probing.monitor import watch as watch
    from virtuelens.probing.probes import Probe as Probe
    from virtuelens.probing.probes import fit_probe as fit_probe
    from virtuelens.probing.probes import load_probe as load_probe
    from virtuelens.probing.probes import save_probe as save_probe
    from virtuelens.reports.html import write_report as write_report
    from virtuelens.sparse_coding import load_sae as load_sae
    from virtuelens.steering.steer import steer as steer
    from virtuelens.values.directions import Direction as Direction
    from virtuelens.values.texts import Message as Message
    from virtuelens.values.texts import Text as Text

__version__ = "0.1.0"

_HOMES = {
    "Activations": "virtuelens.activations.activations",
    "Concept": "virtuelens.concepts.pack",
    "Direction": "virtuelens.values.directions",
    "HookedModel": "virtuelens.models",
    "Message": "virtuelens.values.texts",
    "Monitor": "virtuelens.probing.monitor",
    "Probe": "virtuelens.probing.probes",
    "Run": "virtuelens.audits.run",
    "SwapPairs": "virtuelens.probing.das",
    "Text": "virtuelens.values.texts",
    "attribute": "virtuelens.attribution.attribute",
    "audit": "virtuelens.audits.audit",
    "fit_alignment": "virtuelens.probing.das",
    "fit_probe": "virtuelens.probing.probes",
    "harvest": "virtuelens.activations.harvest",
    "interchange": "virtuelens.exchange.interchange",
    "load_concept": "virtuelens.concepts.pack",
    "load_model": "virtuelens.models",
    "load_monitor": "virtuelens.probing.monitor",
    "load_probe": "virtuelens.probing.probes",
    "load_sae": "virtuelens.sparse_coding",
    "open_run": "virtuelens.audits.run",
    "open_series": "virtuelens.activations.series",
    "open_store": "virtuelens.activations.store",
    "save_monitor": "virtuelens.probing.monitor",
    "save_probe": "virtuelens.probing.probes",
    "steer": "virtuelens.steering.steer",
    "watch": "virtuelens.probing.monitor",
    "write_report": "virtuelens.reports.html",
}
"""Public name -> module it lives in."""

__all__ = [
    "Activations",
    "Concept",
    "Direction",
    "HookedModel",
    "Message",
    "Monitor",
    "Probe",
    "Run",
    "SwapPairs",
    "Text",
    "__version__",
    "attribute",
    "audit",
    "fit_alignment",
    "fit_probe",
    "harvest",
    "interchange",
    "load_concept",
    "load_model",
    "load_monitor",
    "load_probe",
    "load_sae",
    "open_run",
    "open_series",
    "open_store",
    "save_monitor",
    "save_probe",
    "steer",
    "watch",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'virtuelens' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
