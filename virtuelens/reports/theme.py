"""One look for every figure: colours that survive colour-blindness, readable type, light and dark.

Colours of series are Okabe and Ito's, which keep apart in the common colour-vision deficiencies
and stand out on white and on near-black alike; dashes and symbols say the same a second time.
"""

import textwrap
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio

from virtuelens.reports.words import escaped, plain_source

BLUE, VERMILION, GREEN, PINK, ORANGE, GREY = (
    "#1f78b4", "#d55e00", "#009e73", "#c2609a", "#c98500", "#808893",
)
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
TITLE_WIDTH = 66


@dataclass(frozen=True)
class Look:
    """How one series is drawn: never by colour alone."""

    color: str
    dash: str
    symbol: str


SOURCES: dict[str, Look] = {
    "probe": Look(BLUE, "solid", "circle"),
    "bag_of_words": Look(VERMILION, "dash", "square"),
    "length": Look(GREY, "dot", "x"),
    "position": Look(GREY, "dashdot", "hourglass"),
    "embedding": Look(GREEN, "dashdot", "diamond"),
    "random_weights": Look(PINK, "longdash", "triangle-up"),
    "control_task": Look(ORANGE, "longdashdot", "cross"),
}
"""Source of a score -> its look; the first is the probe, the others are what it must beat."""

KINDS: dict[str, Look] = {
    "target": Look(BLUE, "solid", "circle"),
    "companion": Look(GREEN, "dash", "diamond"),
    "neighbour": Look(VERMILION, "dot", "square"),
    "neutral": Look(GREY, "dashdot", "x"),
}
"""Kind of a behaviour -> its look."""


def look_of(source: str) -> Look:
    """The look of a source, grey and dotted for one this version does not know."""
    return SOURCES.get(source, Look(GREY, "dot", "circle-open"))


def _template(
    *, ink: str, soft: str, grid: str, paper: str, scale: list[str]
) -> go.layout.Template:
    axis = {
        "gridcolor": grid, "linecolor": grid, "zerolinecolor": grid, "ticks": "outside",
        "tickcolor": grid, "title": {"standoff": 8, "font": {"size": 13}}, "automargin": True,
        "tickfont": {"size": 12, "color": soft},
    }
    layout = {
        "font": {"family": FONT, "size": 13, "color": ink},
        "title": {
            "x": 0, "xref": "paper", "xanchor": "left", "font": {"size": 15},
            "subtitle": {"font": {"size": 12, "color": soft}},
        },
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
        "xaxis": axis, "yaxis": axis,
        "coloraxis": {"colorscale": [[i / (len(scale) - 1), c] for i, c in enumerate(scale)]},
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "yanchor": "top",
                   "font": {"size": 12}},
        "hoverlabel": {"bgcolor": paper, "font": {"family": FONT, "color": ink}, "align": "left"},
        "hovermode": "closest", "separators": ". ", "margin": {"l": 60, "r": 24, "b": 60},
        "shapedefaults": {"line": {"color": soft}},
        "annotationdefaults": {"font": {"size": 12, "color": soft}, "showarrow": False},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": soft, "activecolor": ink},
        "colorway": [BLUE, VERMILION, GREEN, PINK, ORANGE, GREY],
    }
    return go.layout.Template(layout=layout)


LIGHT, DARK = "virtuelens", "virtuelens_dark"
pio.templates[LIGHT] = _template(
    ink="#1c2530", soft="#52606d", grid="#dfe4ea", paper="#ffffff",
    scale=["#f1f4f8", "#c3d7ea", "#83b3d9", "#3f86bd", "#135a91", "#06335a"],
)
pio.templates[DARK] = _template(
    ink="#e6eaef", soft="#a3aebb", grid="#39424e", paper="#1b2129",
    scale=["#20272f", "#1f3d58", "#20608f", "#3a8bc4", "#83bce4", "#d9edfb"],
)


def new_figure(title: str, note: str, *, height: int, figure: go.Figure | None = None) -> go.Figure:
    """A figure (or the one given) with the house look.

    title: what is seen, in words; note: n and how to read it. Both are plain text: they are
    escaped here, wrapped, and kept unwrapped in `layout.meta` for pages that set them in type.
    """
    figure = figure if figure is not None else go.Figure()
    lines = textwrap.wrap(title, TITLE_WIDTH)
    notes = textwrap.wrap(note, TITLE_WIDTH + 16)
    figure.update_layout(
        template=LIGHT,
        height=height + 18 * (len(lines) + len(notes)),
        margin_t=44 + 18 * (len(lines) + len(notes)),
        legend_y=-62 / max(110, height - 110),  # below the axis title, whatever the height
        title={
            "text": "<br>".join(map(escaped, lines)),
            "subtitle": {"text": "<br>".join(map(escaped, notes))},
            "y": 0.985, "yanchor": "top", "yref": "container",
        },
        meta={"title": title, "note": note},
    )
    return figure


def without_title(figure: go.Figure) -> go.Figure:
    """A copy whose title is left to the page around it; it is in `layout.meta`."""
    taken = go.Figure(figure)
    above = int(taken.layout.margin.t or 60)
    keep = 34 if taken.layout.annotations else 18
    taken.update_layout(
        title={"text": "", "subtitle": {"text": ""}}, margin_t=keep,
        height=int(taken.layout.height) - above + keep,
    )
    return taken


def whiskers(rows: Any, *, value: str = "value") -> dict[str, Any]:
    """Plotly error bars from columns `low` and `high`; none where an end is not finite."""
    import numpy as np

    up = (rows["high"] - rows[value]).to_numpy(dtype=float)
    down = (rows[value] - rows["low"]).to_numpy(dtype=float)
    bounded = np.isfinite(up) & np.isfinite(down)
    return {
        "type": "data", "symmetric": False, "thickness": 1.5, "width": 5,
        "array": np.where(bounded, up, 0.0), "arrayminus": np.where(bounded, down, 0.0),
    }


def source_name(source: str) -> str:
    """A source in plain words, escaped for Plotly."""
    return escaped(plain_source(source))
