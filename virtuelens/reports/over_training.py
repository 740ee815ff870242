"""A concept over training as figures and as training.html: AUROC, where, and the direction."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from virtuelens import __version__, storage
from virtuelens.reports.one_file import drawn, render_page
from virtuelens.reports.theme import BLUE, GREEN, GREY, new_figure, whiskers
from virtuelens.reports.words import (
    escaped,
    interval,
    number,
    plain_concept,
    plain_position,
    sentence_case,
    two_digits,
)

if TYPE_CHECKING:
    import pandas as pd


def write_training(table: "pd.DataFrame", path: Path, *, concept: str, method: str) -> Path:
    """Write the page of `probing.over_training` as one file; its path.

    Raises: DiskError: it could not be written.
    """
    figures = [drawn(f, f"figure-{k}") for k, f in enumerate(
        (curve(table, concept), sites(table, concept), settling(table, concept)))]
    chosen = table[table["selected"]]
    rows = [
        {"checkpoint": r["checkpoint"], "point": r["point"],
         "position": plain_position(r['position']), "auroc": interval(r), "n": int(r["n"]),
         "null": number(r["null"]), "p": two_digits(r["p"]), "cosine": number(r["cosine"])}
        for _, r in chosen.iterrows()
    ]
    page = render_page("training.html.j2", {
        "concept": plain_concept(concept), "method": method, "rows": rows,
        "version": __version__, "figures_drawn": figures,
    }, figures)
    storage.write_text(path, page)
    return path


def curve(table: "pd.DataFrame", concept: str) -> go.Figure:
    """Held-out AUROC of each checkpoint beside the null of its sweep."""
    chosen = table[table["selected"]]
    steps = [escaped(c) for c in chosen["checkpoint"]]
    figure = go.Figure()
    figure.add_trace(go.Scatter(
        x=steps, y=chosen["null"], mode="lines",
        name="95 % of sweeps on shuffled labels stay below",
        line={"color": GREY, "dash": "dot", "width": 2},
        hovertemplate="null %{y:.3f}<extra></extra>",
    ))
    figure.add_trace(go.Scatter(
        x=steps, y=chosen["value"], mode="lines+markers", name="probe on groups kept aside",
        line={"color": BLUE, "width": 2}, marker={"size": 9},
        error_y=whiskers(chosen) | {"color": BLUE},
        customdata=[f"{escaped(r['checkpoint'])}: {interval(r)}, n = {int(r['n'])}<br>"
                    f"{escaped(r['point'])}, {escaped(plain_position(r['position']))}"
                    for _, r in chosen.iterrows()],
        hovertemplate="%{customdata}<extra></extra>",
    ))
    figure.update_xaxes(title_text="checkpoint", type="category")
    shown = chosen[["value", "low", "null"]].to_numpy(dtype=float)
    lowest = float(shown[np.isfinite(shown)].min(initial=0.37))
    figure.update_yaxes(title_text="AUROC (0.5 = chance)", range=[lowest - 0.02, 1.03])
    return new_figure(
        f"{sentence_case(plain_concept(concept))} over training",
        f"The best site of each checkpoint, chosen inside the fitting groups; n = "
        f"{int(chosen['n'].iloc[0])} examples of other groups; whiskers are 95 % intervals over "
        "groups.", height=340, figure=figure,
    )


def sites(table: "pd.DataFrame", concept: str) -> go.Figure:
    """Cross-validated AUROC of every site at every checkpoint."""
    steps = list(dict.fromkeys(table["checkpoint"]))
    places = list(dict.fromkeys(zip(table["point"], table["position"], strict=True)))
    by_cell = {(r["point"], r["position"], r["checkpoint"]): r for _, r in table.iterrows()}
    figure = go.Figure(go.Heatmap(
        z=[[by_cell[*place, step]["cv_value"] for step in steps] for place in places],
        x=[escaped(s) for s in steps],
        y=[f"{escaped(point)}, {escaped(plain_position(position))}" for point, position in places],
        coloraxis="coloraxis", xgap=2, ygap=2,
        texttemplate="%{z:.2f}" if len(steps) * len(places) <= 120 else None,
        hovertemplate="%{x}<br>%{y}<br>AUROC %{z:.3f}<extra></extra>",
    ))
    figure.update_xaxes(title_text="checkpoint", type="category", showgrid=False)
    figure.update_yaxes(showgrid=False)
    figure.update_layout(coloraxis={
        "cmin": 0.5, "cmax": 1.0,
        "colorbar": {"title": {"text": "AUROC"}, "thickness": 12, "nticks": 6},
    })
    return new_figure(
        f"Where {plain_concept(concept)} can be read",
        "Cross-validated over the fitting groups; 0.5 is chance. The largest of many is larger "
        "than any one would be by chance: judge by the figure of groups kept aside.",
        height=140 + 26 * len(places), figure=figure,
    )


def settling(table: "pd.DataFrame", concept: str) -> go.Figure:
    """Cosine of each checkpoint's direction with the last one's, at the last one's site."""
    last = table[table["selected"]].iloc[-1]
    mine = table[(table["point"] == last["point"]) & (table["position"] == last["position"])]
    figure = go.Figure(go.Scatter(
        x=[escaped(c) for c in mine["checkpoint"]], y=mine["cosine"], mode="lines+markers",
        line={"color": GREEN, "width": 2}, marker={"size": 9, "symbol": "diamond"},
        hovertemplate="%{x}: %{y:.3f}<extra></extra>", showlegend=False,
    ))
    bound = float(last["random_cosine"])
    figure.add_hrect(y0=-bound, y1=bound, fillcolor=GREY, opacity=0.2, line_width=0)
    figure.update_xaxes(title_text="checkpoint", type="category")
    figure.update_yaxes(title_text="cosine", range=[-1.05, 1.05])
    return new_figure(
        "When the direction settles",
        f"Cosine with the direction of the last checkpoint at {last['point']}, "
        f"{plain_position(last['position'])}; 95 % of random directions lie in the grey band. "
        f"Directions of {plain_concept(concept)} can turn while AUROC stays.",
        height=320, figure=figure,
    )
