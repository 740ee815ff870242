"""Pages that are one file: templates, and figures as JSON in which no markup survives.

Everything a page needs is inside: style, script, plotly.js where there is a figure. Autoescape is
on; figures travel without title (the page sets it in type) and without template (one light and one
dark for all).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import plotly
import plotly.graph_objects as go
import plotly.io as pio
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from virtuelens.reports.theme import DARK, LIGHT, without_title
from virtuelens.reports.words import sentence_case, visible

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Drawn:
    """One figure on a page: its id, its words, its height in pixels; `value` is for the script."""

    id: str
    title: str
    note: str
    height: int
    value: Mapping[str, Any]


def drawn(figure: go.Figure, id: str) -> Drawn:
    """A figure made ready for a page."""
    bare = without_title(figure)
    value = json.loads(pio.to_json(bare, validate=False))
    value["layout"].pop("template", None)
    meta = figure.layout.meta
    return Drawn(id, meta["title"], meta["note"], int(bare.layout.height), value)


def render_page(template: str, values: Mapping[str, Any], figures: list[Drawn]) -> str:
    """A page from a template, with all that its figures need inside."""
    return _environment().get_template(template).render(
        **values,
        plotly_version=plotly.__version__,
        css=Markup((TEMPLATES / "report.css").read_text("utf-8")),
        js=Markup((TEMPLATES / "report.js").read_text("utf-8")),
        plotly_js=Markup(get_plotlyjs()) if figures else "",
        figures=_json_for_script({d.id: d.value for d in figures}),
        looks=_json_for_script({
            name: pio.templates[look].to_plotly_json()
            for name, look in (("light", LIGHT), ("dark", DARK))
        }),
    )


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
