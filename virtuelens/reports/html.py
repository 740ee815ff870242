"""report.html: one file that opens without a network and says first what it found.

1. Put the words and tables of every concept and model together (`page`).
2. Draw every figure that the run has data for.
3. Render the template with everything inside (`one_file`).
4. Write the file whole or not at all.
"""

from dataclasses import dataclass
from pathlib import Path

from virtuelens import storage
from virtuelens.audits.ladder import RUNGS
from virtuelens.audits.run import Run, open_run
from virtuelens.reports.claims import CLAIMS, MUST_BEAT
from virtuelens.reports.figures import FIGURES
from virtuelens.reports.one_file import Drawn, drawn, render_page
from virtuelens.reports.outside import outside
from virtuelens.reports.page import Section, differences, provenance, section, verdict_table
from virtuelens.reports.rows import check_findings, concepts_of, models_of
from virtuelens.reports.words import plain_concept


@dataclass(frozen=True)
class FigureGroup:
    """One row of FIGURES for a concept: the model's and the twin's figure side by side."""

    heading: str
    about: str
    cites: str
    drawn: tuple[Drawn, ...]


@dataclass(frozen=True)
class ConceptPart:
    """One concept of the report: a section per model, then the figures."""

    id: str
    name: str
    sections: tuple[Section, ...]
    groups: tuple[FigureGroup, ...]


def write_report(run: Run | Path | str, to: Path | str | None = None) -> Path:
    """Write the report of a run, `report.html` in its directory or `to`; the path written.

    Raises: StoreError: not a run directory, or damaged. DiskError: it could not be written.
    """
    opened = run if isinstance(run, Run) else open_run(Path(run))
    path = opened.path / "report.html" if to is None else Path(to)
    storage.write_text(path, render(opened))
    return path


def render(run: Run) -> str:
    """The whole report as HTML, everything it needs inside.

    Raises: StoreError: a table or finding of the run is damaged.
    """
    check_findings(run)
    parts, figures = _parts(run)
    return render_page("report.html.j2", {
        "run": run,
        "version": run.about.get("virtuelens", "unknown"),
        "models": models_of(run),
        "verdicts": verdict_table(run),
        "differences": differences(run),
        "parts": parts,
        "outside": outside(run),
        "provenance": provenance(run),
        "rungs": list(zip(RUNGS, CLAIMS, MUST_BEAT, strict=True)),
        "dialects": sorted({str(f["dialect"]) for f in run.findings if f.get("dialect")}
                           or {str(run.about["model"].get("dialect", "unknown"))}),
    }, figures)


def _parts(run: Run) -> tuple[list[ConceptPart], list[Drawn]]:
    parts, figures = [], []
    for i, concept in enumerate(concepts_of(run)):
        groups = []
        for row in FIGURES.values():
            mine = [
                drawn(figure, f"figure-{i}-{row.name}-{k}")
                for k, model in enumerate(models_of(run))
                if (figure := row.draw(run, model, concept)) is not None
            ]
            figures += mine
            if mine:
                groups.append(FigureGroup(row.heading, row.about, row.cites, tuple(mine)))
        sections = [s for m in models_of(run) if (s := section(run, m, concept)) is not None]
        parts.append(
            ConceptPart(f"concept-{i}", plain_concept(concept), tuple(sections), tuple(groups))
        )
    return parts, figures
