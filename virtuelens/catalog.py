"""Where shipped things are: explicit path, then $VIRTUELENS_PATH, then what virtuelens ships."""

import os
from pathlib import Path
from typing import Literal

Kind = Literal["probes", "saes", "organisms", "dashboards", "calibration"]

_IN_CHECKOUT: dict[str, str] = {
    "probes": "probes",
    "saes": "saes",
    "organisms": "experiments/organisms",
    "dashboards": "dashboards",
    "calibration": "docs",
}


def shipped(kind: Kind) -> Path:
    """The folder of that kind in the wheel, or in the checkout when installed editable."""
    package = Path(__file__).parent
    in_wheel = package / "_shipped" / kind
    return in_wheel if in_wheel.is_dir() else package.parent / _IN_CHECKOUT[kind]


def folders(kind: Kind) -> list[Path]:
    """Every folder that is searched for that kind, first match wins."""
    roots = [Path(p) for p in os.environ.get("VIRTUELENS_PATH", "").split(os.pathsep) if p]
    return [*(root / kind for root in roots), shipped(kind)]


def find(kind: Kind, name: str, marker: str) -> Path | None:
    """The first folder `name` of that kind that holds the file `marker`, or None.

    A name is one path component: it never reaches outside the searched folders.
    """
    if not name or Path(name).name != name or name in {".", ".."}:
        return None
    for folder in folders(kind):
        if (folder / name / marker).is_file():
            return folder / name
    return None


def names(kind: Kind, marker: str) -> list[str]:
    """Names of everything of that kind, sorted, each once."""
    found = {
        child.parent.name for folder in folders(kind) if folder.is_dir()
        for child in folder.glob(f"*/{marker}")
    }
    return sorted(found)
