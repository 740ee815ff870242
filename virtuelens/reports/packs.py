"""Packs compared as figures and as packs.html: the generalisation matrix, and who agrees."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from virtuelens import __version__, storage
from virtuelens.audits.packs import PackStudy
from virtuelens.reports.one_file import drawn, render_page
from virtuelens.reports.theme import BLUE, GREY, VERMILION, new_figure, whiskers
from virtuelens.reports.words import (
    escaped,
    interval,
    number,
    plain_concept,
    plain_method,
    plain_position,
    two_digits,
)

if TYPE_CHECKING:
    import pandas as pd

PALE = "#e8ecf1"
_DIVERGING = [[0.0, VERMILION], [0.5, PALE], [1.0, BLUE]]
"""Both ends strong, the middle (chance) pale; opaque, because numbers stand on it: Plotly chooses
their colour by the fill alone, whatever shines through."""

MEASURES = {
    "rank_correlation": "rank correlation",
    "rank_correlation_within_label": "rank correlation within a label",
    "kappa": "kappa of verdicts",
    "same_verdict": "same verdict",
    "cosine": "cosine of directions",
}


def write_packs(study: PackStudy, path: Path | None = None) -> Path:
    """Write the page of a comparison of packs as one file; its path (in the study's folder).

    Raises: DiskError: it could not be written. StoreError: a table is missing or damaged.
    """
    matrix, summary = study.table("generalisation"), study.table("summary")
    agree, apart = study.table("agreement"), study.table("disagreements")
    figures = [drawn(f, f"figure-{k}") for k, f in enumerate((
        heat_map(matrix), carrying(summary), agreement_map(agree)))]
    page = render_page("packs.html.j2", {
        "model": study.about["model"]["name"],
        "version": __version__,
        "packs": [{"name": plain_concept(n), **about} for n, about in study.about["packs"].items()],
        "config": study.about["config"],
        "headline": _headline(summary),
        "nothing": _nothing(matrix),
        "cells": [_cell(r) for _, r in matrix.iterrows()],
        "agreement": _agreement_rows(agree),
        "measures": list(MEASURES.values()),
        "apart": [_example(r) for r in apart.to_dict("records")],
        "groups": [
            {**r, "pair": f"{plain_concept(r['a'])}, {plain_concept(r['b'])}",
             "on": plain_concept(r["on"]), "share": number(r["share"])}
            for r in study.table("disagreement_by_group").head(12).to_dict("records")
        ],
        "figures_drawn": figures,
    }, figures)
    path = path or study.path / "packs.html"
    storage.write_text(path, page)
    return path


def heat_map(matrix: "pd.DataFrame") -> go.Figure:
    """AUROC of every pack's probe (row) on the held-out groups of every pack (column)."""
    names = list(dict.fromkeys(matrix["train"]))
    labels = [escaped(plain_concept(n)) for n in names]
    by = {(r["train"], r["test"]): r for _, r in matrix.iterrows()}
    rows = [[by[a, b] for b in names] for a in names]
    figure = go.Figure(go.Heatmap(
        z=[[r["value"] for r in row] for row in rows], x=_folded(names), y=labels,
        zmin=0.0, zmax=1.0, colorscale=_DIVERGING, xgap=3, ygap=3,
        text=[[_numbers(r) for r in row] for row in rows], texttemplate="%{text}",
        customdata=[[_hover(r) for r in row] for row in rows],
        hovertemplate="%{customdata}<extra></extra>",
        colorbar={"title": {"text": "AUROC"}, "thickness": 12, "nticks": 5},
    ))
    for k in range(len(names)):
        figure.add_shape(type="rect", x0=k - 0.49, x1=k + 0.49, y0=k - 0.49, y1=k + 0.49,
                         line={"color": GREY, "width": 2, "dash": "dot"})
    figure.update_xaxes(title_text="tested on (held-out groups)", showgrid=False, tickangle=0,
                        tickfont_size=11)
    figure.update_yaxes(title_text="trained on", showgrid=False, autorange="reversed")
    return new_figure(
        "Trained on one pack, tested on another",
        "AUROC with its 95 % interval over the test pack's groups; 0.5 is chance, below it the "
        "probe reads the other way round. Dotted: the same pack, other groups. * q ≤ 0.05 over "
        "the whole matrix.",
        height=170 + 62 * len(names), figure=figure,
    )


def carrying(summary: "pd.DataFrame") -> go.Figure:
    """Means over cells: elsewhere, own, and pack by pack."""
    shown = summary[summary["kind"] != "lost"].iloc[::-1]
    names = [_mean_words(r) for _, r in shown.iterrows()]
    main = [k in {"elsewhere", "own"} for k in shown["kind"]]
    figure = go.Figure(go.Scatter(
        x=shown["value"], y=names, mode="markers", showlegend=False,
        marker={"size": [12 if m else 8 for m in main], "color": [BLUE if m else GREY
                                                                 for m in main],
                "symbol": ["diamond" if m else "circle" for m in main]},
        error_x=whiskers(shown) | {"color": GREY},
        customdata=[f"{n}<br>{interval(r)}, mean of {int(r['n'])} cells<br>95 % of swapped sides "
                    f"stay below {number(r['null'])}" for n, (_, r) in
                    zip(names, shown.iterrows(), strict=True)],
        hovertemplate="%{customdata}<extra></extra>",
    ))
    figure.add_vline(x=0.5, line={"color": GREY, "width": 1, "dash": "dot"})
    low = min(0.4, float(shown["low"].min()) - 0.03)
    figure.update_xaxes(title_text="mean AUROC (0.5 = chance)", range=[low, 1.02])
    figure.update_yaxes(showgrid=False)
    return new_figure(
        "What carries over",
        "Means over cells of the matrix, each cell counting alike; whiskers are 95 % intervals "
        "over groups of the test packs, the probes as they were fitted.",
        height=120 + 27 * len(shown), figure=figure,
    )


def agreement_map(agree: "pd.DataFrame") -> go.Figure:
    """How alike two probes rank texts of one label: what they share beyond the label."""
    chosen = agree[(agree["on"] == "all")
                   & (agree["metric"] == "rank_correlation_within_label")]
    names = list(dict.fromkeys([*agree["a"], *agree["b"]]))
    labels = [escaped(plain_concept(n)) for n in names]
    by: dict[tuple[str, str], Any] = {}
    for _, r in chosen.iterrows():
        by[r["a"], r["b"]] = by[r["b"], r["a"]] = r
    rows = [[by.get((a, b)) for b in names] for a in names]
    figure = go.Figure(go.Heatmap(
        z=[[None if r is None else r["value"] for r in row] for row in rows],
        x=_folded(names), y=labels,
        zmin=-1.0, zmax=1.0, colorscale=_DIVERGING, xgap=3, ygap=3,
        text=[["" if r is None else f"{number(r['value'])}<br>[{number(r['low'])}, "
               f"{number(r['high'])}]" for r in row] for row in rows],
        texttemplate="%{text}", hoverinfo="skip",
        colorbar={"title": {"text": "rank corr."}, "thickness": 12, "nticks": 5},
    ))
    figure.update_xaxes(showgrid=False, tickangle=0, tickfont_size=11)
    figure.update_yaxes(showgrid=False, autorange="reversed")
    return new_figure(
        "Do two probes say the same?",
        "Spearman's correlation of two probes' scores among texts of one label, mean over labels "
        "and over packs, on held-out groups; 0 where they share no more than the label. 95 % "
        "intervals over groups.",
        height=150 + 62 * len(names), figure=figure,
    )


def _folded(names: list[str]) -> list[str]:
    """Names of packs as labels under columns: one word a line."""
    return [escaped(plain_concept(n)).replace(" ", "<br>") for n in names]


def _headline(summary: "pd.DataFrame") -> dict[str, str]:
    by = {r["kind"]: r for _, r in summary[summary["pack"] == ""].iterrows()}
    return {
        "elsewhere": interval(by["elsewhere"]), "cells": str(int(by["elsewhere"]["n"])),
        "null": number(by["elsewhere"]["null"]), "p": two_digits(by["elsewhere"]["p"]),
        "own": interval(by["own"]), "lost": interval(by["lost"], signed=True),
    }


def _nothing(matrix: "pd.DataFrame") -> list[str]:
    """Packs whose own probe does not tell their own held-out groups apart."""
    own = matrix[matrix["train"] == matrix["test"]]
    return [plain_concept(r["train"]) for _, r in own.iterrows()
            if not (r["q"] <= 0.05 and r["value"] > 0.5)]


def _cell(r: "pd.Series[Any]") -> dict[str, str]:
    return {
        "train": plain_concept(r["train"]), "test": plain_concept(r["test"]),
        "auroc": interval(r), "null": number(r["null"]), "q": two_digits(r["q"]),
        "n": f"{int(r['n'])} in {int(r['groups'])}", "left_out": str(int(r["left_out"])),
        "at": f"{r['point']}, {plain_position(r['position'])}, {plain_method(r['method'])}",
    }


def _agreement_rows(agree: "pd.DataFrame") -> list[dict[str, Any]]:
    rows = []
    for (a, b), mine in _by_pair(agree[agree["on"] == "all"]):
        by = {r["metric"]: r for _, r in mine.iterrows()}
        rows.append({
            "pair": f"{plain_concept(a)}, {plain_concept(b)}",
            "values": [f"{interval(by[m])}{_chance(by[m])}" if m in by else "–" for m in MEASURES],
        })
    return rows


def _by_pair(agree: "pd.DataFrame") -> "list[tuple[tuple[str, str], pd.DataFrame]]":
    pairs = dict.fromkeys(zip(agree["a"], agree["b"], strict=True))
    return [((a, b), agree[(agree["a"] == a) & (agree["b"] == b)]) for a, b in pairs]


def _chance(r: "pd.Series[Any]") -> str:
    return f" (chance {number(r['null'])})" if r["metric"] in {"same_verdict", "cosine"} else ""


def _example(r: Mapping[Any, Any]) -> dict[str, str]:
    return {
        "a": plain_concept(r["a"]), "b": plain_concept(r["b"]), "on": plain_concept(r["on"]),
        "group": str(r["group"]), "label": "present" if r["label"] == 1 else "absent",
        "p_a": number(r["p_a"]), "p_b": number(r["p_b"]), "text": str(r["text"]),
    }


def _numbers(r: "pd.Series[Any]") -> str:
    star = " *" if r["q"] <= 0.05 else ""
    if r["value"] != r["value"]:
        return "no texts left"
    return f"<b>{number(r['value'])}{star}</b><br>[{number(r['low'])}, {number(r['high'])}]"


def _hover(r: "pd.Series[Any]") -> str:
    return (
        f"trained on {escaped(plain_concept(r['train']))}, tested on "
        f"{escaped(plain_concept(r['test']))}<br>AUROC {interval(r)}<br>n = {int(r['n'])} in "
        f"{int(r['groups'])} groups, {int(r['left_out'])} left out<br>95 % of swapped sides stay "
        f"below {number(r['null'])}; q = {two_digits(r['q'])}<br>{escaped(r['point'])}, "
        f"{escaped(plain_position(r['position']))}, {escaped(plain_method(r['method']))}"
    )


def _mean_words(r: "pd.Series[Any]") -> str:
    pack = escaped(plain_concept(r["pack"]))
    return {
        "elsewhere": "trained elsewhere", "own": "trained on the same pack",
        "carries": f"{pack}: its probe, elsewhere", "is read": f"{pack}: by others' probes",
    }[r["kind"]]
