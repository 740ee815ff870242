"""The figure of SAE features: which single features tell the concept apart, against their null."""

import numpy as np
import plotly.graph_objects as go

from virtuelens.audits.run import Run
from virtuelens.reports.rows import rows
from virtuelens.reports.theme import BLUE, GREY, VERMILION, new_figure, whiskers
from virtuelens.reports.words import escaped, interval, number, percent, plain_concept


def top_features(run: Run, model: str, concept: str) -> go.Figure | None:
    """Held-out AUROC of the best features as bars from chance, with the null of their search."""
    features = rows(run, "features", model, concept)
    if features.empty:
        return None
    null = float(features["null"].iloc[0])
    features = features.iloc[::-1]  # plotly draws the first at the bottom
    beats = features["auroc"].astype(float) > features["null"].astype(float).fillna(np.inf)
    figure = go.Figure(go.Bar(
        x=features["auroc"].to_numpy(dtype=float) - 0.5, base=0.5, orientation="h",
        y=[f"feature {int(f)}" for f in features["feature"]],
        error_x=whiskers(features, value="auroc") | {"color": GREY}, opacity=0.75,
        marker={"color": [BLUE if b else GREY for b in beats]}, showlegend=False,
        customdata=[
            f"feature {int(f['feature'])} of {escaped(f['sae'])}, speaks "
            f"{'against' if f['sign'] == -1 else 'for'} the concept<br>AUROC "
            f"{interval({'value': f['auroc'], 'low': f['low'], 'high': f['high']})}"
            f"<br>null {number(f['null'])}, active on {percent(f['density'])} of examples"
            for _, f in features.iterrows()
        ],
        hovertemplate="%{customdata}<extra></extra>",
    ))
    if np.isfinite(null):
        figure.add_vline(x=null, line={"color": VERMILION, "dash": "dash", "width": 2})
    figure.add_vline(x=0.5, line={"color": GREY, "width": 1})
    lowest = float(np.nanmin(features["auroc"].to_numpy(dtype=float)))
    figure.update_xaxes(title_text="AUROC (0.5 = chance)", range=[min(0.4, lowest - 0.05), 1.02])
    figure.update_yaxes(title_text="SAE feature (index)", showgrid=False)
    return new_figure(
        f"Single SAE features that tell {plain_concept(concept)} apart in {model}",
        f"Held-out groups, n = {len(features)} best features of {features['sae'].iloc[0]}; "
        f"dashed: the null, {number(null)}, which the best feature reaches for 95 % of shuffled "
        "labels. Grey bars do not beat it.",
        height=120 + 30 * len(features), figure=figure,
    )
