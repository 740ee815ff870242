"""The figure of probabilities: does 0.8 mean that eight in ten are so?"""

import plotly.graph_objects as go

from virtuelens.audits.run import Run
from virtuelens.reports.rows import rows
from virtuelens.reports.theme import BLUE, GREY, new_figure, whiskers
from virtuelens.reports.words import interval, number, plain_concept


def reliability(run: Run, model: str, concept: str) -> go.Figure | None:
    """Share of positives against the probability that was said, on held-out groups."""
    evidence = rows(run, "evidence", model, concept)
    evidence = evidence[(evidence["split"] == "test") & (evidence["source"] == "probe")]
    bins = evidence[evidence["metric"] == "reliability"].sort_values("null")
    if bins.empty:
        return None
    of = {metric: evidence[evidence["metric"] == metric] for metric in ("brier", "ece")}
    figure = go.Figure(go.Scatter(
        x=[0, 1], y=[0, 1], mode="lines", name="as said", hoverinfo="skip",
        line={"color": GREY, "width": 1.5, "dash": "dot"},
    ))
    figure.add_trace(go.Scatter(
        x=bins["null"].astype(float), y=bins["value"].astype(float), mode="lines+markers",
        name="seen", marker={"color": BLUE, "size": 10}, line={"color": BLUE, "width": 1.5},
        error_y=whiskers(bins) | {"color": BLUE},
        customdata=[f"said {number(r['null'])}, seen {interval(r)}<br>n = {int(r['n'])}"
                    for _, r in bins.iterrows()],
        hovertemplate="%{customdata}<extra></extra>",
    ))
    figure.update_xaxes(title_text="probability said (share)", range=[-0.02, 1.02])
    figure.update_yaxes(title_text="positives seen (share)", range=[-0.05, 1.05])
    told = [f"{name} {interval(of[metric].iloc[0])} ({null} {number(of[metric].iloc[0]['null'])})"
            for metric, name, null in (("brier", "Brier score", "base rate alone"),
                                       ("ece", "calibration error", "95 % of perfect ones below"))
            if len(of[metric])]
    return new_figure(
        f"Probabilities of {plain_concept(concept)} in {model}: said and seen",
        f"Platt's curve fitted inside the fitting groups; held-out groups in bins of equal size, "
        f"n = {int(bins['n'].sum())}. {'; '.join(told)}.",
        height=360, figure=figure,
    )
