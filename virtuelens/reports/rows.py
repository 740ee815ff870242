"""The rows of a run that belong to one model and one concept."""

import json
from typing import TYPE_CHECKING, Any

from virtuelens.audits.ladder import RUNGS
from virtuelens.audits.run import TABLES, Run
from virtuelens.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

NEEDED = ("model", "concept", "rung", "auroc", "layer", "position", "stopped_because", "not_tested")
"""Keys without which a finding cannot be shown."""


def rows(run: Run, table: str, model: str, concept: str) -> "pd.DataFrame":
    """The rows of a table for this model and concept; empty where there are none.

    Raises: StoreError: the table is damaged or lacks a column of its schema.
    """
    whole = run.table(table)
    missing = [column for column in TABLES[table] if column not in whole.columns]
    if missing:
        raise StoreError(
            f"{run.path / table}.parquet lacks the column {missing[0]!r}: the run is damaged, "
            "audit again."
        )
    return whole[(whole["model"] == model) & (whole["concept"] == concept)].reset_index(drop=True)


def check_findings(run: Run) -> None:
    """Nothing, where every finding holds what pages need.

    Raises: StoreError: a finding lacks a key or has a rung outside the ladder.
    """
    for i, finding in enumerate(run.findings):
        missing = [key for key in NEEDED if finding.get(key) is None]
        if missing:
            raise StoreError(
                f"{run.path}/report.json: finding {i} lacks {missing[0]!r}: the run is damaged, "
                "audit again."
            )
        if finding["rung"] not in range(len(RUNGS)):
            raise StoreError(
                f"{run.path}/report.json: finding {i} has rung {finding['rung']!r}, the ladder "
                f"has 0 to {len(RUNGS) - 1}."
            )


def finding_of(run: Run, model: str, concept: str) -> dict[str, Any] | None:
    """The finding of report.json for this model and concept, or None."""
    for finding in run.findings:
        if finding["model"] == model and finding["concept"] == concept:
            return finding
    return None


def concepts_of(run: Run) -> tuple[str, ...]:
    """Concepts with a finding, in the order they were audited."""
    return tuple(dict.fromkeys(str(f["concept"]) for f in run.findings))


def models_of(run: Run) -> tuple[str, ...]:
    """The model, then its twin; each name once, those with findings only."""
    with_findings = {str(f["model"]) for f in run.findings}
    known = [m for m in dict.fromkeys(run.models) if m in with_findings]
    return (*known, *sorted(with_findings - set(known)))


def judged_split(evidence: "pd.DataFrame") -> str:
    """Where the probe faces its rivals: the set `shifted` where the pack has one, else `test`."""
    return "shifted" if (evidence["split"] == "shifted").any() else "test"


def generations_of(run: Run, model: str, concept: str) -> list[dict[str, Any]]:
    """What the model said at each dose: dose, prompt, text. Lines without them are skipped."""
    path = run.path / "generations.jsonl"
    found = []
    lines = path.read_text("utf-8", errors="replace").split("\n") if path.is_file() else []
    for line in lines:
        try:
            value = json.loads(line)
        except json.JSONDecodeError:
            continue  # the last line of a run that was killed while writing
        if not isinstance(value, dict) or not {"dose", "prompt", "text"} <= value.keys():
            continue
        if (value.get("model"), value.get("concept")) == (model, concept):
            found.append(value)
    return found
