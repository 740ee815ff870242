"""The rows of a run that belong to one model and one concept."""

import json
from typing import TYPE_CHECKING, Any

from virtuelens.audits.run import Run

if TYPE_CHECKING:
    import pandas as pd


def rows(run: Run, table: str, model: str, concept: str) -> "pd.DataFrame":
    """The rows of a table for this model and concept; empty where there are none."""
    whole = run.table(table)
    return whole[(whole["model"] == model) & (whole["concept"] == concept)].reset_index(drop=True)


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
    """What the model said at each dose: dose, prompt, text. Lines that are not JSON are skipped."""
    path = run.path / "generations.jsonl"
    found = []
    lines = path.read_text("utf-8", errors="replace").split("\n") if path.is_file() else []
    for line in lines:
        try:
            value = json.loads(line)
        except json.JSONDecodeError:
            continue  # the last line of a run that was killed while writing
        if isinstance(value, dict) and (value.get("model"), value.get("concept")) == (
            model, concept
        ):
            found.append(value)
    return found
