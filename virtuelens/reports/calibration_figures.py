"""Figures of the calibration: rates of every claim, rungs named, and claims made against dose."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from virtuelens.audits.ladder import RUNGS
from virtuelens.reports.calibration_sections import (
    CONTROLS,
    Record,
    each_rate,
    listed,
    plain_claim,
    true_rungs,
)
from virtuelens.reports.theme import (
    BLUE,
    GREEN,
    GREY,
    PINK,
    VERMILION,
    Look,
    new_figure,
    whiskers,
)
from virtuelens.reports.words import counted, escaped, plain_concept, plain_instrument

RIGHT, FALSE = Look(BLUE, "solid", "circle"), Look(VERMILION, "solid", "diamond-open")
INSTRUMENT_LOOKS: dict[str, Look] = {
    "ladder": Look(BLUE, "solid", "circle"),
    "steering": Look(VERMILION, "dash", "square"),
    "interchange": Look(GREEN, "dashdot", "diamond"),
    "attribution": Look(PINK, "longdash", "triangle-up"),
}
"""Instrument -> its look in the dose curves."""
APART = 0.16
"""Half the distance between the two points of a row."""
SHARE_AXIS = {"range": [-0.03, 1.03], "tickformat": ".0%", "dtick": 0.25}


def rates(record: Record) -> tuple[go.Figure, ...]:
    """For every claim two points with intervals: made where it holds, and where it does not."""
    found = [(i, c, r) for i, c, r in each_rate(record)
             if r.get("right") or r.get("false_positive")]
    if not found:
        return ()
    figure = go.Figure()
    for key, name, look, shift in (
        ("right", "right: made where it holds", RIGHT, APART),
        ("false_positive", "false positive: made where it does not", FALSE, -APART),
    ):
        mine = pd.DataFrame([
            {"y": shift - row, "words": f"{_label(i, c)}<br>{name}: {counted(r[key])}", **r[key]}
            for row, (i, c, r) in enumerate(found) if r.get(key)
        ])
        if len(mine):
            figure.add_trace(go.Scatter(
                x=mine["value"], y=mine["y"], mode="markers", name=name,
                marker={"color": look.color, "symbol": look.symbol, "size": 10,
                        "line": {"width": 2, "color": look.color}},
                error_x=whiskers(mine) | {"color": look.color}, customdata=mine["words"],
                hovertemplate="%{customdata}<extra></extra>",
            ))
    for row in range(1, len(found)):
        if found[row][0] != found[row - 1][0]:
            figure.add_hline(y=0.5 - row, line={"color": GREY, "width": 1, "dash": "dot"})
    figure.update_xaxes(title_text="claims made (share of subjects)", **SHARE_AXIS)
    figure.update_yaxes(
        title_text="instrument (claim)", showgrid=False, zeroline=False,
        range=[0.6 - len(found), 0.6], tickvals=[-row for row in range(len(found))],
        ticktext=[_label(i, c) for i, c, _ in found],
    )
    n = max(r[k]["n"] for _, _, r in found for k in ("right", "false_positive") if r.get(k))
    return (new_figure(
        "How often each claim is made where it holds, and where it does not",
        "Circles should lie at the right, open diamonds at the left; whiskers are 95 % intervals "
        f"(Wilson's), subjects of a claim up to n = {n}.",
        height=130 + 32 * len(found), figure=figure,
    ),)


def verdicts(record: Record) -> tuple[go.Figure, ...]:
    """One figure a control: how often each rung was named, by organism, the true one outlined."""
    judged = [v for v in record["verdicts"] if v["true_rungs"] is not None]
    controls = dict.fromkeys(v["control"] for v in judged)
    return tuple(
        _named([v for v in judged if v["control"] == control], control, record)
        for control in controls
    )


def _named(found: list[Mapping[str, Any]], control: str, record: Record) -> go.Figure:
    found = sorted(found, key=lambda v: (-v["true_rungs"][0], v["organism"], v["concept"]))
    labels = [_subject(v) for v in found]
    figure = go.Figure()
    for is_right, color in ((True, "31,120,180"), (False, "213,94,0")):
        z, text, hover = [], [], []
        for v in found:
            times = [int(v["named"].get(str(r), 0)) for r in range(len(RUNGS))]
            mine = [t if t and _is_right(v, r) == is_right else 0 for r, t in enumerate(times)]
            z.append([t / v["n"] if t else None for t in mine])
            text.append([f"{'' if is_right else '✗ '}{t}" if t else "" for t in mine])
            hover.append([
                f"{_subject(v)}<br>named {r} {RUNGS[r]} in {times[r]} of {int(v['n'])}"
                f"<br>true: {true_rungs(v)}"
                for r in range(len(RUNGS))
            ])
        figure.add_trace(go.Heatmap(
            z=z, text=text, texttemplate="%{text}", customdata=hover, xgap=2, ygap=2,
            x=list(range(len(RUNGS))), y=list(range(len(found))), zmin=0, zmax=1,
            colorscale=[[0, f"rgba({color},0.12)"], [1, f"rgba({color},0.62)"]], showscale=False,
            hovertemplate="%{customdata}<extra></extra>", hoverongaps=False,
        ))
    for y, v in enumerate(found):
        lowest, highest = map(int, v["true_rungs"])
        figure.add_shape(type="rect", x0=lowest - 0.48, x1=highest + 0.48, y0=y - 0.46,
                         y1=y + 0.46, line={"color": BLUE, "width": 2})
    figure.update_xaxes(
        title_text="rung named (0 to 5)", showgrid=False, zeroline=False, tickangle=0,
        range=[-0.55, len(RUNGS) - 0.45], tickvals=list(range(len(RUNGS))),
        ticktext=[f"{r}<br>{name.replace(' ', '<br>')}" for r, name in enumerate(RUNGS)],
        tickfont_size=11,
    )
    figure.update_yaxes(
        title_text="organism (concept)", showgrid=False, zeroline=False,
        range=[len(found) - 0.4, -0.6], tickvals=list(range(len(found))), ticktext=labels,
    )
    right = sum(int(v["right"]) for v in found)
    n = sum(int(v["n"]) for v in found)
    return new_figure(
        f"Rungs named, {CONTROLS.get(control, control)}",
        f"Control: {control}. {right} of n = {n} verdicts are right, seeds "
        f"{listed(record['reported_on'])}. Cells count seeds; what is true is outlined, a miss is "
        "marked ✗.",
        height=150 + 27 * len(found), figure=figure,
    )


def doses(record: Record) -> tuple[go.Figure, ...]:
    """One figure an organism: share of claims made against per cent of the planted effect."""
    return tuple(
        _curves(organism, [d for d in record["doses"] if d["organism"] == organism])
        for organism in dict.fromkeys(d["organism"] for d in record["doses"])
    )


def _curves(organism: str, found: list[Mapping[str, Any]]) -> go.Figure:
    figure = go.Figure()
    lines = dict.fromkeys((d["instrument"], d["claim"]) for d in found)
    for k, (instrument, claim) in enumerate(lines):
        look = INSTRUMENT_LOOKS.get(instrument, Look(GREY, "dot", "x"))
        mine = pd.DataFrame([
            {"dose": int(d["dose"]), "words": f"{_label(instrument, claim)}<br>{int(d['dose'])} %: "
             f"{counted(d['share'])}", **d["share"]}
            for d in found if (d["instrument"], d["claim"]) == (instrument, claim)
        ]).sort_values("dose")
        apart = 1.4 * (k - (len(lines) - 1) / 2)  # so that whiskers do not hide each other
        figure.add_trace(go.Scatter(
            x=mine["dose"] + apart, y=mine["value"], mode="lines+markers",
            name=_label(instrument, claim),
            line={"color": look.color, "dash": look.dash, "width": 2},
            marker={"symbol": look.symbol, "size": 9},
            error_y=whiskers(mine) | {"color": look.color, "thickness": 1},
            customdata=mine["words"], hovertemplate="%{customdata}<extra></extra>",
        ))
    figure.update_xaxes(title_text="planted effect (% of answers)", range=[-7, 107],
                        tickvals=sorted({int(d["dose"]) for d in found}), zeroline=False)
    figure.update_yaxes(title_text="claims made (share of seeds)", zeroline=False, **SHARE_AXIS)
    seeds = {int(d["share"]["n"]) for d in found}
    least = min(seeds)
    return new_figure(
        f"How much of {organism}'s effect must be there",
        f"n = {least}{f' to {max(seeds)}' if len(seeds) > 1 else ''} subjects a point; whiskers "
        "are 95 % intervals; points of one dose are drawn side by side.",
        height=360, figure=figure,
    )


FIGURES: dict[str, Callable[[Record], tuple[go.Figure, ...]]] = {
    "rates": rates, "verdicts": verdicts, "doses": doses,
}
"""Section of the page -> its figures; empty where the record has no such data."""


def _is_right(v: Mapping[str, Any], named: int) -> bool:
    lowest, highest = v["true_rungs"]
    return bool(lowest <= named <= highest)


def _subject(v: Mapping[str, Any]) -> str:
    return escaped(f"{v['organism']} ({plain_concept(v['concept'])})")


def _label(instrument: str, claim: str) -> str:
    return escaped(f"{plain_instrument(instrument)}: {plain_claim(claim)}")
