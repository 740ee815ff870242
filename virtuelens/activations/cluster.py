"""Harvest on the workers of a Ray cluster: the same plan, the same shards, the same bytes.

1. The plan is made here; a shard is one piece of work, so a store does not show who made it.
2. Ray Data gives each worker (an actor with a GPU, or with some CPUs) the next missing shard. It
   loads the model once, by name, and refuses weights with another fingerprint.
3. The worker writes the shard into the store's folder, whole or not at all, and gives back its
   checksum, which goes into the journal here. Rows never pass through the network of Ray.
4. A worker that dies is replaced by Ray, and what it had in hand is done again.
"""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from virtuelens.activations.manifest import MANIFEST
from virtuelens.activations.reading import Work
from virtuelens.activations.writing import Unfinished
from virtuelens.errors import ClusterError, VirtueLensError

if TYPE_CHECKING:
    from virtuelens.models import HookedModel


@dataclass(frozen=True)
class Cluster:
    """Where workers run, and how many.

    address: of a Ray cluster (`auto` for the one this machine belongs to); None starts one on this
        machine, bound to loopback, for as long as the harvest lasts.
    workers: None is one for each GPU, or as many as the CPUs allow where there is none.
    threads: CPUs of each worker. Which threads multiply shows in the last digit of fp32.
    """

    address: str | None = None
    workers: int | None = None
    threads: int = 1


_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
"""Ray reports nothing to its makers, and its C++ part nothing on the terminal."""

_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Ray's way to say that its servers bind to loopback, on Linux too; an address alone does not."""


@dataclass(frozen=True)
class _Task:
    """What every worker is given once."""

    model: str
    dtype: str
    fingerprint: str
    own_code: bool
    threads: int
    work: Work


class _Worker:
    """One actor: a model in memory, and one shard after the other."""

    def __init__(self, task: Any) -> None:
        import ray
        import torch

        from virtuelens.models import load_model

        self.task: _Task = ray.get(task[0])
        if not (self.task.work.store.path / MANIFEST).is_file():
            raise ClusterError(
                f"A worker does not see {self.task.work.store.path}: harvest into a folder that "
                "all machines share."
            )
        torch.set_num_threads(self.task.threads)
        self.model = load_model(
            self.task.model, dtype=self.task.dtype, trust_remote_code=self.task.own_code,
            verify=False,
        )
        if self.model.info.fingerprint != self.task.fingerprint:
            raise ClusterError(
                f"{self.task.model} has other weights on a worker than here: give all machines the "
                "same checkpoint."
            )

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        number = int(row["shard"])
        return {"shard": number, **self.task.work.make(self.model, number)}


def on_cluster(
    model: "HookedModel", work: Work, missing: Sequence[int], cluster: Cluster
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Have these shards made; number and manifest entry of each as it is done.

    Raises: ClusterError: Ray is not installed, there is no such cluster, it has no room, or a
        worker sees another model. Errors of reading pass through.
    """
    if model.edited:
        raise ClusterError("Edits stand in this process only: harvest them without a cluster.")
    if model.trace is not None:
        raise ClusterError("Workers read with our own hooks: load the model without nnsight.")
    if not missing:
        return
    with _connected(cluster) as ray:
        n, gpus = _workers(ray, model, cluster)
        name = model.info.name
        task = ray.put(_Task(
            str(Path(name).resolve()) if Path(name).is_dir() else name,
            model.info.dtype, model.info.fingerprint,
            type(model.hf).__module__.startswith("transformers_modules"),
            cluster.threads, replace(work, store=_elsewhere(work.store)),
        ))  # fmt: skip
        todo = ray.data.from_items([{"shard": k} for k in missing],
                                   override_num_blocks=len(missing))
        made = todo.map(
            _Worker, fn_constructor_args=([task],), num_cpus=cluster.threads, num_gpus=gpus,
            compute=ray.data.ActorPoolStrategy(size=min(n, len(missing)),
                                               max_tasks_in_flight_per_actor=2),
        )
        try:
            for row in made.iter_rows():
                yield int(row.pop("shard")), row
        except ray.exceptions.RayError as error:
            raise _plain(error) from error


def _elsewhere(store: Unfinished) -> Unfinished:
    """The store by its full path, for processes that start in other folders."""
    return replace(store, path=store.path.resolve(), entries={})


@contextlib.contextmanager
def _connected(cluster: Cluster) -> Iterator[Any]:
    """Ray, connected; a cluster of our own is shut down in the end."""
    for key, value in (_QUIET if cluster.address else _QUIET | _LOOPBACK).items():
        os.environ.setdefault(key, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ClusterError(
            "Ray is not installed: pip install 'virtuelens[cluster]'."
        ) from error
    mine = not ray.is_initialized()
    if mine:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR",
                                 "include_dashboard": False}
        if cluster.address is None:
            slots = max(os.cpu_count() or 1, (cluster.workers or 1) * cluster.threads)
            quiet |= {"num_cpus": slots}
        try:
            _reach(cluster.address)
            ray.init(cluster.address or "local", **quiet)
        except (ValueError, RuntimeError, OSError) as error:
            raise ClusterError(
                f"No Ray cluster at {cluster.address!r} ({str(error).splitlines()[0]}): start one "
                "with `ray start --head`, or leave the address out to use this machine."
            ) from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.raise_original_map_exception = True
    try:
        yield ray
    finally:
        if mine:
            ray.shutdown()


def _reach(address: str | None) -> None:
    """Fail at once where nobody listens; Ray would try for two minutes, then end the process.

    Raises: OSError: nobody does.
    """
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _workers(ray: Any, model: "HookedModel", cluster: Cluster) -> tuple[int, int]:
    """How many workers, and the GPUs of each.

    Raises: ClusterError: the cluster has no room for one.
    """
    there = ray.cluster_resources()
    gpus = 0 if model.info.device.startswith("cpu") else 1
    room = int(there.get("GPU", 0)) if gpus else int(there.get("CPU", 0)) // cluster.threads
    if room < (cluster.workers or 1):
        kind = "GPUs" if gpus else f"CPUs for workers of {cluster.threads} threads"
        raise ClusterError(
            f"{cluster.workers or 1} workers were asked for and the cluster has {room} {kind}."
        )
    return cluster.workers or room, gpus


def _plain(error: Exception) -> Exception:
    """What a worker raised, without Ray's wrapping."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, VirtueLensError):
            return type(inner)(str(inner))
        inner = getattr(inner, "cause", None) or inner.__cause__
    return ClusterError(f"The cluster gave up: {str(error).strip().splitlines()[-1]}")
