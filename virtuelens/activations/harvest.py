"""Run a model over texts and keep what its hook points hold at the positions asked for.

1. Encode everything and choose the tokens; whatever is wrong with a text is said now (request).
2. Put texts of like length into batches of a token budget (plan).
3. Run each batch up to the last point read; no text is cut, padding is never read.
4. Take the rows of the chosen tokens, check that they are finite, and put them where they belong:
   in memory in the order of the texts, or in shards of a store, where a whole shard is never
   made twice.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens.activations.activations import Activations, spans
from virtuelens.activations.manifest import DTYPES
from virtuelens.activations.plan import plan_batches, plan_shards
from virtuelens.activations.positions import POSITIONS
from virtuelens.activations.request import Request, about_request, make_request
from virtuelens.activations.store import open_store
from virtuelens.activations.writing import Unfinished, begin_store
from virtuelens.concepts.pack import Concept
from virtuelens.errors import NotFiniteError, StoreError
from virtuelens.values.texts import Example, Text

if TYPE_CHECKING:
    from virtuelens.models import Encoded, HookedModel

Progress = Callable[[int, int], None]
Array = np.ndarray
Site = tuple[str, str]
"""Hook point and position."""


def harvest(
    model: "HookedModel",
    what: Concept | Sequence[Example] | Sequence[Text],
    *,
    points: str | Sequence[str],
    positions: str | Sequence[str] = "last",
    out: Path | str | None = None,
    dtype: str = "float32",
    batch_tokens: int = 8192,
    shard_bytes: int = 1 << 27,
    progress: Progress | None = None,
) -> Activations:
    """The activations of a concept's examples, or of other texts, in the order given.

    points: hook points by name; `resid_post` (or `resid_pre`, `resid_mid`, `attn_out`, `mlp_out`)
        stands for that point of every layer.
    positions: rows of the positions table.
    out: a folder to stream to. An unfinished harvest of the same thing goes on there, a finished
        one is taken as it is, anything else is refused. The result then reads from disk.
    dtype: float32 or bfloat16, of what is kept; matrices are given in fp32 either way.
    batch_tokens: padded tokens of a batch; lower it where memory is short. Results do not
        depend on it beyond rounding.
    progress: called with (texts done, texts in all).

    Raises: TextTooLongError, TextError, PositionError: naming the example, before any work.
    HookPointError: unknown point. NotFiniteError: naming point and example. StoreError: `out`
    holds something else. DiskError.
    """
    if dtype not in DTYPES:
        raise StoreError(f"Unknown dtype {dtype!r}: choose from {', '.join(DTYPES)}.")
    if batch_tokens < 1:
        raise ValueError(f"batch_tokens is {batch_tokens}: expected at least 1")
    tell = progress or (lambda done, total: None)
    request = make_request(model, what, points=points, positions=positions)
    batches = plan_batches([len(e.ids) for e in request.encoded], batch_tokens=batch_tokens)
    about = {"model": model.info.to_json(), **about_request(request, dtype=dtype)}
    if out is None:
        return _into_memory(model, request, batches, about, tell)
    wide = model.info.d_model * len(request.points) * DTYPES[dtype].itemsize
    sizes = [wide * sum(request.n_rows(p, i) for p in request.picks for i in b) for b in batches]
    shards = plan_shards(sizes, limit=shard_bytes)
    store = begin_store(
        Path(out), about, made_by={"batch_tokens": batch_tokens, "shard_bytes": shard_bytes},
        index=request.index(), texts=[[i for b in s for i in batches[b]] for s in shards],
    )
    if store is not None:
        _into_store(model, request, [[batches[b] for b in s] for s in shards], store, tell)
    tell(len(request.examples), len(request.examples))
    return open_store(Path(out)).load()


def _into_memory(
    model: "HookedModel",
    request: Request,
    batches: Sequence[Sequence[int]],
    about: dict[str, object],
    tell: Progress,
) -> Activations:
    index = request.index()
    kept: dict[Site, Tensor] = {}
    places: dict[str, tuple[Array, Array]] = {}
    for position in request.picks:
        mine = index[index["position"] == position]
        places[position] = mine["start"].to_numpy(), mine["end"].to_numpy()
        for point in request.points:
            kept[point, position] = torch.empty(
                int(mine["end"].iloc[-1]), model.info.d_model, dtype=DTYPES[str(about["dtype"])]
            )
    done = 0
    for batch, read in _run(model, request, batches):
        for (point, position), rows in read.items():
            starts, ends = (column[list(batch)] for column in places[position])
            kept[point, position][spans(starts, ends)] = rows.to(kept[point, position].dtype)
        done += len(batch)
        tell(done, len(request.examples))
    return Activations(
        info=model.info, index=index, points=request.points, positions=tuple(request.picks),
        concept=request.concept, manifest=about, _read=lambda p, where: kept[p, where],
    )  # fmt: skip


def _into_store(
    model: "HookedModel",
    request: Request,
    shards: Sequence[Sequence[Sequence[int]]],
    store: Unfinished,
    tell: Progress,
) -> None:
    done = 0
    for number, batches in enumerate(shards):
        if not store.has(number):
            parts: dict[Site, list[Tensor]] = {}
            for batch, read in _run(model, request, batches):
                for site, rows in read.items():
                    parts.setdefault(site, []).append(rows)
                done += len(batch)
                if batch is not batches[-1]:
                    tell(done, len(request.examples))
            store.add(number, {site: torch.cat(rows) for site, rows in parts.items()})
        else:
            done += sum(len(batch) for batch in batches)
        tell(done, len(request.examples))
    store.finish()


def _run(
    model: "HookedModel", request: Request, batches: Sequence[Sequence[int]]
) -> Iterator[tuple[Sequence[int], dict[Site, Tensor]]]:
    """Each batch, and its rows at every site, the batch's texts one after the other (CPU)."""
    for batch in batches:
        encoded: list[Encoded] = [request.encoded[i] for i in batch]
        acts = model.run(model.batch(encoded, side="right"), read=request.points).acts
        read = {}
        for position, picks in request.picks.items():
            chosen = [picks[i] for i in batch]
            for point in request.points:
                rows = _rows(acts[point], chosen, pooled=POSITIONS[position].pooled).cpu()
                finite = torch.isfinite(rows).all(-1)
                if not finite.all():
                    texts = [i for i in batch for _ in range(request.n_rows(position, i))]
                    raise _not_finite(request, point, texts[int((~finite).nonzero()[0])])
                read[point, position] = rows
        yield batch, read


def _rows(
    acts: Float[Tensor, "batch pos d_model"], chosen: Sequence[Sequence[int]], *, pooled: bool
) -> Float[Tensor, "rows d_model"]:
    """The chosen tokens of each text (or their mean, in fp32), text after text.

    The batch is padded on the right, so a token's place in its text is its column.
    """
    text = torch.tensor([i for i, tokens in enumerate(chosen) for _ in tokens])
    column = torch.tensor([t for tokens in chosen for t in tokens])
    text, column = text.to(acts.device), column.to(acts.device)
    if not pooled or len(text) == len(chosen):
        return acts[text, column]
    share = torch.tensor([1 / len(tokens) for tokens in chosen], device=acts.device)
    weights = torch.zeros(acts.shape[:2], device=acts.device)
    weights[text, column] = share[text]
    return torch.bmm(weights[:, None], acts.float())[:, 0]  # [batch d_model]


def _not_finite(request: Request, point: str, text: int) -> NotFiniteError:
    return NotFiniteError(
        f"NaN or infinity at {point} in example {request.examples[text].id!r}: the model "
        "overflows there. Load it in another precision (dtype='float32'), or check its weights."
    )
