"""A fitted scorer as a value: fit, score, save, load; refused on any model but its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens import storage
from virtuelens.errors import ModelMismatchError, ProbeError, StoreError
from virtuelens.probing.bags import BagExamples, Bags
from virtuelens.probing.scorers.table import SCORERS

Array = np.ndarray

SCHEMA = 1
_ABOUT = ("family", "point", "position", "concept", "sae", "fingerprint", "n", "width")


@dataclass(frozen=True, eq=False)
class Scorer:
    """Parameters of one row of SCORERS, fitted at one hook point of one model.

    position: row of the positions table that its examples were read at.
    sae: name of the SAE whose features it reads, "" where it reads activations.
    n: examples it was fitted on. width: numbers in a row of what it reads.
    """

    family: str
    parameters: Mapping[str, Tensor]
    point: str
    position: str
    concept: str
    sae: str
    fingerprint: str
    n: int
    width: int

    def score(self, bags: Bags) -> Float[Array, " n"]:
        """Log-odds that the concept is present, one number an example.

        Raises: ProbeError: rows of another width, or several rows where the family reads one.
        """
        check_shape(self.family, bags)
        if bags.values.shape[1] != self.width:
            raise ProbeError(
                f"This {self.family} scorer reads rows of {self.width} numbers, these have "
                f"{bags.values.shape[1]}: read {self.point} of its own model, {self.position}."
            )
        plain = {name: t.numpy() for name, t in self.parameters.items()}
        return SCORERS[self.family].score(plain, bags)


def fit_scorer(
    examples: BagExamples, *, family: str, point: str, position: str, concept: str,
    fingerprint: str, sae: str = "", seed: int = 0,
) -> Scorer:
    """A scorer fitted on all the examples given: judge it on others.

    Raises: ProbeError: unknown family, one class only, or several rows where the family reads one.
    """
    if family not in SCORERS:
        raise ProbeError(f"Unknown family {family!r}: choose from {', '.join(SCORERS)}.")
    if len(set(examples.labels.tolist())) < 2:
        raise ProbeError("These examples hold one class only: a probe needs both.")
    check_shape(family, examples.bags)
    fitted = SCORERS[family].fit(examples.bags, examples.labels, seed)
    parameters = {name: torch.from_numpy(np.array(v)) for name, v in fitted.items()}
    return Scorer(family, parameters, point, position, concept, sae, fingerprint,
                  len(examples.labels), examples.bags.values.shape[1])


def save_scorer(scorer: Scorer, path: Path) -> None:
    """Write a scorer as safetensors with its provenance in the header."""
    about = {name: getattr(scorer, name) for name in _ABOUT}
    storage.write_tensors(path, scorer.parameters, about | {"schema": SCHEMA, "kind": "scorer"})


def load_scorer(path: Path, *, fingerprint: str | None = None) -> Scorer:
    """Read a scorer back.

    fingerprint: of the model it will be used on (`model.info.fingerprint`).

    Raises: ModelMismatchError: it was fitted on another model; StoreError: damaged, no scorer, or
    of a family that this version does not know.
    """
    tensors, about = storage.read_tensors(path)
    row = SCORERS.get(str(about.get("family")))
    whole = about.get("kind") == "scorer" and about.get("schema") == SCHEMA
    if not whole or row is None or not set(_ABOUT) <= set(about):
        raise StoreError(f"{path} is not a scorer of schema {SCHEMA}: fit it anew.")
    if set(tensors) != set(row.parameters):
        raise StoreError(
            f"{path} holds {', '.join(sorted(tensors))}, a scorer of family {row.name} has "
            f"{', '.join(row.parameters)}: fit it anew."
        )
    if fingerprint is not None and about["fingerprint"] != fingerprint:
        raise ModelMismatchError(
            f"{path} was fitted on weights {about['fingerprint'][:12]}, this model has "
            f"{fingerprint[:12]}: fit the scorer on this model instead."
        )
    return Scorer(parameters=tensors, **{name: about[name] for name in _ABOUT})


def check_shape(family: str, bags: Bags) -> None:
    """Refuse several rows an example where the family reads one.

    Raises: ProbeError.
    """
    pools = family in SCORERS and SCORERS[family].reads == "tokens"
    if not pools and (bags.sizes != 1).any():
        raise ProbeError(
            f"{family} reads one row an example, here one has {bags.sizes.max()}: pool them first, "
            "or use a family that reads tokens (attention, max)."
        )
