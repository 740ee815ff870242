"""A folder of runs, as the dashboard shows it: what is there, and opening one by its name."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from virtuelens.audits.ladder import RUNGS
from virtuelens.audits.run import Run, RunSummary, list_runs, open_run
from virtuelens.errors import StoreError
from virtuelens.reports.words import plain_concept, visible

RUNS_VARIABLE = "VIRTUELENS_RUNS"


def runs_folder() -> Path:
    """The folder the dashboard was started on; `runs` in the working directory where none is set.

    Raises: StoreError: it is not a folder.
    """
    folder = Path(os.environ.get(RUNS_VARIABLE) or "runs")
    if not folder.is_dir():
        raise StoreError(
            f"{folder} is not a folder of runs: start the dashboard with the folder that holds "
            "them, for example: virtuelens dashboard runs"
        )
    return folder


def summaries(folder: Path) -> list[RunSummary]:
    """Every run of a folder, newest first; a broken one says why in `problem`, in one line."""
    return list_runs(folder)


def open_named(folder: Path, name: str) -> Run:
    """The run of that name in the folder; a name is never a path, so nothing outside is reached.

    Raises: StoreError: no such run, or it cannot be read.
    """
    if name not in {s.path.name for s in list_runs(folder)}:
        raise StoreError(
            f"There is no run {visible(name)!r} in {folder}: it may have been moved or deleted. "
            "Choose another in the list of runs."
        )
    return open_run(folder / name)


def folders_with(folder: Path, pattern: str) -> list[str]:
    """Names of the sub-folders that hold such a file, newest first."""
    found = {p.parent for p in folder.glob(f"*/{pattern}")}
    return [p.name for p in sorted(found, key=lambda p: (p.stat().st_mtime, p.name), reverse=True)]


def named_folder(folder: Path, name: str, pattern: str) -> Path:
    """The sub-folder of that name; a name is never a path, so nothing outside is reached.

    Raises: StoreError: there is no such one.
    """
    if name not in folders_with(folder, pattern):
        raise StoreError(f"There is nothing {visible(name)!r} in {folder}: it may have been moved "
                         "or deleted. Choose another.")
    return folder / name


def rungs_in_words(summary: RunSummary) -> list[str]:
    """One line per concept: the rung in the model and, where there is one, in its twin."""
    by_concept: dict[str, list[str]] = {}
    for model, concept, rung in summary.rungs:
        who = "" if model == summary.model else " (twin)"
        name = RUNGS[rung] if 0 <= rung < len(RUNGS) else "unknown"
        by_concept.setdefault(concept, []).append(f"{rung} {name}{who}")
    return [f"{plain_concept(c)}: {', '.join(r)}" for c, r in by_concept.items()]


def matching(found: Sequence[RunSummary], words: str) -> list[RunSummary]:
    """The summaries that hold every word in their folder, model, twin or concepts."""
    wanted = re.split(r"\s+", words.strip().lower()) if words.strip() else []
    out = []
    for s in found:
        text = " ".join([s.path.name, s.model, s.twin, s.problem, *(c for _, c, _ in s.rungs)])
        if all(word in text.lower() for word in wanted):
            out.append(s)
    return out


def started(summary: RunSummary) -> str:
    """When the run was started, to the minute, UTC; empty where it is not known."""
    return summary.started[:16].replace("T", " ") + (" UTC" if summary.started else "")
