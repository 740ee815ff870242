"""From what a person types to an edit.

CONCEPT=STRENGTH, PROBE.safetensors=STRENGTH, SAE:FEATURE=VALUE; the command line and the Inspect
provider read the same words.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from virtuelens.errors import SteeringError

if TYPE_CHECKING:
    from virtuelens.models import HookedModel
    from virtuelens.models.run import Edit
    from virtuelens.probing.probes import Probe
    from virtuelens.sparse_coding import Sae
    from virtuelens.steering.edits import Add
    from virtuelens.steering.side_effects import SideEffect
    from virtuelens.steering.units import Dose
    from virtuelens.values.directions import Direction

Tell = Callable[[str], None]


def named_probe(model: "HookedModel", source: str, *, tell: Tell = lambda line: None) -> "Probe":
    """The probe of a concept, fitted on this model now, or the one in a `.safetensors` file.

    Fitted: difference of means at the site that is best over groups of the pack's main pairs.

    Raises: PackError: no such concept in the model's dialect. ModelMismatchError, StoreError: a
    file that is of another model or no probe.
    """
    from virtuelens.activations.harvest import harvest
    from virtuelens.concepts.pack import load_concept
    from virtuelens.probing.probes import fit_probe, load_probe

    if source.endswith(".safetensors"):
        return load_probe(Path(source), fingerprint=model.info.fingerprint)
    tell(f"Fitting {source} on {model.info.name} …")
    concept = load_concept(source, dialect=model.info.dialect)
    acts = harvest(model, concept, points="resid_post", positions=concept.positions)
    return fit_probe(acts.train, method="diff_means")


def addition(
    model: "HookedModel", argument: str, *, where: str = "all", unit: str = "sigma",
    tell: Tell = lambda line: None,
) -> "Add":
    """The edit of CONCEPT=STRENGTH or PROBE.safetensors=STRENGTH.

    unit: row of the table UNITS: sigma (standard deviations of the direction's projection), kl
        (iso-KL, measured on neutral texts of the model's dialect) or raw (activation units).

    Raises: SteeringError: not of that form; and what `named_probe` raises.
    """
    return dosed(model, argument, where=where, unit=unit, tell=tell)[0]


def dosed(
    model: "HookedModel", argument: str, *, where: str = "all", unit: str = "sigma",
    tell: Tell = lambda line: None,
) -> "tuple[Add, Direction, Dose]":
    """The same with its direction, and its dose in all units."""
    from virtuelens.concepts.pack import load_neutral
    from virtuelens.steering.edits import Add
    from virtuelens.steering.side_effects import read_neutral
    from virtuelens.steering.units import dose
    from virtuelens.steering.where import parse

    source, strength = _split(argument, "CONCEPT=STRENGTH")
    parse(where)
    d = named_probe(model, source, tell=tell).direction
    neutral = read_neutral(model, load_neutral(model.info.dialect)) if unit == "kl" else None
    found = dose(model, d, strength, unit=unit, neutral=neutral)
    tell(f"Adding {found} of {d.concept} at {d.point}, tokens: {where}")
    return Add(d.point, d.vector * found.raw, where), d, found


def clamped_features(
    model: "HookedModel", arguments: Sequence[str], *, where: str = "all", scale: bool = False
) -> "list[Edit]":
    """The edits of SAE:FEATURE=VALUE, features of one SAE together in one; error term kept.

    scale: VALUE is a factor of what the feature is (0 switches it off), not a value to set it to.

    Raises: SteeringError: not of that form. SaeError: no such SAE, or of another model.
    """
    import torch

    from virtuelens.sparse_coding import check_fits, load_sae
    from virtuelens.sparse_coding.sae import features_encoder
    from virtuelens.steering.feature_edits import ClampFeatures, ScaleFeatures

    asked: dict[str, dict[int, float]] = {}
    for argument in arguments:
        source, value = _split(argument, "SAE:FEATURE=VALUE")
        name, _, feature = source.rpartition(":")
        if not name or not feature.isdecimal():
            raise SteeringError(f"{argument!r} is not of the form SAE:FEATURE=VALUE.")
        values = asked.setdefault(name, {})
        if int(feature) in values:
            raise SteeringError(f"Feature {feature} of {name} is given twice: give one value.")
        values[int(feature)] = value
    kind = ScaleFeatures if scale else ClampFeatures
    edits: list[Edit] = []
    for name, values in asked.items():
        sae = load_sae(name)
        check_fits(sae, model)
        encode = features_encoder(sae, list(values))
        decoder = sae.W_dec[list(values)].clone()
        edits.append(kind(sae.point, encode, decoder, torch.tensor(list(values.values())), where))
    return edits


def named_feature(
    model: "HookedModel", concept: str, source: str
) -> "tuple[Probe, Sae]":
    """SAE:FEATURE as a direction, its scale from the concept's texts; and its SAE.

    Raises: SteeringError: not of that form. SaeError: no such SAE or feature, or of another model.
    """
    from virtuelens.concepts.pack import load_concept
    from virtuelens.sparse_coding import load_sae
    from virtuelens.trials.feature import feature_probe

    name, _, feature = source.rpartition(":")
    if not name or not feature.isdecimal():
        raise SteeringError(f"{source!r} is not of the form SAE:FEATURE.")
    sae = load_sae(name)
    pack = load_concept(concept, dialect=model.info.dialect)
    return feature_probe(model, pack, sae, int(feature)), sae


def round_trips(
    model: "HookedModel", arguments: Sequence[str], *, tell: Tell = lambda line: None
) -> "dict[str, SideEffect]":
    """What the round trip through each SAE of SAE:FEATURE=VALUE costs with no feature edited.

    On neutral texts of the model's dialect, the reconstruction in place of the activations. Edits
    here keep the reconstruction error, so they do not pay it; an effect of another program's clamp
    may be mostly this.

    Raises: PackError: no neutral texts in the dialect. SaeError: no such SAE, or of another model.
    """
    from virtuelens.concepts.pack import load_neutral
    from virtuelens.sparse_coding import check_fits, load_sae
    from virtuelens.steering.side_effects import read_neutral
    from virtuelens.trials.feature import round_trip

    names = dict.fromkeys(a.rpartition("=")[0].rpartition(":")[0] for a in arguments)
    if not names:
        return {}
    neutral, found = read_neutral(model, load_neutral(model.info.dialect)), {}
    for name in names:
        sae = load_sae(name)
        check_fits(sae, model)
        found[name] = side = round_trip(model, sae, neutral)
        tell(f"Beside it: the round trip through {name} at {sae.point}, no feature edited, costs "
             f"KL {side.kl_mean:.3g} nats a token ({side.kl_p95:.3g} at 95 %), perplexity × "
             f"{side.perplexity:.3g}; the edit keeps the error and does not pay it")
    return found


def condition(
    model: "HookedModel", argument: str, edits: "Sequence[Edit]", *, tell: Tell = lambda line: None
) -> "list[Edit]":
    """The edits, each only at tokens where CONCEPT>SIGMA (or PROBE.safetensors>SIGMA) holds.

    SIGMA: standard deviations above the direction's mean projection.

    Raises: SteeringError: not of that form; and what `named_probe` raises.
    """
    from virtuelens.steering.conditions import threshold, when

    source, sigma = _split(argument, "CONCEPT>SIGMA", sign=">")
    d = named_probe(model, source, tell=tell).direction
    tell(f"Only at tokens where {d.concept} at {d.point} is above {threshold(d, sigma):.3g} "
         f"({sigma:+g} σ)")
    return [when(edit, d, sigma=sigma) for edit in edits]


def _split(argument: str, form: str, *, sign: str = "=") -> tuple[str, float]:
    name, _, typed = argument.rpartition(sign)
    try:
        number = float(typed)
    except ValueError:
        number = math.nan
    if not name or not math.isfinite(number):
        raise SteeringError(f"{argument!r} is not of the form {form}, with a finite number.")
    return name, number
