"""The table of figures: what the report and the dashboard can draw from a run.

To add a figure, add a row: the contract test draws every row from a synthetic run.
"""

from collections.abc import Callable
from dataclasses import dataclass

import plotly.graph_objects as go

from virtuelens.audits.run import Run
from virtuelens.reports import (
    feature_figures,
    quality_figures,
    reading_figures,
    writing_figures,
)

Draw = Callable[[Run, str, str], go.Figure | None]


@dataclass(frozen=True)
class FigureRow:
    """One figure: `draw(run, model, concept)` returns it, or None where the run has no such data.

    heading: above it on a page; about: how to read it, one sentence.
    """

    name: str
    heading: str
    about: str
    draw: Draw


_ROWS = (
    FigureRow(
        "layer_map", "Where it is readable",
        "Each cell is a probe on one layer and position; the outlined cell was chosen on the "
        "fitting groups and alone is tested further.",
        reading_figures.layer_map,
    ),
    FigureRow(
        "permutation_null", "Against shuffled labels",
        "A wide search finds something even in labels that mean nothing; the blue line must lie "
        "right of the dashed one.",
        reading_figures.permutation_null,
    ),
    FigureRow(
        "roc", "Against words, embeddings and untrained weights",
        "The further a curve bends to the upper left, the better it separates; the diagonal is "
        "chance.",
        reading_figures.roc,
    ),
    FigureRow(
        "baselines", "How far ahead",
        "Bars start at chance; whiskers are 95 % intervals over groups of texts.",
        reading_figures.baselines,
    ),
    FigureRow(
        "reliability", "Probabilities, said and seen",
        "On the dotted line a probability means what it says; whiskers are 95 % intervals over "
        "groups.",
        quality_figures.reliability,
    ),
    FigureRow(
        "dose_response", "What steering does",
        "If the model uses the direction, the blue line climbs out of the grey band of random "
        "directions while KL stays under the budget.",
        writing_figures.dose_response,
    ),
    FigureRow(
        "slopes", "Against random directions",
        "Each tick is one random direction of the same length, added at the same place.",
        writing_figures.slopes,
    ),
    FigureRow(
        "top_features", "Top SAE features",
        "Chosen on the fitting groups, scored on held-out groups.",
        feature_figures.top_features,
    ),
)
FIGURES: dict[str, FigureRow] = {row.name: row for row in _ROWS}
"""Name -> figure, in the order in which a page shows them."""
