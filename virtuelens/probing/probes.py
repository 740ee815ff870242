"""A fitted probe as a value: fit, apply, save, load; refused on any model but its own."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens import storage
from virtuelens.errors import ModelMismatchError, ProbeError, StoreError
from virtuelens.probing.data import Examples, Site
from virtuelens.probing.methods import METHODS
from virtuelens.probing.sweep import best, cross_validate, fit_weights
from virtuelens.values.directions import Direction, unit

if TYPE_CHECKING:
    from virtuelens.activations.activations import Activations

SCHEMA = 1


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
    if method not in METHODS:
        raise ProbeError(f"Unknown probe method {method!r}: choose from {', '.join(METHODS)}.")
    examples = examples_of(activations)
    if len(set(examples.labels.tolist())) < 2:
        raise ProbeError("These examples hold one class only: a probe needs both.")
    sites = tuple(examples.matrices)
    site = sites[0]
    if len(sites) > 1:
        site = best(cross_validate(examples, methods=[method], seed=seed)).site
    return probe_at(
        examples, site, method, concept=activations.concept,
        fingerprint=activations.info.fingerprint,
    )


def probe_at(
    examples: Examples, site: Site, method: str, *, concept: str, fingerprint: str
) -> Probe:
    """A probe at one site, fitted on all the examples given.

    Raises: ProbeError: the classes do not differ there at all, so there is no direction.
    """
    weights = fit_weights(examples, site, method)
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
            "These activations keep every token, and this family reads one row an example: "
            "harvest another position beside it, or use a family that pools (attention, max)."
        )
    index = whole[whole["position"] == positions[0]]
    matrices = {
        Site(point, position): activations.matrix(point, position).double().numpy()
        for point in activations.points
        for position in positions
    }
    return Examples(
        matrices,
        index["label"].to_numpy(dtype=np.int64),
        tuple(index["group"]),
        tuple(index["pair"]),
        tuple(index["example_id"]),
    )


def save_probe(probe: Probe, path: Path) -> None:
    """Write a probe as safetensors with its provenance in the header."""
    about = {k: v for k, v in asdict(probe.direction).items() if k != "vector"}
    about |= {"schema": SCHEMA, "kind": "probe", "threshold": probe.threshold, "n": probe.n}
    storage.write_tensors(path, {"vector": probe.direction.vector}, about)


def load_probe(path: Path, *, fingerprint: str | None = None) -> Probe:
    """Read a probe back.

    fingerprint: of the model it will be used on (`model.info.fingerprint`).

    Raises: ModelMismatchError: it was fitted on another model; StoreError: damaged, not a probe.
    """
    tensors, about = storage.read_tensors(path)
    if about.get("kind") != "probe" or about.get("schema") != SCHEMA or "vector" not in tensors:
        raise StoreError(f"{path} is not a probe of schema {SCHEMA}: fit it anew.")
    if fingerprint is not None and about["fingerprint"] != fingerprint:
        raise ModelMismatchError(
            f"{path} was fitted on weights {about['fingerprint'][:12]}, this model has "
            f"{fingerprint[:12]}: fit the probe on this model instead."
        )
    names = ("scale", "center", "point", "position", "concept", "method", "fingerprint")
    direction = Direction(vector=tensors["vector"], **{k: about[k] for k in names})
    return Probe(direction, about["threshold"], about["n"])
