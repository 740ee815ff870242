"""A comparison of packs as a folder: what `virtuelens compare-packs` writes and its page reads.

    packs.json  generalisation.parquet  summary.parquet  agreement.parquet  disagreements.parquet
    disagreement_by_group.parquet  probes/*.safetensors  packs.html
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from virtuelens import storage
from virtuelens.errors import StoreError
from virtuelens.probing.agreement import agreement, disagreement_by_group, disagreements
from virtuelens.probing.generalisation import compare_packs, read_packs
from virtuelens.probing.probes import save_probe

if TYPE_CHECKING:
    import pandas as pd

    from virtuelens.concepts.pack import Concept
    from virtuelens.models import HookedModel

SCHEMA = 1
TABLES = ("generalisation", "summary", "agreement", "disagreements", "disagreement_by_group")


@dataclass(frozen=True)
class PackStudy:
    """A folder with a comparison of packs, opened; `about` is packs.json."""

    path: Path
    about: dict[str, Any]

    def table(self, name: str) -> "pd.DataFrame":
        """One of `TABLES`."""
        return storage.read_table(self.path / f"{name}.parquet")


def study_packs(
    model: "HookedModel",
    concepts: "Sequence[Concept]",
    out: Path,
    *,
    methods: Sequence[str] = ("diff_means",),
    positions: Sequence[str] = (),
    n_permutations: int = 1000,
    n_bootstrap: int = 1000,
    seed: int = 0,
    progress: Callable[[str], None] = lambda stage: None,
) -> PackStudy:
    """Compare packs in one model and write the folder; `packs.json` comes last.

    Raises: ProbeError: packs that cannot be compared. StoreError: `out` holds something else.
    """
    out = Path(out)
    if out.is_dir() and any(out.iterdir()) and not (out / "packs.json").is_file():
        raise StoreError(f"{out} is not empty and holds no comparison of packs: choose another "
                         "--out.")
    progress("harvest")
    packs = read_packs(model, concepts, positions=positions)
    progress("probes and matrix")
    compared = compare_packs(
        packs, fingerprint=model.info.fingerprint, methods=methods,
        n_permutations=n_permutations, n_bootstrap=n_bootstrap, seed=seed,
    )
    progress("agreement")
    tables = dict(zip(TABLES, (
        compared.matrix, compared.summary, agreement(compared), disagreements(compared),
        disagreement_by_group(compared),
    ), strict=True))
    for name, table in tables.items():
        storage.write_table(out / f"{name}.parquet", table)
    for old in (out / "probes").glob("*.safetensors"):
        old.unlink()  # of an earlier comparison, perhaps of other packs
    for name, t in compared.trained.items():
        save_probe(t.probe, out / "probes" / f"{name}.safetensors")
    storage.write_json(out / "packs.json", {
        "schema": SCHEMA,
        "virtuelens": version("virtuelens"),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {n: version(n) for n in ("torch", "transformers", "scikit-learn", "numpy")},
        "model": model.info.to_json(),
        "packs": {c.name: {"version": c.version, "hash": c.hash, "author": c.author,
                           "theory": c.theory, "definition": c.definition} for c in concepts},
        "config": {"methods": list(methods), "positions": sorted({
            t.probe.direction.position for t in compared.trained.values()}),
            "n_permutations": n_permutations, "n_bootstrap": n_bootstrap, "seed": seed},
    })
    return open_study(out)


def open_study(path: Path) -> PackStudy:
    """The comparison of packs in a folder.

    Raises: StoreError: none there, or of another schema.
    """
    return PackStudy(Path(path), storage.read_json(Path(path) / "packs.json", schema=SCHEMA))
