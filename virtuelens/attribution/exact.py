"""Measure the effect of every cell: swap that one activation, run the rest, look at the answer."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from virtuelens.activations.plan import plan_batches
from virtuelens.attribution.attribute import BATCH_TOKENS, chosen_points, empty
from virtuelens.attribution.effects import Attribution, groups_of
from virtuelens.attribution.pairs import Answers, Pairs, encode_pairs
from virtuelens.exchange.swap import Swap
from virtuelens.models.run import Batch
from virtuelens.values.texts import Text

if TYPE_CHECKING:
    from virtuelens.models import HookedModel


def exact(
    model: "HookedModel",
    base: Sequence[Text],
    source: Sequence[Text],
    answers: Answers,
    *,
    points: Sequence[str] | None = None,
    null_source: Sequence[Text] | None = None,
    groups: Sequence[str] | None = None,
    batch_tokens: int = BATCH_TOKENS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Attribution:
    """Activation patching: the measured effect of every cell that `attribute` estimates.

    Arguments as there. One run a cell: points x tokens x pairs of them, so few pairs go far. Cells
    whose activation is the same in base and source (before the first word that differs) have no
    effect and are not run.
    progress: called with cells done and cells in all.

    Raises: AttributionError, HookPointError, TextTooLongError: as `attribute`.
    Source: interchange intervention, Geiger et al. 2021, arXiv:2106.02997.
    """
    chosen = chosen_points(model, points)
    pairs = encode_pairs(model, base, source, answers)
    units = groups_of(groups, len(pairs.base))
    sets = [pairs]
    if null_source is not None:
        sets.append(encode_pairs(model, base, null_source, answers))
    done, n_cells = 0, len(chosen) * sum(sum(p.lengths) for p in sets)

    def tell(n: int) -> None:
        nonlocal done
        done += n
        progress(done, n_cells)

    found = [_measure(model, p, chosen, batch_tokens=batch_tokens, tell=tell) for p in sets]
    effects, at_base, at_source = found[0]
    null = found[1][0] if null_source is not None else None
    return Attribution(chosen, effects, at_base, at_source, null, units)


@torch.no_grad()
def _measure(
    model: "HookedModel", pairs: Pairs, points: tuple[str, ...], *, batch_tokens: int,
    tell: Callable[[int], None],
) -> tuple[Tensor, Tensor, Tensor]:
    """Effects, and the metrics of base and source."""
    effects, metrics = empty(pairs, len(points))
    for rows in plan_batches(pairs.lengths, batch_tokens=batch_tokens):
        base = model.batch([pairs.base[i] for i in rows], side="left")
        source = model.batch([pairs.source[i] for i in rows], side="left")
        plain, there = (model.run(b, read=points, logits=True) for b in (base, source))
        assert plain.logits is not None
        assert there.logits is not None
        metrics[0, list(rows)] = pairs.metric(plain.logits[:, -1], rows).cpu()
        metrics[1, list(rows)] = pairs.metric(there.logits[:, -1], rows).cpu()
        width = base.tokens.shape[1]
        cells = base.real.nonzero()  # [cell 2], row of the batch and column
        every_row, every_column = cells.T
        every_pair = [rows[i] for i in every_row.tolist()]
        for k, point in enumerate(points):
            changed = (plain.acts[point] != there.acts[point]).any(-1)
            changed = changed[every_row, every_column]
            effects[every_pair, k, every_column.cpu() - width] = 0.0
            tell(int((~changed).sum()))
            at_once = max(1, batch_tokens // width)
            todo = cells[changed]
            for part in (todo[i : i + at_once] for i in range(0, len(todo), at_once)):
                row, column = part.T
                swap = Swap(point, there.acts[point][row, column], None,
                            base.seen.index[row, column])
                logits = model.run(_repeated(base, row), edits=[swap], logits=True).logits
                assert logits is not None
                pair = [rows[i] for i in row.tolist()]
                after = pairs.metric(logits[:, -1], pair).cpu()
                effects[pair, k, column.cpu() - width] = after - metrics[0, pair]
                tell(len(part))
    return effects, metrics[0], metrics[1]


def _repeated(batch: Batch, rows: Tensor) -> Batch:
    return Batch(batch.tokens[rows], batch.real[rows], batch.prompt_length[rows])
