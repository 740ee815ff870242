"""report.html: one file that opens without a network and says first what it found.

1. Put the words and tables of every concept and model together (`page`).
2. Draw every figure that the run has data for, without title (the page sets it in type).
3. Render the template, autoescape on; figures travel as JSON in which no markup survives.
4. Write the file whole or not at all.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import plotly
import plotly.io as pio
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from virtuelens import storage
from virtuelens.audits.ladder import RUNGS
from virtuelens.audits.run import Run, open_run
from virtuelens.reports.claims import CLAIMS, MUST_BEAT
from virtuelens.reports.figures import FIGURES
from virtuelens.reports.page import Section, differences, provenance, section, verdict_table
from virtuelens.reports.rows import check_findings, concepts_of, models_of
from virtuelens.reports.theme import DARK, LIGHT, without_title
from virtuelens.reports.words import plain_concept, sentence_case, visible

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Drawn:
    """One figure on the page: its id, its words, its height in pixels and its description."""

    id: str
    model: str
    title: str
    note: str
    height: int


@dataclass(frozen=True)
class FigureGroup:
    """One row of FIGURES for a concept: the model's and the twin's figure side by side."""

    heading: str
    about: str
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
    return _environment().get_template("report.html.j2").render(
        run=run,
        models=models_of(run),
        verdicts=verdict_table(run),
        differences=differences(run),
        parts=parts,
        provenance=provenance(run),
        rungs=list(zip(RUNGS, CLAIMS, MUST_BEAT, strict=True)),
        dialects=sorted({str(f["dialect"]) for f in run.findings if f.get("dialect")}
                        or {str(run.about["model"].get("dialect", "unknown"))}),
        plotly_version=plotly.__version__,
        css=Markup((TEMPLATES / "report.css").read_text("utf-8")),
        js=Markup((TEMPLATES / "report.js").read_text("utf-8")),
        plotly_js=Markup(get_plotlyjs()) if figures else "",
        figures=_json_for_script(figures),
        looks=_json_for_script(_looks()),
    )


def _parts(run: Run) -> tuple[list[ConceptPart], dict[str, Any]]:
    parts, figures = [], {}
    for i, concept in enumerate(concepts_of(run)):
        groups = []
        for row in FIGURES.values():
            drawn = []
            for k, model in enumerate(models_of(run)):
                figure = row.draw(run, model, concept)
                if figure is None:
                    continue
                name = f"figure-{i}-{row.name}-{k}"
                bare = without_title(figure)
                value = json.loads(pio.to_json(bare, validate=False))
                value["layout"].pop("template", None)  # one light and one dark for all
                figures[name] = value
                meta = figure.layout.meta
                drawn.append(
                    Drawn(name, model, meta["title"], meta["note"], int(bare.layout.height))
                )
            if drawn:
                groups.append(FigureGroup(row.heading, row.about, tuple(drawn)))
        sections = [s for m in models_of(run) if (s := section(run, m, concept)) is not None]
        parts.append(
            ConceptPart(f"concept-{i}", plain_concept(concept), tuple(sections), tuple(groups))
        )
    return parts, figures


def _looks() -> dict[str, Any]:
    return {
        name: pio.templates[template].to_plotly_json()
        for name, template in (("light", LIGHT), ("dark", DARK))
    }


def _json_for_script(value: Any) -> Markup:
    """JSON that can stand inside a script element whatever strings it holds."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )
    environment.filters["visible"] = lambda value: visible(str(value))
    environment.filters["sentence"] = sentence_case
    return environment
