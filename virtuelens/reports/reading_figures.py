"""Figures of rungs 1 to 3: where a concept is readable, and what the probe must beat."""

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int
from plotly.subplots import make_subplots

from virtuelens.audits.run import Run
from virtuelens.reports.rows import judged_split, rows
from virtuelens.reports.theme import (
    BLUE,
    GREY,
    VERMILION,
    look_of,
    new_figure,
    source_name,
    whiskers,
)
from virtuelens.reports.words import (
    escaped,
    interval,
    number,
    plain_concept,
    plain_method,
    plain_position,
    plain_source,
    plain_split,
    sentence_case,
    two_digits,
)

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray
MAX_CELLS_WITH_NUMBERS = 60
AUROC_AXIS = "AUROC (0.5 = chance)"


def layer_map(run: Run, model: str, concept: str) -> go.Figure | None:
    """Cross-validated AUROC of every layer and position, one panel a method."""
    cells = rows(run, "evidence", model, concept)
    cells = cells[(cells["split"] == "cv") & (cells["source"] == "probe")
                  & (cells["metric"] == "auroc")]
    if cells.empty:
        return None
    methods = list(dict.fromkeys(cells["method"]))
    positions = list(dict.fromkeys(cells["position"]))
    layers = sorted({int(layer) for layer in cells["layer"]})
    figure = make_subplots(
        rows=1, cols=len(methods), shared_yaxes=True, horizontal_spacing=0.04,
        subplot_titles=[escaped(plain_method(m)) for m in methods],
    )
    names = ["<br>".join(map(escaped, textwrap.wrap(plain_position(p), 9))) for p in positions]
    for column, method in enumerate(methods, start=1):
        mine = cells[cells["method"] == method].drop_duplicates(["layer", "position"])
        grid = mine.pivot(index="layer", columns="position", values="value")
        grid = grid.reindex(index=layers, columns=positions)
        by = {(int(cell["layer"]), cell["position"]): cell for _, cell in mine.iterrows()}
        hover = [[_cell_words(by.get((layer, p))) for p in positions] for layer in layers]
        few = len(layers) * len(positions) <= MAX_CELLS_WITH_NUMBERS
        figure.add_trace(
            go.Heatmap(
                z=grid.to_numpy(dtype=float), x=names, y=layers, coloraxis="coloraxis",
                xgap=2, ygap=2, customdata=hover, hovertemplate="%{customdata}<extra></extra>",
                texttemplate="%{z:.2f}" if few else None,
            ),
            row=1, col=column,
        )
        for _, cell in mine[mine["selected"].astype(bool)].iterrows():
            x, y = positions.index(cell["position"]), int(cell["layer"])
            figure.add_shape(
                type="rect", x0=x - 0.48, x1=x + 0.48, y0=y - 0.48, y1=y + 0.48,
                line={"color": VERMILION, "width": 3}, row=1, col=column,
            )
        figure.update_xaxes(showgrid=False, tickangle=0, tickfont_size=10, row=1, col=column)
    figure.update_xaxes(title_text="position (tokens read)", row=1, col=(len(methods) + 1) // 2)
    figure.update_annotations(font_size=12)
    figure.update_yaxes(showgrid=False, tickformat="d", dtick=max(1, len(layers) // 12))
    figure.update_yaxes(title_text="layer (block index)", row=1, col=1)
    figure.update_layout(coloraxis={
        "cmin": 0.5, "cmax": 1.0,
        "colorbar": {"title": {"text": "AUROC"}, "thickness": 12, "nticks": 6},
    })
    best = cells.iloc[int(cells["value"].astype(float).argmax())]
    chosen = cells[cells["selected"].astype(bool)]
    at = chosen.iloc[0] if len(chosen) else best
    return new_figure(
        f"Where {plain_concept(concept)} can be read in {model}",
        f"Chosen: layer {at['layer']}, {plain_position(at['position'])}, "
        f"{plain_method(at['method'])} (outlined). Cross-validated over groups, "
        f"n = {int(at['n'])} examples; chance is 0.5.",
        height=max(250, min(640, 120 + 36 * len(layers))), figure=figure,
    )


def _cell_words(cell: "pd.Series[Any] | None") -> str:
    if cell is None:
        return "not measured"
    return (
        f"layer {int(cell['layer'])}, {escaped(plain_position(cell['position']))}"
        f"<br>AUROC {interval(cell)}"
        f"<br>n = {int(cell['n'])}, chance {number(cell['null'])}"
    )


def roc(run: Run, model: str, concept: str) -> go.Figure | None:
    """ROC curves of the probe and of each rival on the set where they are compared."""
    scores = rows(run, "scores", model, concept)
    evidence = rows(run, "evidence", model, concept)
    if scores.empty:
        return None
    split = judged_split(scores)
    scores = scores[scores["split"] == split]
    evidence = evidence[(evidence["split"] == split) & (evidence["metric"] == "auroc")]
    figure = go.Figure()
    for source, mine in scores.groupby("source", sort=False):
        labels = mine["label"].to_numpy(dtype=int)
        if len(set(labels.tolist())) < 2:
            continue
        false, true = roc_points(mine["score"].to_numpy(dtype=float), labels)
        look = look_of(str(source))
        stated = evidence[evidence["source"] == source]
        label = source_name(str(source))
        if len(stated):
            label += f" {interval(stated.iloc[0])}"
        figure.add_trace(go.Scatter(
            x=false, y=true, mode="lines", name=label,
            line={"color": look.color, "dash": look.dash, "width": 3 if source == "probe" else 2},
            hovertemplate="%{fullData.name}<br>false positives %{x:.0%}"
                          "<br>true positives %{y:.0%}<extra></extra>",
        ))
    if not figure.data:
        return None
    figure.add_trace(go.Scatter(
        x=[0, 1], y=[0, 1], mode="lines", name="chance 0.50", hoverinfo="skip",
        line={"color": GREY, "dash": "dot", "width": 1},
    ))
    figure.update_xaxes(title_text="false positive rate (share of negatives)", range=[-0.01, 1.01],
                        tickformat=".0%")
    figure.update_yaxes(title_text="true positive rate (share of positives)", range=[-0.01, 1.02],
                        tickformat=".0%")
    n = scores.drop_duplicates("example_id")
    return new_figure(
        f"The probe for {plain_concept(concept)} in {model} against what it must beat",
        f"{sentence_case(plain_split(split))}, n = {len(n)} examples in {n['group'].nunique()} "
        "groups. AUROC with 95 % interval.",
        height=500, figure=figure,
    )


def roc_points(
    scores: Float[Array, " n"], labels: Int[Array, " n"]
) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
    """False and true positive rates at every threshold, from (0, 0) to (1, 1); ties are one step.

    The area under them by trapezoids is the AUROC.
    """
    order = np.argsort(-scores, kind="stable")
    scores, labels = scores[order], labels[order]
    last_of_tie = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    true = np.cumsum(labels)[last_of_tie] / labels.sum()
    false = np.cumsum(1 - labels)[last_of_tie] / (1 - labels).sum()
    return np.append(0.0, false), np.append(0.0, true)


def permutation_null(run: Run, model: str, concept: str) -> go.Figure | None:
    """What a search as wide as ours finds in shuffled labels, with what it found in true ones."""
    nulls = rows(run, "nulls", model, concept)
    nulls = nulls[nulls["kind"] == "permutation_max"]
    evidence = rows(run, "evidence", model, concept)
    observed = evidence[(evidence["split"] == "test") & (evidence["source"] == "probe")
                        & (evidence["metric"] == "auroc")]
    if nulls.empty or observed.empty:
        return None
    seen = observed.iloc[0]
    values = nulls["value"].to_numpy(dtype=float)
    figure = go.Figure(go.Histogram(
        x=values, xbins={"size": 0.01, "start": 0.0, "end": 1.0}, marker={"color": GREY},
        name="shuffled labels", hovertemplate="AUROC %{x}<br>%{y} shuffles<extra></extra>",
    ))
    if np.isfinite([seen["low"], seen["high"]]).all():
        figure.add_vrect(x0=seen["low"], x1=seen["high"], fillcolor=BLUE, opacity=0.18,
                         line_width=0)
    figure.add_vline(x=seen["value"], line={"color": BLUE, "width": 3})
    figure.add_vline(x=float(np.quantile(values, 0.95)),
                     line={"color": VERMILION, "width": 2, "dash": "dash"})
    for color, dash, name in (
        (BLUE, "solid", f"true labels {interval(seen)}"),
        (VERMILION, "dash", f"95 % of shuffles stay below {np.quantile(values, 0.95):.2f}"),
    ):
        figure.add_trace(go.Scatter(x=[None], y=[None], mode="lines", name=name,
                                    line={"color": color, "dash": dash, "width": 3}))
    low = min(0.3, float(values.min()) - 0.02)
    figure.update_xaxes(title_text=AUROC_AXIS, range=[low, 1.01])
    figure.update_yaxes(title_text="shuffles (count)")
    p = two_digits(seen["p"])
    return new_figure(
        f"Shuffled labels against the true ones: {plain_concept(concept)} in {model}",
        f"Largest AUROC over all layers, positions and methods, {len(values)} shuffles; "
        f"held-out groups, n = {int(seen['n'])}"
        + (f", p = {p}." if p != "–" else "."),
        height=300, figure=figure,
    )


def baselines(run: Run, model: str, concept: str) -> go.Figure | None:
    """AUROC of the probe and of each baseline as bars from chance, with intervals."""
    evidence = rows(run, "evidence", model, concept)
    evidence = evidence[evidence["split"] != "cv"]
    if evidence.empty:
        return None
    split = judged_split(evidence)
    evidence = evidence[evidence["split"] == split]
    bars = evidence[evidence["metric"] == "auroc"].drop_duplicates("source")
    gaps = evidence[evidence["metric"] == "auroc_difference"].drop_duplicates("source")
    if bars.empty:
        return None
    ahead = {g["source"]: interval(g, signed=True) for _, g in gaps.iterrows()}
    bars = bars.iloc[::-1]  # plotly draws the first at the bottom
    hover = [
        f"{source_name(b['source'])}<br>AUROC {interval(b)}<br>n = {int(b['n'])}"
        + (f"<br>probe minus this {ahead[b['source']]}" if b["source"] in ahead else "")
        for _, b in bars.iterrows()
    ]
    figure = go.Figure(go.Bar(
        x=bars["value"].to_numpy(dtype=float) - 0.5, base=0.5, orientation="h",
        y=[source_name(s) for s in bars["source"]],
        error_x=whiskers(bars) | {"color": GREY},
        marker={"color": [look_of(s).color for s in bars["source"]],
                "opacity": [0.9 if s == "probe" else 0.5 for s in bars["source"]]},
        customdata=hover, hovertemplate="%{customdata}<extra></extra>", showlegend=False,
    ))
    figure.add_vline(x=0.5, line={"color": GREY, "width": 1})
    figure.update_xaxes(title_text=AUROC_AXIS, range=[_floor(bars), 1.02])
    figure.update_yaxes(title_text="what was given the labels (source)", showgrid=False)
    closest = gaps.iloc[int(gaps["low"].astype(float).argmin())] if len(gaps) else None
    note = f"{sentence_case(plain_split(split))}, n = {int(bars.iloc[-1]['n'])}."
    if closest is not None:
        note += (f" Probe minus closest rival ({plain_source(closest['source'])}): "
                 f"{interval(closest, signed=True)}; rung 2 asks that the interval stays above 0.")
    return new_figure(
        f"Is what is read as {plain_concept(concept)} in {model} more than the words?",
        note, height=130 + 40 * len(bars), figure=figure,
    )


def _floor(bars: "pd.DataFrame") -> float:
    lowest = float(np.nanmin(bars["value"].to_numpy(dtype=float)))
    return min(0.4, float(np.floor(10 * lowest)) / 10 - 0.05)
