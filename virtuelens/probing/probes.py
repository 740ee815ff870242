"""A fitted probe as a value: fit, apply, save, load; refused on any model but its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens import storage
from virtuelens.errors import ModelMismatchError, ProbeError, StoreError
from virtuelens.probing.data import Examples, ReadMatrices, Site
from virtuelens.probing.sweep import best, check_methods, cross_validate, fit_weights
from virtuelens.values.directions import Direction, unit

if TYPE_CHECKING:
    from virtuelens.activations.activations import Activations

SCHEMA = 1
_OF_DIRECTION = ("scale", "center", "point", "position", "concept", "method", "fingerprint")


@dataclass(frozen=True)
class Probe:
    """A direction with the threshold that separates the classes it was fitted on.

    threshold: projection (activation units) halfway between the two class means.
    n: examples it was fitted on.
    """

    direction: Direction
    threshold: float
    n: int

    def score(self, acts: Float[Tensor, "... d_model"]) -> Float[Tensor, "..."]:
        """Distance past the threshold in standard deviations; above 0 says present."""
        return (self.direction.project(acts) - self.threshold) / self.direction.scale


def fit_probe(
    activations: "Activations",
    *,
    method: str = "diff_means",
    seed: int = 0,
) -> Probe:
    """A probe on labelled activations; of several sites the best by group cross-validation.

    The examples given are all used for fitting: judge the probe on others (`acts.test`).

    Raises: ProbeError: unknown method, one class only, or too few groups to choose a site.
    """
    check_methods([method])
    examples = examples_of(activations)
    if len(set(examples.labels.tolist())) < 2:
        raise ProbeError("These examples hold one class only: a probe needs both.")
    sites = tuple(examples.matrices)
    site = sites[0]
    if len(sites) > 1:
        site = best(cross_validate(examples, methods=[method], seed=seed)).site
    return probe_at(
        examples, site, method, concept=activations.concept,
        fingerprint=activations.info.fingerprint, seed=seed,
    )


def probe_at(
    examples: Examples, site: Site, method: str, *, concept: str, fingerprint: str, seed: int = 0
) -> Probe:
    """A probe at one site, fitted on all the examples given.

    seed: of the folds that choose a strength, where the method leaves that open.

    Raises: ProbeError: the classes do not differ there at all, so there is no direction.
    """
    weights = fit_weights(examples, site, method, seed=seed)
    try:
        vector = unit(torch.from_numpy(weights))
    except ValueError as error:
        raise ProbeError(
            f"The two classes have the same activations at {site.point}, {site.position}: no "
            "direction can be fitted there. Read another position."
        ) from error
    along = examples.matrices[site] @ vector.numpy().astype(np.float64)
    means = [float(along[examples.labels == label].mean()) for label in (0, 1)]
    direction = Direction(
        vector=vector, scale=float(along.std()), center=float(along.mean()),
        point=site.point, position=site.position, concept=concept, method=method,
        fingerprint=fingerprint,
    )
    return Probe(direction, threshold=sum(means) / 2, n=len(along))


def examples_of(activations: "Activations") -> Examples:
    """Labelled activations as the arrays that fitting works on.

    Positions that keep several rows of an example (`tokens`) are left to the pooled families.

    Raises: ProbeError: no position has one row an example.
    """
    whole = activations.index
    several = set(whole["position"][whole["end"] - whole["start"] != 1])
    positions = [p for p in activations.positions if p not in several]
    if not positions:
        raise ProbeError(
            "These activations keep every token, and directions read one row an example (families "
            "that pool tokens choose their layer by them): harvest another position beside it."
        )
    index = whole[whole["position"] == positions[0]]
    sites = tuple(Site(point, position) for point in activations.points for position in positions)
    return Examples(
        ReadMatrices(sites, lambda s: activations.matrix(s.point, s.position).numpy()),
        index["label"].to_numpy(dtype=np.int64),
        tuple(index["group"]),
        tuple(index["pair"]),
        tuple(index["example_id"]),
    )


def save_probe(probe: Probe, path: Path) -> None:
    """Write a probe as safetensors with its provenance in the header."""
    write_probe(path, probe, {"schema": SCHEMA, "kind": "probe"})


def load_probe(path: Path, *, fingerprint: str | None = None) -> Probe:
    """Read a probe back.

    fingerprint: of the model it will be used on (`model.info.fingerprint`).

    Raises: ModelMismatchError: it was fitted on another model; StoreError: damaged, not a probe.
    """
    return read_probe(path, "probe", SCHEMA, fingerprint=fingerprint)[0]


def write_probe(path: Path, probe: Probe, more: Mapping[str, Any]) -> None:
    """Write a probe with what else its file says: `schema`, `kind` and what that kind needs."""
    about = {k: getattr(probe.direction, k) for k in _OF_DIRECTION}
    about |= {"threshold": probe.threshold, "n": probe.n}
    storage.write_tensors(path, {"vector": probe.direction.vector}, {**about, **more})


def read_probe(
    path: Path, kind: str, schema: int, *, fingerprint: str | None
) -> tuple[Probe, dict[str, Any]]:
    """The probe in a file of that kind, and all that its header says.

    Raises: ModelMismatchError: it was made on another model; StoreError: damaged, of another kind.
    """
    tensors, about = storage.read_tensors(path)
    if about.get("kind") != kind or about.get("schema") != schema:
        raise StoreError(f"{path} is not a {kind} of schema {schema}: make it anew.")
    try:
        direction = Direction(vector=tensors["vector"], **{k: about[k] for k in _OF_DIRECTION})
        probe = Probe(direction, about["threshold"], about["n"])
    except (KeyError, ValueError) as error:
        raise StoreError(f"{path} is damaged ({error}): make the {kind} anew.") from error
    if fingerprint is not None and direction.fingerprint != fingerprint:
        raise ModelMismatchError(
            f"{path} was made on weights {direction.fingerprint[:12]}, this model has "
            f"{fingerprint[:12]}: make the {kind} on this model instead."
        )
    return probe, about
