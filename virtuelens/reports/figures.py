"""The table of figures: what the report and the dashboard can draw from a run.

To add a figure, add a row: the contract test draws every row from a synthetic run.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

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
class Cited:
    """Rows of one table of a run: those whose columns have these values, or all of them."""

    table: str
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        """The file, and which of its rows."""
        which = "; ".join(f"{column} {', '.join(values)}" for column, values in self.where.items())
        return f"{self.table}.parquet" + (f" ({which})" if which else "")


@dataclass(frozen=True)
class FigureRow:
    """One figure: `draw(run, model, concept)` returns it, or None where the run has no such data.

    heading: above it on a page; about: how to read it, one sentence.
    rows: what it shows, and all that it needs of the run's tables.
    """

    name: str
    heading: str
    about: str
    draw: Draw
    rows: tuple[Cited, ...]

    @property
    def cites(self) -> str:
        """Where its numbers stand, for the reader."""
        return "Rows of " + " and ".join(map(str, self.rows)) + "."


def _evidence(**where: tuple[str, ...]) -> Cited:
    return Cited("evidence", where)


_AUROC, _PROBE = ("auroc",), ("probe",)


_ROWS = (
    FigureRow(
        "layer_map", "Where it is readable",
        "Each cell is a probe on one layer and position; the outlined cell was chosen on the "
        "fitting groups and alone is tested further.",
        reading_figures.layer_map,
        (_evidence(metric=_AUROC, split=("cv",), source=_PROBE),),
    ),
    FigureRow(
        "permutation_null", "Against shuffled labels",
        "A wide search finds something even in labels that mean nothing; the blue line must lie "
        "right of the dashed one.",
        reading_figures.permutation_null,
        (Cited("nulls", {"kind": ("permutation_max",)}),
         _evidence(metric=_AUROC, split=("test",), source=_PROBE)),
    ),
    FigureRow(
        "roc", "Against words, embeddings and untrained weights",
        "The further a curve bends to the upper left, the better it separates; the diagonal is "
        "chance.",
        reading_figures.roc,
        (Cited("scores"), _evidence(metric=_AUROC)),
    ),
    FigureRow(
        "baselines", "How far ahead",
        "Bars start at chance; whiskers are 95 % intervals over groups of texts.",
        reading_figures.baselines,
        (_evidence(metric=("auroc", "auroc_difference")),),
    ),
    FigureRow(
        "reliability", "Probabilities, said and seen",
        "On the dotted line a probability means what it says; whiskers are 95 % intervals over "
        "groups.",
        quality_figures.reliability,
        (_evidence(metric=("reliability", "brier", "ece"), split=("test",), source=_PROBE),),
    ),
    FigureRow(
        "dose_response", "What steering does",
        "If the model uses the direction, the blue line climbs out of the grey band of random "
        "directions while KL stays under the budget.",
        writing_figures.dose_response,
        (Cited("steering"),),
    ),
    FigureRow(
        "slopes", "Against random directions",
        "Each tick is one random direction of the same length, added at the same place.",
        writing_figures.slopes,
        (Cited("nulls", {"kind": ("random_direction_slope",)}),),
    ),
    FigureRow(
        "top_features", "Top SAE features",
        "Chosen on the fitting groups, scored on held-out groups.",
        feature_figures.top_features,
        (Cited("features"),),
    ),
)
FIGURES: dict[str, FigureRow] = {row.name: row for row in _ROWS}
"""Name -> figure, in the order in which a page shows them."""
