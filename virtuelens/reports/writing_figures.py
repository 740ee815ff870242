"""Figures of rungs 4 and 5: what steering along the concept moves, and along random lines."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from virtuelens.audits.run import Run
from virtuelens.reports.rows import finding_of, rows
from virtuelens.reports.theme import BLUE, GREY, KINDS, ORANGE, VERMILION, new_figure, whiskers
from virtuelens.reports.words import escaped, interval, number, percent, plain_concept

if TYPE_CHECKING:
    import pandas as pd

KL_BUDGET = 1.0
"""Nats; drawn as a line. tests/contracts hold it equal to the budget that steering keeps."""

DOSE_AXIS = "dose (σ of the projection)"
GREY_FILL, GREY_FILL_INNER, BLUE_FILL = (
    "rgba(128,136,147,0.18)", "rgba(128,136,147,0.26)", "rgba(31,120,180,0.18)",
)


def dose_response(run: Run, model: str, concept: str) -> go.Figure | None:
    """Share of target choices against dose, with random directions; below, KL on neutral text."""
    steering = rows(run, "steering", model, concept)
    target = steering[(steering["direction"] == "concept") & (steering["kind"] == "target")]
    if target["dose"].nunique() < 2:
        return None
    first = target.iloc[0]
    return dose_figure(
        steering, f"Steering along {plain_concept(concept)} in {model}: what it does to choices",
        f"Added at {first['point']} ({str(first['where']).replace('_', ' ')})",
    )


def dose_figure(steering: "pd.DataFrame", title: str, where: str) -> go.Figure:
    """Rates of `steering` rows (of one steer) against dose, with their stand-ins; below, KL."""
    steering = steering.sort_values("dose")
    concept_rows = steering[steering["direction"] == "concept"]
    target = concept_rows[concept_rows["kind"] == "target"]
    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, row_heights=[0.74, 0.26], vertical_spacing=0.08
    )
    stand_ins = steering["direction"].astype(str)
    random = steering[stand_ins.str.startswith("random")]
    n_random = random["direction"].nunique()
    _random_band(figure, random, n_random)
    _swapped_lines(figure, steering[stand_ins.str.startswith("swapped")])
    for (kind, behaviour), mine in concept_rows.groupby(["kind", "behaviour"], sort=False):
        if kind != "target":
            _line(figure, mine, str(kind), str(behaviour))
    for behaviour, mine in target.groupby("behaviour", sort=False):
        _band(figure, mine["dose"], mine["low"], mine["high"],
              fill=BLUE_FILL, name="95 % interval", legend=False)
        _line(figure, mine, "target", str(behaviour))
    _side_effect(figure, target.drop_duplicates("dose"))
    figure.update_yaxes(title_text="target choices (%)", tickformat=".0%", range=[-0.02, 1.02],
                        row=1, col=1)
    figure.update_yaxes(title_text="KL (nats)", rangemode="tozero", row=2, col=1)
    figure.update_xaxes(title_text=DOSE_AXIS, row=2, col=1)
    return new_figure(
        title,
        f"{where}; n = {int(target.iloc[0]['n'])} items scored; grey: {n_random} random directions "
        "of the same length. Below: KL per token on neutral text.",
        height=560, figure=figure,
    )


def _swapped_lines(figure: go.Figure, swapped: "pd.DataFrame") -> None:
    for k, (_, mine) in enumerate(swapped.groupby("direction", sort=False)):
        figure.add_trace(go.Scatter(
            x=mine["dose"], y=mine["rate"], mode="lines", showlegend=k == 0, legendgroup="swapped",
            name=f"fitted to swapped labels, {swapped['direction'].nunique()} draws",
            line={"color": ORANGE, "width": 1, "dash": "dot"}, opacity=0.7, hoverinfo="skip",
        ), row=1, col=1)


def _random_band(figure: go.Figure, random: "pd.DataFrame", n_random: int) -> None:
    if random.empty:
        return
    by_dose = random.groupby("dose")["rate"]
    low, high = by_dose.min(), by_dose.max()
    _band(figure, low.index, low, high,
          fill=GREY_FILL, name=f"{n_random} random directions, all")
    inner_low, inner_high = by_dose.quantile(0.01), by_dose.quantile(0.99)
    _band(figure, low.index, inner_low, inner_high,
          fill=GREY_FILL_INNER, name="random directions, 1–99 %")


def _band(
    figure: go.Figure, x: Iterable[float], low: Iterable[float], high: Iterable[float],
    *, fill: str, name: str, legend: bool = True,
) -> None:
    x, low, high = list(x), list(low), list(high)
    figure.add_trace(go.Scatter(
        x=[*x, *x[::-1]], y=[*high, *low[::-1]], fill="toself", fillcolor=fill,
        line={"width": 0}, hoverinfo="skip", name=name, showlegend=legend, mode="lines",
    ), row=1, col=1)


def _line(figure: go.Figure, mine: "pd.DataFrame", kind: str, behaviour: str) -> None:
    look = KINDS.get(kind, KINDS["neutral"])
    main = kind == "target"
    words = escaped(behaviour.replace("_", " "))
    figure.add_trace(go.Scatter(
        x=mine["dose"], y=mine["rate"], mode="lines+markers", name=f"{words} ({escaped(kind)})",
        line={"color": look.color, "dash": look.dash, "width": 3 if main else 1.3},
        marker={"symbol": look.symbol, "size": 8 if main else 5}, legendrank=1 if main else 1000,
        customdata=[
            f"{words} ({escaped(kind)})<br>dose {number(r['dose'], signed=True)} σ"
            f"<br>target choices {percent(r['rate'])} "
            f"[{percent(r['low'])}, {percent(r['high'])}]"
            f"<br>mean score {number(r['score'], signed=True)} nats, n = {int(r['n'])}"
            for _, r in mine.iterrows()
        ],
        hovertemplate="%{customdata}<extra></extra>",
    ), row=1, col=1)


def _side_effect(figure: go.Figure, target: "pd.DataFrame") -> None:
    for column, name, dash in (
        ("kl_p95", "KL, 95th percentile of tokens", "solid"), ("kl_mean", "KL, mean", "dot")
    ):
        figure.add_trace(go.Scatter(
            x=target["dose"], y=target[column].astype(float), mode="lines", name=name,
            line={"color": VERMILION, "dash": dash, "width": 2},
            hovertemplate=f"dose %{{x:+.2f}} σ<br>{name} %{{y:.3f}} nats<extra></extra>",
        ), row=2, col=1)
    figure.add_hline(y=KL_BUDGET, line={"color": GREY, "dash": "dash", "width": 1.5},
                     annotation_text=f"budget {KL_BUDGET:g} nat", row=2, col=1)


def slopes(run: Run, model: str, concept: str) -> go.Figure | None:
    """Slope of the concept's direction among the absolute slopes of random directions."""
    finding = finding_of(run, model, concept)
    nulls = rows(run, "nulls", model, concept)
    nulls = nulls[nulls["kind"] == "random_direction_slope"]
    if nulls.empty or finding is None or not finding.get("steering"):
        return None
    s = finding["steering"]
    ours = {"value": s["slope"], "low": s["low"], "high": s["high"]}
    values = np.sort(nulls["value"].to_numpy(dtype=float))
    figure = go.Figure(go.Scatter(
        x=values, y=["random"] * len(values), mode="markers", name="random directions",
        marker={"color": GREY, "size": 9, "opacity": 0.6, "symbol": "line-ns",
                "line": {"width": 2, "color": GREY}},
        hovertemplate="random direction<br>%{x:.3f} nats per σ<extra></extra>", showlegend=False,
    ))
    import pandas as pd

    figure.add_trace(go.Scatter(
        x=[s["slope"]], y=["concept"], mode="markers", showlegend=False,
        marker={"color": BLUE, "size": 12},
        error_x=whiskers(pd.DataFrame([ours]).astype(float)) | {"color": BLUE},
        hovertemplate=f"concept<br>{interval(ours, signed=True)} nats per σ<extra></extra>",
    ))
    figure.add_vline(x=s["random_p99"], line={"color": VERMILION, "dash": "dash", "width": 2},
                     annotation_text=f"99 % of random: {number(s['random_p99'])}")
    figure.add_vline(x=0, line={"color": GREY, "width": 1})
    figure.update_xaxes(title_text="slope (nats per σ; random ones without sign)")
    figure.update_yaxes(title_text="direction (kind)", showgrid=False, range=[-0.6, 1.6])
    return new_figure(
        f"Does steering along {plain_concept(concept)} in {model} beat random steering?",
        f"Slope {interval(ours, signed=True)} nats per σ"
        + (f", n = {s['n']} items" if s.get("n") is not None else "")
        + f"; {len(values)} random directions of the same length, n = {len(values)}. Rung 4 asks "
        "that the whole interval lies beyond the dashed line.",
        height=230, figure=figure,
    )
