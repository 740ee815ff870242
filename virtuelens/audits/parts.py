"""One concept in one model, measured and kept: the unit that an interrupted audit does not lose.

A part is a folder `parts/<key>/` with its tables as Parquet, its probe, and `part.json`, written
last: a part without it was not finished and is measured again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from virtuelens import storage
from virtuelens.audits.ladder import Causal, Evidence, Thresholds, climb
from virtuelens.audits.record import of_rung
from virtuelens.audits.run import TABLES
from virtuelens.probing.calibrated import Ready, save_ready
from virtuelens.probing.probes import Probe, save_probe
from virtuelens.stats import benjamini_hochberg
from virtuelens.values.estimates import Estimate

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 3
"""Of a part, and of how it is measured: parts of another schema are measured again."""


@dataclass(frozen=True)
class Measured:
    """Everything measured for one concept in one model.

    p: permutation p-value; the ladder adjusts it over concepts when all are done.
    surface: AUROC of the strongest surface rival on the held-out groups.
    site: layer, hook point and position of the selected probe.
    """

    model: str
    concept: str
    dialect: str
    evidence: Evidence
    p: float
    surface: Estimate
    layer: int
    point: str
    position: str
    method: str
    steered_at: str
    not_tested: tuple[str, ...]
    tables: Mapping[str, "pd.DataFrame"]
    generations: tuple[dict[str, Any], ...]
    probe: Ready | Probe
    seconds: Mapping[str, float]


def part_key(model: str, concept: str, *, identity: Mapping[str, Any]) -> str:
    """Folder name of a part; `identity` (weights, pack, settings) makes stale parts not match."""
    digest = storage.sha256_text(json.dumps({"schema": SCHEMA, **identity}, sort_keys=True))[:12]
    readable = "".join(c if c.isalnum() or c in "-_" else "-" for c in f"{model}.{concept}")[-60:]
    return f"{readable}.{digest}"


def save_part(folder: Path, measured: Measured) -> None:
    """Write a part; `part.json` comes last and makes it whole."""
    for name, table in measured.tables.items():
        storage.write_table(folder / f"{name}.parquet", table)
    if isinstance(measured.probe, Ready):
        save_ready(measured.probe, folder / "probe.safetensors")
    else:
        save_probe(measured.probe, folder / "probe.safetensors")
    about = {
        k: getattr(measured, k)
        for k in ("model", "concept", "dialect", "p", "layer", "point", "position", "method",
                  "steered_at", "not_tested", "generations", "seconds")
    }
    about |= {
        "schema": SCHEMA,
        "surface": asdict(measured.surface),
        "evidence": asdict(replace(measured.evidence, q=measured.p)),
    }
    storage.write_json(folder / "part.json", _finite(about))


def load_part(folder: Path) -> dict[str, Any] | None:
    """The description of a finished part, or None."""
    if not (folder / "part.json").is_file():
        return None
    part: dict[str, Any] = storage.read_json(folder / "part.json", schema=SCHEMA)
    return part


def finding(part: Mapping[str, Any], *, q: float, thresholds: Thresholds) -> dict[str, Any]:
    """The finding of report.json for one part, once its q-value is known."""
    evidence = replace(evidence_of(part), q=q)
    reached = climb(evidence, thresholds)
    c = evidence.causal
    return {
        "model": part["model"],
        "concept": part["concept"],
        "dialect": part["dialect"],
        "rung": reached.rung,
        "rung_name": reached.rung_name,
        "calibration": _calibration(reached.rung),
        "auroc": evidence.auroc.to_json(),
        "q": q,
        "surface_auroc": part["surface"],
        "layer": part["layer"],
        "position": part["position"],
        "method": part["method"],
        "steering": None if c is None else {
            "slope": c.slope.value, "low": c.slope.low, "high": c.slope.high, "n": c.slope.n,
            "random_p99": c.random_p99, "n_random": c.n_random, "kl_at_dose": c.kl_at_dose,
            "dose": c.dose, "gap": c.gap, "rate_change": c.rate_change,
            "monotonicity": c.monotonicity, "at": part["steered_at"],
        },
        "beyond_surface": _each(evidence.beyond),
        "transfer": evidence.transfer.to_json() if evidence.transfer else None,
        "specificity": _each(evidence.specific),
        "stopped_because": reached.stopped_because,
        "not_tested": list(part["not_tested"]),
    }


def _calibration(rung: int) -> dict[str, Any] | None:
    """How often the ladder was right at that rung on organisms; None where that is not known."""
    kept = of_rung(rung) if rung else None
    return None if kept is None else {"right": kept.right, "false_positive": kept.false_positive}


def findings(parts: Sequence[Mapping[str, Any]], thresholds: Thresholds) -> list[dict[str, Any]]:
    """Findings of all parts; the false-discovery rate is held over the concepts of each model."""
    q_of: dict[tuple[str, str], float] = {}
    for model in {p["model"] for p in parts}:
        mine = [p for p in parts if p["model"] == model]
        adjusted = benjamini_hochberg([p["p"] for p in mine])
        q_of |= {(model, p["concept"]): q for p, q in zip(mine, adjusted, strict=True)}
    found: list[dict[str, Any]] = _finite(
        [finding(p, q=q_of[p["model"], p["concept"]], thresholds=thresholds) for p in parts]
    )
    return found


def combine(run: Path, folders: Sequence[Path]) -> None:
    """Put the run's tables, probes and generations together from its finished parts."""
    import pandas as pd

    parts = [part for f in folders if (part := load_part(f)) is not None]
    for name, columns in TABLES.items():
        tables = [storage.read_table(f / f"{name}.parquet") for f in folders
                  if (f / f"{name}.parquet").is_file()]
        tables = [t for t in tables if len(t)]
        whole = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
        storage.write_table(run / f"{name}.parquet", whole.reindex(columns=list(columns)))
    lines = [json.dumps(g, ensure_ascii=False) for p in parts for g in p["generations"]]
    storage.write_text(run / "generations.jsonl", "".join(line + "\n" for line in lines))
    for folder in folders:
        source = folder / "probe.safetensors"
        if source.is_file():
            target = run / "probes" / f"{folder.name}.safetensors"
            storage.write_bytes(target, source.read_bytes())


def evidence_of(part: Mapping[str, Any]) -> Evidence:
    """The numbers of a part, as the ladder takes them; its q is the unadjusted p."""
    value = part["evidence"]

    def one(v: Mapping[str, Any] | None) -> Estimate | None:
        return None if v is None else Estimate(**_restored(v))

    def several(v: Mapping[str, Any] | None) -> dict[str, Estimate] | None:
        return None if v is None else {k: Estimate(**_restored(e)) for k, e in v.items()}

    auroc = one(value["auroc"])
    assert auroc is not None
    causal = value["causal"]
    return Evidence(
        auroc=auroc,
        q=value["q"],
        beyond=several(value["beyond"]),
        transfer=one(value["transfer"]),
        transfer_beyond=one(value["transfer_beyond"]),
        causal=None if causal is None
        else Causal(**{**causal, "slope": Estimate(**_restored(causal["slope"]))}),
        specific=several(value["specific"]) or {},
    )


def _each(estimates: Mapping[str, Estimate] | None) -> dict[str, dict[str, Any]] | None:
    return None if estimates is None else {k: e.to_json() for k, e in estimates.items()}


def _finite(value: Any) -> Any:
    """JSON has no infinity: an unbounded interval end is written as null."""
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


def _restored(estimate: Mapping[str, Any]) -> dict[str, Any]:
    ends = {"low": float("-inf"), "high": float("inf")}
    return {k: ends[k] if v is None and k in ends else v for k, v in estimate.items()}
