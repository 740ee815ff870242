"""The rows that were read, as a value; in memory or on disk makes no difference to who uses it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from virtuelens.concepts.splits import fit_test_groups
from virtuelens.errors import HookPointError, PositionError
from virtuelens.values.models import ModelInfo

Array = np.ndarray

INDEX_COLUMNS = (
    "example_id", "pair", "group", "label", "split", "position", "start", "end", "n_tokens",
    "n_prompt",
)  # fmt: skip
"""One row per example and position.

label: -1 where the texts have none. start, end: rows of `matrix(point, position)` (one row per
example, except at `tokens`). n_tokens, n_prompt: length of the text and of its prompt.
"""


@dataclass(frozen=True, eq=False)
class Activations:
    """What `harvest` gives: one matrix per hook point and position, and an index of its rows.

    index: columns as in INDEX_COLUMNS; per position the examples are in the order they were given.
    concept: name of the concept the texts are from, or "".
    manifest: the provenance, as it stands in a store.
    """

    info: ModelInfo
    index: pd.DataFrame
    points: tuple[str, ...]
    positions: tuple[str, ...]
    concept: str
    manifest: Mapping[str, Any] = field(repr=False)
    _read: Callable[[str, str], Tensor] = field(repr=False)
    _rows: Mapping[str, Int[Tensor, " n"]] | None = field(default=None, repr=False)

    def matrix(self, point: str, position: str) -> Float[Tensor, "n_rows d_model"]:
        """The rows of one position at one hook point (fp32, on the CPU).

        Raises: HookPointError, PositionError: that was not harvested.
        """
        if point not in self.points:
            raise HookPointError(
                f"Hook point {point!r} was not harvested: these activations hold "
                f"{', '.join(self.points)}."
            )
        if position not in self.positions:
            raise PositionError(
                f"Position {position!r} was not harvested: these activations hold "
                f"{', '.join(self.positions)}."
            )
        rows = self._read(point, position)
        return (rows if self._rows is None else rows[self._rows[position]]).float()

    def point(self, name: str) -> Float[Tensor, "n_rows d_model"]:
        """The rows at one hook point, where only one position was harvested.

        Raises: PositionError: there are several: say which with `matrix`.
        """
        if len(self.positions) != 1:
            raise PositionError(
                f"These activations hold the positions {', '.join(self.positions)}: choose one "
                f"with matrix({name!r}, position)."
            )
        return self.matrix(name, self.positions[0])

    def where(self, mask: Sequence[bool] | pd.Series) -> "Activations":
        """The rows of the index where `mask` is true, with their activations."""
        chosen = np.asarray(mask, dtype=bool)
        if chosen.shape != (len(self.index),):
            raise ValueError(
                f"the mask has shape {chosen.shape}, the index {len(self.index)} rows"
            )
        index = self.index[chosen].reset_index(drop=True)
        rows = {}
        for position in self.positions:
            here = index["position"] == position
            mine = index[here]
            taken = spans(mine["start"].to_numpy(), mine["end"].to_numpy())
            rows[position] = taken if self._rows is None else self._rows[position][taken]
            ends = (mine["end"] - mine["start"]).cumsum()
            index.loc[here, "start"] = ends - (mine["end"] - mine["start"])
            index.loc[here, "end"] = ends
        left = tuple(p for p in self.positions if len(rows[p])) or self.positions
        return replace(self, index=index, positions=left, _rows=rows)

    @property
    def train(self) -> "Activations":
        """The examples of the main set that are fitted on (groups split with seed 0)."""
        return self._main(0)

    @property
    def test(self) -> "Activations":
        """The examples of the main set in groups that fitting never sees."""
        return self._main(1)

    @property
    def shifted(self) -> "Activations":
        """The examples of the set in another format."""
        return self.where(self.index["split"] == "shifted")

    @property
    def transfer(self) -> "Activations":
        """The examples of the set from elsewhere."""
        return self.where(self.index["split"] == "transfer")

    def _main(self, side: int) -> "Activations":
        main = self.where(self.index["split"] == "main")
        each_once = main.index["position"] == main.positions[0]
        groups = fit_test_groups(main.index["group"][each_once].tolist(), seed=0)[side]
        return main.where(main.index["group"].isin(groups))


def spans(starts: Int[Array, " n"], ends: Int[Array, " n"]) -> Int[Tensor, " m"]:
    """start, start + 1, ..., end - 1 of each span, one span after the other."""
    sizes = ends - starts
    before = np.repeat(np.cumsum(sizes) - sizes, sizes)
    return torch.from_numpy(np.repeat(starts, sizes) + np.arange(sizes.sum()) - before)
