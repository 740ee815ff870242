"""The checkpoints of a training run, harvested alike and kept as one series.

    SERIES/series.json      the checkpoints in order: label, model, weights
           LABEL/           a store each

A checkpoint that is there already is not run again, so a series grows with the training.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from virtuelens import storage
from virtuelens.activations.activations import Activations
from virtuelens.activations.store import Store, open_store
from virtuelens.errors import StoreError

if TYPE_CHECKING:
    from virtuelens.models import HookedModel

SCHEMA = 1
SERIES = "series.json"


@dataclass(frozen=True)
class Series:
    """Stores of the same texts, points and positions, in the order of training."""

    path: Path
    labels: tuple[str, ...]

    def store(self, label: str) -> Store:
        """The store of one checkpoint.

        Raises: StoreError: damaged or unfinished.
        """
        return open_store(self.path / label)

    def __iter__(self) -> Iterator[tuple[str, Activations]]:
        """Label and activations of each checkpoint, one after the other."""
        for label in self.labels:
            yield label, self.store(label).load()


def harvest_series(
    checkpoints: Mapping[str, str],
    run: Callable[["HookedModel", Path], Activations],
    *,
    out: Path,
    load: Callable[[str], "HookedModel"],
    at: Callable[[str], None] = lambda label: None,
) -> Series:
    """Harvest every checkpoint into its folder; one model is in memory at a time.

    checkpoints: label -> name of the model, in the order of training; those of a series that
        stands in `out` stay, before new ones.
    run: harvests one model into a folder, the same for all. load: the model of a name.
    at: told which checkpoint comes next.

    Raises: StoreError: a checkpoint has another architecture, size or tokenizer than the first, so
        the same plan does not fit it. Errors of loading and harvesting pass through; finished
        stores stay.
    """
    for label in checkpoints:
        if not label or Path(label).name != label or label == SERIES:
            raise StoreError(f"{label!r} cannot name a folder of the series.")
    entries = _known(out, checkpoints)
    first: dict[str, Any] = {}
    for label, name in checkpoints.items():
        at(label)
        model = load(name)
        info = model.info.to_json()
        first = first or info
        for key in ("architecture", "n_layers", "d_model", "tokenizer_hash"):
            if info[key] != first[key]:
                raise StoreError(
                    f"{name} has another {key} than {next(iter(checkpoints.values()))} "
                    f"({info[key]!r}, not {first[key]!r}): they are not one training run."
                )
        run(model, out / label)
        entries[label] = {"label": label, "model": name, "fingerprint": info["fingerprint"]}
        storage.write_json(out / SERIES, {
            "schema": SCHEMA, "kind": "series",
            "checkpoints": [entry for entry in entries.values() if entry],
        })
    return open_series(out)


def _known(out: Path, checkpoints: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Entries by label: those of a series that stands there, then the new ones, still empty."""
    before = []
    if is_series(out):
        open_series(out)
        before = storage.read_json(out / SERIES, schema=SCHEMA)["checkpoints"]
    return {str(e["label"]): e for e in before} | {
        label: {} for label in checkpoints if label not in {str(e["label"]) for e in before}
    }


def is_series(path: Path | str) -> bool:
    """Whether that folder holds a series rather than one store."""
    return (Path(path) / SERIES).is_file()


def open_series(path: Path | str) -> Series:
    """The series in that folder.

    Raises: StoreError: none is there.
    """
    found = storage.read_json(Path(path) / SERIES, schema=SCHEMA)
    if found.get("kind") != "series":
        raise StoreError(f"{path} is no series: make one with virtuelens harvest --revisions.")
    return Series(Path(path), tuple(str(c["label"]) for c in found["checkpoints"]))
