"""Run one batch and take the rows that were asked for, text after text.

1. Each hook takes the chosen tokens' rows as they pass; nothing else is copied.
2. Where texts share their beginning, it runs once a family, and the texts go on from it; rows of
   the beginning are then given to every text of the family.
3. Where the model allows it, the texts of a job stand end to end in one row (`models.packed`), each
   beginning before what goes on from it; else they are padded, and beginnings run first.
4. Means are taken over a text's rows, in fp32.
5. On a GPU the next batch runs while the last one's rows travel and are put where they belong.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from virtuelens.activations.families import Family, Unit
from virtuelens.activations.positions import POSITIONS
from virtuelens.activations.request import Request
from virtuelens.activations.shards import order_of
from virtuelens.activations.writing import Unfinished
from virtuelens.errors import NotFiniteError
from virtuelens.models.packed import pack
from virtuelens.models.run import to_device

if TYPE_CHECKING:
    from virtuelens.models import HookedModel
    from virtuelens.models.prefix import Prefix

Site = tuple[str, str]
"""Hook point and position."""

AHEAD, HANDS = 2, 8  # jobs given to a GPU whose rows are not put away yet, by so many threads


@dataclass(frozen=True)
class Job:
    """Texts that run together: those of the families, one after the other, then all others.

    row: tokens of the one row in which they stand end to end and which is filled up to so many;
        0: they are padded.
    """

    texts: tuple[int, ...]
    families: tuple[Family, ...] = ()
    row: int = 0

    @staticmethod
    def of(units: Sequence[Unit], *, row: int = 0) -> "Job":
        """The texts of these families, and these texts."""
        families = tuple(u for u in units if isinstance(u, Family))
        alone = (u for u in units if isinstance(u, int))
        return Job((*(t for f in families for t in f.texts), *alone), families, row)

    @property
    def alone(self) -> tuple[int, ...]:
        """The texts that share nothing."""
        return self.texts[sum(len(f.texts) for f in self.families) :]


@dataclass(frozen=True)
class _Chosen:
    """The chosen tokens of a batch, position after position, text after text.

    text: which of the batch's texts each token is of; token: its place in that text.
    counts: position -> chosen tokens of each text.
    """

    text: Int[Tensor, " n"]
    token: Int[Tensor, " n"]
    counts: dict[str, list[int]]


Put = Callable[[int, Site, Tensor], None]
"""Number of a job, site, and the rows of the job's texts there, text after text (CPU)."""


def read_each(
    model: "HookedModel",
    request: Request,
    jobs: Sequence[Job],
    put: Put,
    *,
    dtype: torch.dtype = torch.float32,
    count: Callable[[int], None] = lambda texts: None,
) -> None:
    """Run job after job and `put` what was read, each site once a job, in no certain order.

    dtype: of the rows. count: called after each job with the number of its texts.

    Raises: NotFiniteError: naming hook point and example.
    """
    if model.hf.device.type != "cuda":
        for number, job in enumerate(jobs):
            started = _start(model, request, job, dtype)
            for site in list(started.rows):
                put(number, site, started.wait(site))
            count(len(job.texts))
        return

    def finish(number: int, started: _Started, site: Site) -> None:
        put(number, site, started.wait(site))

    with ThreadPoolExecutor(HANDS) as hands:
        waiting: deque[tuple[Job, list[Future[None]]]] = deque()

        def settle(job: Job, puts: list[Future[None]]) -> None:
            for one in puts:
                one.result()
            count(len(job.texts))

        for number, job in enumerate(jobs):
            started = _start(model, request, job, dtype)
            waiting.append((job, [hands.submit(finish, number, started, site)
                                  for site in list(started.rows)]))
            if len(waiting) > AHEAD:
                settle(*waiting.popleft())
        for one in waiting:
            settle(*one)


@dataclass(frozen=True)
class _Started:
    """A job that was given to the device: its rows are right once `events` have come.

    sums: of all the numbers read at each point, as the device finds them.
    """

    request: Request
    job: Job
    chosen: "_Chosen"
    rows: dict[Site, Tensor]
    sums: dict[str, Tensor]
    events: Sequence[torch.Event]

    def wait(self, site: Site) -> Tensor:
        """The rows at a site; they can be had once.

        Raises: NotFiniteError.
        """
        for event in self.events:
            event.synchronize()
        rows = self.rows.pop(site)
        if not torch.isfinite(self.sums[site[0]]):
            self._find_not_finite(site, rows)
        return rows

    def _find_not_finite(self, site: Site, rows: Tensor) -> None:
        """Look closely: the sum may have overflowed by itself, or another position be meant."""
        finite, counts = torch.isfinite(rows).all(-1), self.chosen.counts[site[1]]
        if finite.all():
            return
        row = int((~finite).nonzero()[0])
        of_text = [1] * len(counts) if len(finite) == len(counts) else counts
        text = int(np.searchsorted(np.cumsum(of_text), row, side="right"))
        example = self.request.example(self.job.texts[text])
        raise NotFiniteError(
            f"NaN or infinity at {site[0]} in example {example.id!r}: the model overflows there. "
            "Load it in another precision (dtype='float32'), or check its weights."
        )


def _start(
    model: "HookedModel", request: Request, job: Job, dtype: torch.dtype
) -> _Started:
    chosen = _chosen(request, job.texts)
    way = _packed if job.row else _shared if job.families else _plain
    found = way(model, request, job, chosen)
    rows: dict[Site, Tensor] = {}
    for point in request.points:
        start = 0
        for position, counts in chosen.counts.items():
            mine = found[point][start : start + sum(counts)]
            start += sum(counts)
            pooled = POSITIONS[position].pooled and len(mine) > len(counts)
            mine = _means(mine, counts) if pooled else mine
            # a GPU's rows are fetched into pinned memory, which is not waited for
            rows[point, position] = mine.to(dtype).to("cpu", non_blocking=mine.is_cuda)
    # one pass without a copy
    sums = {p: acts.sum(dtype=torch.float32).to("cpu", non_blocking=acts.is_cuda)
            for p, acts in found.items()}
    devices = {acts.device for acts in found.values() if acts.is_cuda}
    events = [torch.cuda.current_stream(device).record_event() for device in devices]
    return _Started(request, job, chosen, rows, sums, events)


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
        sizes = {p: [sum(self.request.n_rows(p, t) for t in job.texts)
                     for job in self.shards[number]] for p in self.request.picks}
        rows = self.store.room({p: sum(n) for p, n in sizes.items()})
        # the place of every row, job after job
        places = {p: torch.split(order_of(number, sum(n)).argsort(), n) for p, n in sizes.items()}

        def put(job: int, site: Site, new: Tensor) -> None:
            rows[site].index_copy_(0, places[site[1]][job], new)

        read_each(model, self.request, self.shards[number], put, dtype=self.store.dtype,
                  count=count)
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
    for family in (*job.families, *(Family((t,), 0) for t in job.alone)):
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
    if n < job.row:
        parts.append(([0] * (job.row - n), None))  # read by nobody
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
    return acts.reshape(-1, acts.shape[-1]).index_select(0, to_device(places, acts.device))


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
