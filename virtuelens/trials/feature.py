"""An SAE feature on trial: steered along its decoder row, its round trip beside it."""

from typing import TYPE_CHECKING

from virtuelens.activations.harvest import harvest
from virtuelens.errors import SaeError
from virtuelens.probing.data import Site
from virtuelens.probing.probes import Probe, examples_of
from virtuelens.sparse_coding import Sae, check_fits
from virtuelens.sparse_coding.evaluate import Reconstruction
from virtuelens.steering.side_effects import Neutral, SideEffect, side_effect
from virtuelens.values.directions import Direction, unit

if TYPE_CHECKING:
    from virtuelens.concepts.pack import Concept
    from virtuelens.models import HookedModel

METHOD = "SAE feature"


def feature_probe(
    model: "HookedModel", concept: "Concept", sae: Sae, feature: int
) -> Probe:
    """The feature's decoder row as a direction, its scale and threshold from the pack's main set.

    scale: standard deviation of the projection at the pack's first position, as for every
    direction, so that doses compare.

    Raises: SaeError: no such feature, another model's SAE, or its decoder row is zero.
    """
    check_fits(sae, model)
    try:
        vector = unit(sae.decoder_row(feature).cpu())
    except ValueError as error:
        raise SaeError(f"The decoder row of feature {feature} of {sae.name} is zero: it writes "
                       "nothing, so there is nothing to steer along.") from error
    site = Site(sae.point, concept.positions[0])
    examples = examples_of(harvest(model, concept.in_split("main"), points=[sae.point],
                                   positions=(site.position,)))
    along = examples.matrices[site] @ vector.double().numpy()
    middle = sum(float(along[examples.labels == label].mean()) for label in (0, 1)) / 2
    direction = Direction(
        vector, float(along.std()) or 1.0, float(along.mean()), sae.point, site.position,
        f"{sae.name}:{feature}", METHOD, model.info.fingerprint,
    )
    return Probe(direction, middle, len(along))


def round_trip(model: "HookedModel", sae: Sae, neutral: Neutral) -> SideEffect:
    """What it costs to put the SAE's reconstruction in place of the activations, nothing edited.

    In one published effect 98.8 % was this and not the edit (METHODS).
    """
    return side_effect(model, neutral, [Reconstruction(sae.point, sae)])
