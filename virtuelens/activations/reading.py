"""Run one batch and take the rows that were asked for, text after text.

1. Each hook takes the chosen tokens' rows as they pass; nothing else is copied.
2. Where texts share their beginning, it runs once a family, and the texts go on from it; rows of
   the beginning are then given to every text of the family.
3. Where the model allows it, the texts of a job stand end to end in one row (`models.packed`), each
   beginning before what goes on from it; else they are padded, and beginnings run first.
4. Means are taken over a text's rows, in fp32.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from virtuelens.activations.families import Family
from virtuelens.activations.positions import POSITIONS
from virtuelens.activations.request import Request
from virtuelens.activations.writing import Unfinished
from virtuelens.errors import NotFiniteError
from virtuelens.models.packed import pack

if TYPE_CHECKING:
    from virtuelens.models import HookedModel
    from virtuelens.models.prefix import Prefix

Site = tuple[str, str]
"""Hook point and position."""


@dataclass(frozen=True)
class Job:
    """Texts that run together; `families` covers all of them, or is empty: nothing is shared.

    packed: end to end in one row, not padded.
    """

    texts: tuple[int, ...]
    families: tuple[Family, ...] = ()
    packed: bool = False

    @staticmethod
    def of(families: Sequence[Family], *, packed: bool = False) -> "Job":
        """The texts of these families."""
        return Job(tuple(t for f in families for t in f.texts), tuple(families), packed)


@dataclass(frozen=True)
class _Chosen:
    """The chosen tokens of a batch, position after position, text after text.

    text: which of the batch's texts each token is of; token: its place in that text.
    counts: position -> chosen tokens of each text.
    """

    text: Int[Tensor, " n"]
    token: Int[Tensor, " n"]
    counts: dict[str, list[int]]


def read(model: "HookedModel", request: Request, job: Job) -> dict[Site, Tensor]:
    """The rows of the job's texts at every site, the texts one after the other (CPU).

    Raises: NotFiniteError: naming hook point and example.
    """
    chosen = _chosen(request, job.texts)
    way = _packed if job.packed else _shared if job.families else _plain
    rows = way(model, request, job, chosen)
    out: dict[Site, Tensor] = {}
    for point in request.points:
        _check_finite(request, job, chosen, point, rows[point])
        start = 0
        for position, counts in chosen.counts.items():
            mine = rows[point][start : start + sum(counts)]
            start += sum(counts)
            pooled = POSITIONS[position].pooled and len(mine) > len(counts)
            out[point, position] = (_means(mine, counts) if pooled else mine).cpu()
    return out


@dataclass(frozen=True)
class Work:
    """A store to fill: shards of jobs of one request."""

    request: Request
    shards: Sequence[Sequence[Job]]
    store: Unfinished

    def n_texts(self, number: int) -> int:
        """Texts of a shard."""
        return sum(len(job.texts) for job in self.shards[number])

    def make(
        self, model: "HookedModel", number: int, count: Callable[[int], None] = lambda texts: None
    ) -> dict[str, Any]:
        """Read a shard's texts, one after the other, and write it; what the manifest says of it.

        count: called after each job with the number of its texts.
        """
        rows = self.store.room({
            position: sum(self.request.n_rows(position, t) for job in self.shards[number]
                          for t in job.texts)
            for position in self.request.picks
        })
        filled = dict.fromkeys(rows, 0)
        for job in self.shards[number]:
            for site, found in read(model, self.request, job).items():
                rows[site][filled[site] : filled[site] + len(found)] = found
                filled[site] += len(found)
            count(len(job.texts))
        return self.store.write(number, rows)


def _chosen(request: Request, texts: Sequence[int]) -> _Chosen:
    text: list[int] = []
    token: list[int] = []
    counts: dict[str, list[int]] = {}
    for position, picks in request.picks.items():
        counts[position] = [len(picks[t]) for t in texts]
        for i, t in enumerate(texts):
            text += [i] * len(picks[t])
            token += picks[t]
    return _Chosen(torch.tensor(text), torch.tensor(token), counts)


def _packed(
    model: "HookedModel", request: Request, job: Job, chosen: _Chosen
) -> dict[str, Float[Tensor, "n d_model"]]:
    parts: list[tuple[Sequence[int], int | None]] = []
    head, tail, shared = [], [], []  # of each text: where its beginning and the rest stand
    n = 0
    for family in job.families:
        beginning, first = n, None
        if family.shared:
            parts.append((request.tokens.of(family.texts[0])[: family.shared].tolist(), None))
            first = len(parts) - 1
            n += family.shared
        for t in family.texts:
            rest = request.tokens.of(t)[family.shared :].tolist()
            parts.append((rest, first))
            head.append(beginning)
            tail.append(n - family.shared)
            shared.append(family.shared)
            n += len(rest)
    starts = torch.tensor([head, tail])  # [2 texts]
    later = (chosen.token >= torch.tensor(shared)[chosen.text]).long()
    places = starts[later, chosen.text] + chosen.token
    return model.run_packed(pack(parts), read=request.points,
                            take=lambda _, acts: _at(acts, places))


def _plain(
    model: "HookedModel", request: Request, job: Job, chosen: _Chosen
) -> dict[str, Float[Tensor, "n d_model"]]:
    batch = model.batch([request.tokens.encoded(t) for t in job.texts], side="right")
    places = chosen.text * batch.tokens.shape[1] + chosen.token
    return dict(model.run(batch, read=request.points, take=lambda _, acts: _at(acts, places)).acts)


def _shared(
    model: "HookedModel", request: Request, job: Job, chosen: _Chosen
) -> dict[str, Float[Tensor, "n d_model"]]:
    family = [k for k, f in enumerate(job.families) for _ in f.texts]
    shared = torch.tensor([job.families[k].shared for k in family])[chosen.text]
    of_family = torch.tensor(family)[chosen.text]
    before = chosen.token < shared

    heads = [request.tokens.encoded(f.texts[0], 0, f.shared) for f in job.families]
    batch = model.batch(heads, side="left")
    width = batch.tokens.shape[1]
    places = (of_family * width + width - shared + chosen.token)[before]
    first = model.run(batch, read=request.points, keep=True,
                      take=lambda _, acts: _at(acts, places))
    assert first.prefix is not None
    after: Prefix = first.prefix.rows(torch.tensor(family))

    tails = [request.tokens.encoded(t, job.families[k].shared)
             for t, k in zip(job.texts, family, strict=True)]
    batch = model.batch(tails, side="right")
    own = (chosen.text * batch.tokens.shape[1] + chosen.token - shared)[~before]
    later = model.run(batch, read=request.points, after=after,
                      take=lambda _, acts: _at(acts, own))
    return {p: _joined(first.acts[p], later.acts[p], before) for p in request.points}


def _at(
    acts: Float[Tensor, "batch pos d_model"], places: Int[Tensor, " n"]
) -> Float[Tensor, "n d_model"]:
    # layers of one model may lie on several devices
    return acts.reshape(-1, acts.shape[-1]).index_select(0, places.to(acts.device))


def _joined(
    first: Float[Tensor, "m d_model"], second: Float[Tensor, "k d_model"],
    before: Bool[Tensor, " n"],
) -> Float[Tensor, "n d_model"]:
    """Rows of the shared beginnings and the texts' own, in the order of the chosen tokens."""
    out = first.new_empty(len(before), first.shape[-1])
    before = before.to(first.device)
    out[before], out[~before] = first, second
    return out


def _means(
    rows: Float[Tensor, "n d_model"], counts: Sequence[int]
) -> Float[Tensor, "texts d_model"]:
    lengths = torch.tensor(counts, device=rows.device)
    mean: Tensor = torch.segment_reduce(rows.float(), "mean", lengths=lengths, axis=0)
    return mean


def _check_finite(
    request: Request, job: Job, chosen: _Chosen, point: str, rows: Float[Tensor, "n d_model"]
) -> None:
    # one pass without a copy; a sum that overflows by itself is looked at closely
    if torch.isfinite(rows.sum(dtype=torch.float32)):
        return
    finite = torch.isfinite(rows).all(-1)
    if finite.all():
        return
    example = request.examples[job.texts[int(chosen.text[int((~finite).nonzero()[0])])]]
    raise NotFiniteError(
        f"NaN or infinity at {point} in example {example.id!r}: the model overflows there. Load "
        "it in another precision (dtype='float32'), or check its weights."
    )

