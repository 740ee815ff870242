"""Trials of steers as figures and as trials.html: what a steer moves, beside all it must beat."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from virtuelens import __version__, storage
from virtuelens.reports.one_file import drawn, render_page
from virtuelens.reports.theme import BLUE, GREY, KINDS, VERMILION, new_figure, whiskers
from virtuelens.reports.words import escaped, interval, number, plain_concept
from virtuelens.reports.writing_figures import GREY_FILL, dose_figure
from virtuelens.trials.folder import TrialRun

if TYPE_CHECKING:
    import pandas as pd


def write_trials(run: TrialRun, path: Path | None = None) -> Path:
    """Write the page of the trials as one file; its path (in the run's folder).

    Raises: DiskError: it could not be written. StoreError: a table is missing or damaged.
    """
    model = run.about["model"]["name"]
    sections, figures = [], []
    for n, trial in enumerate(run.trials):
        place = trial["place"]
        of_steer = [drawn(f, f"figure-{n}-{k}") for k, f in enumerate(trial_figures(run, trial))]
        figures += of_steer
        sections.append({
            "name": plain_concept(trial["concept"]), "place": place, "id": f"steer-{n}",
            "checks": [check_words(c) for c in trial["checks"]],
            "failed": [c["name"] for c in trial["checks"] if c["passed"] is False],
            "not_tested": trial["not_tested"], "figures": of_steer, "seconds": trial["seconds"],
            "dose": f"{number(place['dose'])} σ = {number(place['raw'])} activation units",
            "matrix": [_matrix_row(r) for _, r in _of(run, "matrix", trial).iterrows()],
            "prompts": [_prompt_row(r) for _, r in _of(run, "prompts", trial).iterrows()],
        })
    page = render_page("trials.html.j2", {
        "model": model, "version": __version__, "config": run.about["config"],
        "sections": sections, "probe": run.about["probe"],
    }, figures)
    path = path or run.path / "trials.html"
    storage.write_text(path, page)
    return path


def trial_figures(run: TrialRun, trial: Mapping[str, Any]) -> list[go.Figure]:
    """What one trial of the run shows: doses, everything else that moves, items, prompts."""
    place = trial["place"]
    return [
        dose_figure(_of(run, "doses", trial), f"Steering along {plain_concept(trial['concept'])}: "
                    "choices against dose",
                    f"Added at {place['point']} ({place['where'].replace('_', ' ')})"),
        off_target(_of(run, "matrix", trial)),
        per_item(_of(run, "items", trial)),
        against_prompts(_of(run, "prompts", trial)),
    ]


def off_target(matrix: "pd.DataFrame") -> go.Figure:
    """Effect on every behaviour, beside what random directions do to it."""
    shown = matrix.iloc[::-1]
    figure = go.Figure()
    figure.add_trace(go.Bar(
        x=2 * shown["null"], base=-shown["null"], y=_labels(shown), orientation="h", width=0.72,
        marker={"color": GREY_FILL}, name="95 % of random directions", hoverinfo="skip",
    ))
    for kind, look in KINDS.items():
        mine = shown[shown["kind"] == kind]
        if len(mine):
            figure.add_trace(go.Scatter(
                x=mine["effect"], y=_labels(mine), mode="markers", name=kind,
                marker={"color": look.color, "symbol": look.symbol,
                        "size": 12 if kind == "target" else 9},
                error_x=whiskers(mine, value="effect") | {"color": look.color},
                customdata=[_effect_words(r) for _, r in mine.iterrows()],
                hovertemplate="%{customdata}<extra></extra>",
            ))
    figure.add_vline(x=0, line={"color": GREY, "width": 1})
    figure.update_xaxes(title_text="change of the target choice's probability", range=[-1.05, 1.05])
    figure.update_yaxes(showgrid=False, categoryorder="array", categoryarray=_labels(shown))
    return new_figure(
        "What else it moves",
        "From the lowest to the highest dose: every behaviour of the concept, and the target "
        "behaviours of other concepts. Grey: what random directions of the same length do to the "
        "same items. 95 % intervals over groups.",
        height=150 + 30 * len(shown), figure=figure,
    )


def per_item(items: "pd.DataFrame") -> go.Figure:
    """Slopes of the single items: a mean can hide that some go the other way."""
    slopes = items["slope"].to_numpy(dtype=float)
    wrong = float((slopes < 0).mean())
    figure = go.Figure(go.Histogram(
        x=slopes, nbinsx=30, marker={"color": BLUE}, name="items",
        hovertemplate="slope %{x}<br>%{y} items<extra></extra>", showlegend=False,
    ))
    figure.add_vline(x=0, line={"color": VERMILION, "width": 2, "dash": "dash"},
                     annotation_text="no effect")
    figure.add_vline(x=float(slopes.mean()), line={"color": GREY, "width": 2},
                     annotation_text=f"mean {number(float(slopes.mean()), signed=True)}",
                     annotation_position="top right")
    figure.update_xaxes(title_text="slope of an item (nats per σ)")
    figure.update_yaxes(title_text="items (count)")
    return new_figure(
        "Item by item",
        f"n = {len(slopes)} items of the target behaviour; {100 * wrong:.0f} % of them move the "
        "wrong way.",
        height=330, figure=figure,
    )


def against_prompts(prompts: "pd.DataFrame") -> go.Figure:
    """The steer beside a system prompt and answered examples, pushed both ways."""
    target = prompts[prompts["kind"] == "target"]
    figure = go.Figure()
    for side, color, symbol in (("toward", BLUE, "circle"), ("away", VERMILION, "square")):
        mine = target[target["side"] == side].iloc[::-1]
        figure.add_trace(go.Scatter(
            x=mine["effect"], y=[escaped(s) for s in mine["source"]], mode="markers", name=side,
            marker={"color": color, "symbol": symbol, "size": 11},
            error_x=whiskers(mine, value="effect") | {"color": color},
            customdata=[f"{escaped(r['source'])}, {side}<br>"
                        f"{interval({**r, 'value': r['effect']}, signed=True)}, n = {int(r['n'])}"
                        for _, r in mine.iterrows()],
            hovertemplate="%{customdata}<extra></extra>",
        ))
    figure.add_vline(x=0, line={"color": GREY, "width": 1})
    sources = target["source"].nunique()
    figure.update_xaxes(title_text="change of probability in the direction asked for",
                        range=[-1.05, 1.05])
    figure.update_yaxes(showgrid=False)
    return new_figure(
        "Would a prompt do?",
        "The same items under a prompt instead of the steer (at the ends of its range); right of 0 "
        "is where it was to go. "
        + ("" if sources > 1 else "No prompt could be given: see what was not tested."),
        height=170 + 46 * sources, figure=figure,
    )


def _of(run: TrialRun, name: str, trial: Mapping[str, Any]) -> "pd.DataFrame":
    table = run.table(name)
    return table[table["steer"] == trial["concept"]]


def _labels(matrix: "pd.DataFrame") -> list[str]:
    return [escaped(_plain(b)) for b in matrix["behaviour"]]


def _plain(behaviour: str) -> str:
    return str(behaviour).replace("_", " ")


def _effect_words(r: "pd.Series[Any]") -> str:
    return (f"{escaped(_plain(r['behaviour']))} ({escaped(str(r['kind']))})<br>"
            f"{interval({**r, 'value': r['effect']}, signed=True)}, n = {int(r['n'])}<br>"
            f"95 % of random directions stay below {number(r['null'])}")


def check_words(c: Mapping[str, Any]) -> dict[str, Any]:
    """A verdict in words, and its place among the steps of a page."""
    state = {True: "passed", False: "not passed", None: "not tested"}[c["passed"]]
    return {
        "name": c["name"], "said": _plain(c["said"]), "mark": c["mark"], "state": state,
        "step": {True: "passed", False: "stopped", None: ""}[c["passed"]],
    }


def _matrix_row(r: "pd.Series[Any]") -> dict[str, Any]:
    return {"behaviour": _plain(r["behaviour"]), "kind": r["kind"], "of": plain_concept(r["of"]),
            "effect": interval({**r, "value": r["effect"]}, signed=True),
            "null": number(r["null"]), "n": int(r["n"])}


def _prompt_row(r: "pd.Series[Any]") -> dict[str, Any]:
    ahead = {"value": r["ahead"], "low": r["ahead_low"], "high": r["ahead_high"]}
    return {"source": r["source"], "side": r["side"], "behaviour": _plain(r["behaviour"]),
            "kind": r["kind"], "effect": interval({**r, "value": r["effect"]}, signed=True),
            "ahead": interval(ahead, signed=True) if r["source"] != "steer" else "–",
            "note": r["note"], "n": int(r["n"])}
