"""Run a model over texts and keep what its hook points hold at the positions asked for.

1. Encode everything and choose the tokens; whatever is wrong with a text is said now (request).
2. Put texts into batches of a token budget (plan): end to end where the model allows it, else those
   of like length; texts that begin alike run together, and what they share is run once (families).
3. Run each batch up to the last point read, take the rows of the chosen tokens and check that they
   are finite (reading); no text is cut, padding is never read.
4. Put them where they belong: in memory in the order of the texts, or in shards of a store, where
   a whole shard is never made twice.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from virtuelens.activations.activations import Activations, spans
from virtuelens.activations.cluster import Cluster, on_cluster
from virtuelens.activations.families import Family, find_families, plan_families, plan_rows
from virtuelens.activations.manifest import DTYPES
from virtuelens.activations.memory import keeper
from virtuelens.activations.plan import batch_cost, default_batch_tokens, plan_batches, plan_shards
from virtuelens.activations.reading import Job, Site, Work, read_each
from virtuelens.activations.request import Request, about_request, make_request
from virtuelens.activations.store import open_store
from virtuelens.activations.writing import begin_store, only_writer
from virtuelens.concepts.pack import Concept
from virtuelens.errors import StoreError
from virtuelens.storage import sha256_lines
from virtuelens.values.texts import Example, Text

if TYPE_CHECKING:
    from virtuelens.models import HookedModel

Progress = Callable[[int, int], None]
Array = np.ndarray


def harvest(
    model: "HookedModel",
    what: Concept | Sequence[Example] | Sequence[Text],
    *,
    points: str | Sequence[str],
    positions: str | Sequence[str] = "last",
    out: Path | str | None = None,
    dtype: str = "float32",
    batch_tokens: int | None = None,
    shard_bytes: int = 1 << 27,
    share_prefixes: bool = True,
    asked: Mapping[str, str] | None = None,
    accept: Sequence[str] = (),
    repair: bool = False,
    cluster: Cluster | None = None,
    progress: Progress | None = None,
) -> Activations:
    """The activations of a concept's examples, or of other texts, in the order given.

    points: hook points by name; `resid_post` (or `resid_pre`, `resid_mid`, `attn_out`, `mlp_out`)
        stands for that point of every layer.
    positions: rows of the positions table.
    out: a folder to stream to. An unfinished harvest of the same thing goes on there, a finished
        one is taken as it is, anything else is refused. The result then reads from disk.
    dtype: float32 or bfloat16, of what is kept; matrices are given in fp32 either way.
    batch_tokens: padded tokens of a batch; by default as many as the device needs to be fast.
        Lower it where memory is short. Results do not depend on it beyond rounding.
    share_prefixes: run once what texts have in common at their beginning, where that spares much.
        Results do not depend on it beyond rounding.
    asked: how model and pack are named, written into the store so that `virtuelens harvest
        --resume` needs nothing else.
    accept: keys of the manifest that may differ in a store that is there already, such as
        `made_by.versions.torch`; each difference is put on record in it.
    repair: read every file of a finished store, and make again just what is damaged.
    cluster: run on workers of a Ray cluster, which all see the folder `out`; the same bytes.
    progress: called with (texts done, texts in all).

    Raises: TextTooLongError, TextError, PositionError: naming the example, before any work.
    HookPointError: unknown point. NotFiniteError: naming point and example. StoreError: `out`
    holds something else. DiskError. ClusterError.
    """
    if dtype not in DTYPES:
        raise StoreError(f"Unknown dtype {dtype!r}: choose from {', '.join(DTYPES)}.")
    if batch_tokens is not None and batch_tokens < 1:
        raise ValueError(f"batch_tokens is {batch_tokens}: expected at least 1")
    tell = progress or (lambda done, total: None)
    request = make_request(model, what, points=points, positions=positions)
    batch_tokens = batch_tokens or default_batch_tokens(
        model.info.d_model, model.info.device, len(request.points))
    jobs = plan(model, request, batch_tokens=batch_tokens, share_prefixes=share_prefixes)
    about = {"model": model.info.to_json(), **about_request(request, dtype=dtype)}
    if out is None:
        if cluster is not None:
            raise StoreError("Workers write to a store: give a folder that all machines see.")
        return _into_memory(model, request, jobs, about, tell)
    wide = model.info.d_model * len(request.points) * DTYPES[dtype].itemsize
    sizes = [wide * sum(request.n_rows(p, t) for p in request.picks for t in j.texts) for j in jobs]
    shards = [[jobs[i] for i in run] for run in plan_shards(sizes, limit=shard_bytes)]
    texts = [[t for job in s for t in job.texts] for s in shards]
    with only_writer(Path(out)):
        store = begin_store(
            Path(out), about,
            made_by={"batch_tokens": batch_tokens, "shard_bytes": shard_bytes,
                     "share_prefixes": share_prefixes, "matmul": model.matmul,
                     "packed": any(job.row for job in jobs),
                     "plan": sha256_lines(json.dumps(t) for t in texts)},
            index=request.index(), texts=texts,
            asked=asked, accept=accept, repair=repair,
        )  # fmt: skip
        if store is not None:
            _into_store(model, Work(request, shards, store), tell, cluster)
    tell(len(request.given), len(request.given))
    return open_store(Path(out)).load()


def _into_memory(
    model: "HookedModel",
    request: Request,
    jobs: Sequence[Job],
    about: dict[str, object],
    tell: Progress,
) -> Activations:
    index = request.index()
    dtype = DTYPES[str(about["dtype"])]
    kept: dict[Site, Tensor] = {}
    places: dict[str, tuple[Array, Array]] = {}
    for position in request.picks:
        mine = index[index["position"] == position]
        places[position] = mine["start"].to_numpy(), mine["end"].to_numpy()
        for point in request.points:
            kept[point, position] = torch.empty(
                int(mine["end"].iloc[-1]), model.info.d_model, dtype=dtype
            )
    done = 0

    def put(number: int, site: Site, rows: Tensor) -> None:
        starts, ends = (column[list(jobs[number].texts)] for column in places[site[1]])
        kept[site].index_copy_(0, spans(starts, ends), rows)

    def count(texts: int) -> None:
        nonlocal done
        done += texts
        tell(done, len(request.given))

    read_each(model, request, jobs, put, dtype=dtype, count=count)
    return Activations(
        info=model.info, index=index, points=request.points, positions=tuple(request.picks),
        concept=request.concept, manifest=about, _read=lambda p, where: kept[p, where],
    )  # fmt: skip


def _into_store(
    model: "HookedModel", work: Work, tell: Progress, cluster: Cluster | None
) -> None:
    n_shards, store = len(work.shards), work.store
    missing = [n for n in range(n_shards) if not store.has(n)]
    total = sum(map(work.n_texts, range(n_shards)))
    done, give_back = total - sum(map(work.n_texts, missing)), keeper()

    def count(texts: int) -> None:
        nonlocal done
        done += texts
        give_back()
        tell(done, total)

    count(0)
    if cluster is None:
        for number in missing:
            store.note(number, work.make(model, number, count))
    else:
        for number, described in on_cluster(model, work, missing, cluster):
            store.note(number, described)
            count(work.n_texts(number))
    store.finish()


def plan(
    model: "HookedModel", request: Request, *, batch_tokens: int, share_prefixes: bool
) -> list[Job]:
    """What runs together, in the order to run it: families of texts that begin alike, and others.

    Nothing is shared where the model cannot go on from a prefix, or where a second pass over padded
    texts costs more than it spares. While edits stand texts are padded and nothing is shared: edits
    may depend on the text that follows.
    """
    per_batch = batch_cost(model.info.d_model, model.info.device)
    lengths = request.tokens.lengths
    packed = not model.edited and model.packs
    families: tuple[Family, ...] = ()
    if share_prefixes and not model.edited and len(lengths) > 1:
        families = find_families([request.tokens.of(t) for t in range(len(lengths))])
    if families and not packed and not model.resumes:
        families = ()
    shared = []
    if families and not packed:
        shared = plan_families(families, lengths, batch_tokens=batch_tokens,
                               per_batch=2 * per_batch)
        if sum(f.shared * (len(f.texts) - 1) for f in families) < 2 * per_batch * len(shared):
            families, shared = (), []
    among = {t for f in families for t in f.texts}
    alone = [t for t in range(len(lengths)) if t not in among]
    if packed:
        rows = plan_rows([*families, *alone], lengths, batch_tokens=batch_tokens)
        return [Job.of(row, row=size) for row, size in rows]
    batches = plan_batches([lengths[t] for t in alone], batch_tokens=batch_tokens,
                           per_batch=per_batch)
    return [Job.of(b) for b in shared] + [Job(tuple(alone[i] for i in b)) for b in batches]
