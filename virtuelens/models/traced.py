"""The same reads and edits through nnsight's trace: here, or on a server that holds the model.

For models that nobody can hold: NDIF (https://ndif.us) keeps them loaded, and a traced block is
sent there by its source. What is read comes back whole, so read few points.

`remote=True` sends to the server that nnsight is configured for (key: environment variable
NDIF_API_KEY); `remote="local"` sends nothing, but packs and unpacks the block as the server would.
nnsight *unpickles* what the server answers: use it with servers that you trust.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from virtuelens.errors import HookPointError, ModelLoadError, RemoteError, SteeringError
from virtuelens.models.points import Place
from virtuelens.models.run import accepted, alter
from virtuelens.models.views import nnsight_library

if TYPE_CHECKING:
    from virtuelens.models.run import Batch, Edit, Seen, Take

Remote = bool | Literal["local"]
Op = tuple[str, str, Sequence["Edit"]]
"""What to do at a place: read | edit | enter | stream, the point, its edits."""


@dataclass(frozen=True)
class Trace:
    """An nnsight model, and where its traces run."""

    lens: Any
    remote: Remote = False


def run_traced(
    trace: Trace, places: Mapping[str, Place], batch: "Batch", *,
    read: Sequence[str], edits: Sequence["Edit"], logits: bool, take: "Take | None",
) -> tuple[dict[str, Tensor], Tensor | None]:
    """Activations at the points of `read`, after the edits there; logits when asked for.

    Raises: HookPointError: a point the model does not have. RemoteError: the server refused or
        cannot be reached.
    """
    nnsight = nnsight_library()
    lens, remote = trace.lens, trace.remote
    sites = [(_envoy(lens, module), side, ops)
             for (module, side), ops in _sites(places, read, edits).items()]
    seen, whole = batch.seen, logits
    for edit in edits:
        for elsewhere in getattr(edit, "looks_at", ()):
            raise SteeringError(
                f"An edit at {edit.point} looks at {elsewhere}, which a trace cannot do: "
                "put its condition at the point that it edits."
            )
    inputs = {"input_ids": batch.tokens, "attention_mask": batch.real.long(),
              **accepted(lens._module.forward, position_ids=seen.index)}
    acts: dict[str, Tensor] = {}
    found = None
    if remote:
        _send_our_code()
    try:
        # the source of this block may be sent away, with what it names
        with torch.no_grad(), lens.trace(inputs, use_cache=False, remote=remote) as tracer:
            kept: dict[str, Tensor] = {}
            entered: dict[str, Tensor] = {}
            for envoy, side, ops in sites:
                out = envoy.input if side == "in" else envoy.output
                new = _visit(out, ops, seen, kept, entered)
                if new is not None and side == "in":
                    envoy.input = new
                elif new is not None:
                    envoy.output = new
            acts = nnsight.save(kept)
            if whole:
                found = nnsight.save(lens.output.logits)
            else:
                tracer.stop()
    except Exception as error:
        if remote is True:
            raise _told(error) from error
        raise
    missed = [p for p in read if p not in acts]
    if missed:
        raise HookPointError(f"The forward pass never reached {missed[0]}: read a residual point.")
    keep = (lambda _, a: a) if take is None else take
    return {p: keep(p, acts[p]) for p in read}, found


def _visit(
    out: Any, ops: Sequence[Op], seen: "Seen", kept: dict[str, Tensor], entered: dict[str, Tensor]
) -> Any:
    """Read and edit what a module takes in or gives out; the new value, or None."""
    parts = isinstance(out, tuple | list)
    acts = before = out[0] if parts else out
    for op, point, edits in ops:
        if op == "read":
            kept[point] = acts.clone()
        elif op == "enter":
            entered[point] = acts
        elif op == "edit":
            acts = alter(acts, edits, seen)
        else:
            stream = acts + entered[point]
            change = alter(stream, edits, seen) - stream
            acts = torch.where(change != 0, acts + change, acts)
    if acts is before:
        return None
    return type(out)((acts, *out[1:])) if parts else acts


def _sites(
    places: Mapping[str, Place], read: Sequence[str], edits: Sequence["Edit"]
) -> dict[tuple[str, str], list[Op]]:
    """What is done at each module's input or output, in the order of execution."""
    by_point: dict[str, list[Edit]] = {}
    for edit in edits:
        by_point.setdefault(edit.point, []).append(edit)
    for point in (*read, *by_point):
        if point not in places:
            raise HookPointError(f"Hook point {point!r} is not in this model. List them with: "
                                 "virtuelens model NAME --hooks")
    at: dict[tuple[str, str], list[Op]] = {}
    for point, place in places.items():
        ops: list[Op] = []
        if point in by_point and place.writer is None:
            ops.append(("edit", point, by_point[point]))
        if point in read:
            ops.append(("read", point, ()))
        if ops:
            at.setdefault((place.module, place.side), []).extend(ops)
        if point in by_point and place.writer is not None and place.block is not None:
            # the stream between attention and MLP moves by what attention writes to it
            at.setdefault((place.block.module, place.block.side), []).append(("enter", point, ()))
            at.setdefault((place.writer.module, place.writer.side), []).append(
                ("stream", point, by_point[point]))
    order = {site: i for i, site in enumerate(_order(places))}
    return dict(sorted(at.items(), key=lambda item: order[item[0]]))


def _order(places: Mapping[str, Place]) -> list[tuple[str, str]]:
    """Every module's input or output that a point needs; a writer may be no point of its own."""
    parts = (part for p in places.values() for part in (p.block, p.writer, p) if part is not None)
    return list(dict.fromkeys((part.module, part.side) for part in parts))


def _envoy(lens: Any, module: str) -> Any:
    found = lens
    for part in module.split("."):
        found = found[int(part)] if part.isdigit() else getattr(found, part)
    return found


def check_key() -> None:
    """Raise unless a key of the server is configured.

    Raises: RemoteError: none is.
    """
    if not nnsight_library().CONFIG.API.APIKEY:
        raise RemoteError(
            "Running a model remotely needs a key of the server: get one from "
            "https://login.ndif.us and set NDIF_API_KEY (and NDIF_HOST for a server of your own)."
        )


def open_remote(name: str, tokenizer: Any) -> Any:
    """nnsight's model of that name, here without its weights, to be run on the server.

    Raises: ModelLoadError: its configuration cannot be read.
    """
    library = nnsight_library()
    try:
        return library.TransformersModel(name, task="text-generation", tokenizer=tokenizer)
    except Exception as error:  # transformers and its readers raise many kinds
        raise ModelLoadError(
            f"Could not read the configuration of {name}: {' '.join(str(error).split())[:300]}"
        ) from error


def _send_our_code() -> None:
    """The server has no virtuelens: what the block uses of it goes along."""
    from nnsight.ndif import register

    import virtuelens

    register(virtuelens)


def _told(error: Exception) -> RemoteError:
    """What a remote run fell over, in one line."""
    host = nnsight_library().CONFIG.API.HOST
    text = " ".join(str(error).split())[:300] or type(error).__name__
    advice = "is NDIF_HOST right, and is there a network?"
    lowered = text.lower()
    if any(word in lowered for word in ("401", "403", "api key", "unauthor", "forbidden")):
        advice = "is NDIF_API_KEY valid for this model?"
    elif "deploy" in lowered or "not running" in lowered or "not found" in lowered:
        advice = "the server does not hold this model; it lists those it holds on its status page."
    return RemoteError(f"The server {host} did not run it ({text}): {advice}")
