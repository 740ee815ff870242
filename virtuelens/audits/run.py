"""A run directory: what an audit writes and everything else reads.

    run.json  report.json  evidence.parquet  scores.parquet  nulls.parquet  steering.parquet
    features.parquet  generations.jsonl  probes/*.safetensors  parts/  report.html

`parts/` holds one finished (model, concept) each, so that an interrupted audit keeps what it did;
the files above are put together from the parts. Tables are Parquet: DuckDB reads many runs at once.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from virtuelens import storage
from virtuelens.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1

TABLES: dict[str, tuple[str, ...]] = {
    "evidence": (
        "model", "concept", "dialect", "layer", "point", "position", "method", "split", "source",
        "metric", "value", "low", "high", "n", "null", "p", "selected",
    ),
    "scores": (
        "model", "concept", "split", "source", "example_id", "group", "label", "score",
    ),
    "nulls": ("model", "concept", "kind", "value"),
    "steering": (
        "model", "concept", "behaviour", "kind", "direction", "point", "where", "dose",
        "coefficient", "score", "rate", "low", "high", "n", "kl_mean", "kl_p95",
    ),
    "features": (
        "model", "concept", "sae", "feature", "sign", "auroc", "low", "high", "null", "density",
        "passages",
    ),
}


@dataclass(frozen=True)
class Run:
    """One run directory, opened.

    about: run.json (schema, provenance, configuration, timings, complete).
    findings: the findings of report.json.
    """

    path: Path
    about: dict[str, Any]
    findings: tuple[dict[str, Any], ...]

    def table(self, name: str) -> "pd.DataFrame":
        """A table of the run; empty, with the right columns, where nothing was written."""
        import pandas as pd

        if name not in TABLES:
            raise StoreError(f"A run has no table {name!r}: choose from {', '.join(TABLES)}.")
        path = self.path / f"{name}.parquet"
        if not path.is_file():
            return pd.DataFrame(columns=list(TABLES[name]))
        return storage.read_table(path)

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the model and, where there is one, its twin."""
        twin = self.about.get("twin")
        return (self.about["model"]["name"], *([twin["name"]] if twin else []))

    @property
    def not_audited(self) -> tuple[dict[str, str], ...]:
        """Concepts that could not be measured: `model`, `concept`, `reason`."""
        return tuple(self.about.get("not_audited", ()))

    @property
    def complete(self) -> bool:
        """Whether the audit reached its end."""
        return bool(self.about.get("complete"))


@dataclass(frozen=True)
class RunSummary:
    """A line of a list of runs; `problem` says why a folder cannot be read, else it is empty."""

    path: Path
    problem: str = ""
    model: str = ""
    twin: str = ""
    started: str = ""
    complete: bool = False
    rungs: tuple[tuple[str, str, int], ...] = ()


def open_run(path: Path) -> Run:
    """The run in a directory.

    Raises: StoreError: not a run directory, of another schema version, or damaged.
    """
    path = Path(path)
    if not (path / "run.json").is_file():
        raise StoreError(f"{path} is not a run directory: it has no run.json.")
    about = storage.read_json(path / "run.json", schema=SCHEMA)
    findings: list[dict[str, Any]] = []
    if (path / "report.json").is_file():
        report = storage.read_json(path / "report.json", schema=SCHEMA)
        findings = report.get("findings", [])
    missing = {"model", "config", "complete"} - set(about)
    if missing:
        raise StoreError(f"{path}/run.json lacks {sorted(missing)[0]!r}: the run is damaged.")
    return Run(path, about, tuple(findings))


def list_runs(folder: Path) -> list[RunSummary]:
    """Every sub-folder that looks like a run, newest first; broken ones with their reason."""
    found = []
    for marker in sorted(Path(folder).glob("*/run.json"), reverse=True):
        try:
            run = open_run(marker.parent)
            twin = run.about.get("twin")
            found.append(
                RunSummary(
                    run.path,
                    model=str(run.about["model"]["name"]),
                    twin=str(twin["name"]) if twin else "",
                    started=str(run.about.get("started", "")),
                    complete=run.complete,
                    rungs=tuple(
                        (str(f["model"]), str(f["concept"]), int(f["rung"])) for f in run.findings
                    ),
                )
            )
        except (StoreError, KeyError, TypeError, ValueError) as error:
            found.append(RunSummary(marker.parent, problem=str(error)))
    return sorted(found, key=lambda s: (s.started or s.path.name), reverse=True)
