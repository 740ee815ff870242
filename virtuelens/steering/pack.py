"""A steering pack: directions of one model and named presets of edits along them, as one value.

A preset is a list of edits, each by the name of its direction, its kind, its dose and where it
acts. Packs are written and read by `packfile`; the format: docs/serve.md.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from virtuelens.errors import HookPointError, ModelMismatchError, SteeringError
from virtuelens.steering.edits import Ablate, Add, Cap, Clamp, Floor, check_direction
from virtuelens.steering.where import parse
from virtuelens.values.directions import Direction

if TYPE_CHECKING:
    from virtuelens.models import HookedModel
    from virtuelens.models.run import Edit

OFF = "off"
"""The preset that every pack has: no edit at all."""

UNITS = ("sigma", "units")
"""Standard deviations of the direction's projection, or activation units along it."""

Build = Callable[[Direction, str, float, str], "Edit"]
"""Direction, hook point, dose in activation units, token selection -> the edit."""

KINDS: dict[str, Build] = {
    "add": lambda d, point, dose, where: Add(point, d.vector * dose, where),
    "clamp": lambda d, point, dose, where: Clamp(point, d.vector, dose, where),
    "cap": lambda d, point, dose, where: Cap(point, d.vector, dose, where),
    "floor": lambda d, point, dose, where: Floor(point, d.vector, dose, where),
    "ablate": lambda d, point, dose, where: Ablate(point, d.vector, where),
}
"""What a preset may do along a direction."""

PLACES = frozenset({"clamp", "cap", "floor"})
"""Kinds whose dose is a place on the direction's axis: in sigma it counts from the center."""


@dataclass(frozen=True)
class Dose:
    """One edit of a preset, by the name of its direction.

    strength: in `unit`; for `clamp`, `cap` and `floor` a place on the axis (in sigma counted from
        the direction's center), for `ablate` without meaning.
    point: another hook point than the direction's own; None: where it was found.
    """

    direction: str
    kind: str = "add"
    strength: float = 0.0
    unit: str = "sigma"
    where: str = "all"
    point: str | None = None


@dataclass(frozen=True)
class SteeringPack:
    """Directions, presets and where they come from.

    thresholds: projection (activation units) above which a direction's concept is read as
        present; its center, where none is given.
    presets: name -> edits, in the order in which they are applied; `off` is always there.
    provenance: how the directions were found: plain text, numbers and dates.
    digest: SHA-256 of the TOML file it was read from; empty where it was made in memory.
    """

    name: str
    about: str
    model: str
    fingerprint: str
    directions: Mapping[str, Direction]
    presets: Mapping[str, tuple[Dose, ...]]
    thresholds: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, str | int | float] = field(default_factory=dict)
    digest: str = ""

    def direction(self, name: str) -> Direction:
        """The direction of that name.

        Raises: SteeringError: there is none.
        """
        if name not in self.directions:
            raise SteeringError(f"Steering pack {self.name!r} has no direction {name!r}: it has "
                                f"{', '.join(self.directions) or 'none'}.")
        return self.directions[name]

    def preset(self, name: str) -> tuple[Dose, ...]:
        """The edits of the preset of that name.

        Raises: SteeringError: there is none.
        """
        if name not in self.presets:
            raise SteeringError(f"Unknown preset {name!r}: choose from {', '.join(self.presets)}.")
        return self.presets[name]

    def edit(self, dose: Dose) -> "Edit":
        """The edit that a dose stands for.

        Raises: SteeringError: an unknown direction, kind, unit or token selection, or a strength
        that is not a finite number.
        """
        direction = self.direction(dose.direction)
        for found, known, what in ((dose.kind, KINDS, "kind of edit"), (dose.unit, UNITS, "unit")):
            if found not in known:
                raise SteeringError(f"Unknown {what} {found!r}: choose from {', '.join(known)}.")
        parse(dose.where)
        if not math.isfinite(dose.strength):
            raise SteeringError(f"A strength of {dose.strength} is not a finite number.")
        point = dose.point or direction.point
        return KINDS[dose.kind](direction, point, self.in_units(dose), dose.where)

    def in_units(self, dose: Dose) -> float:
        """The dose in activation units along the unit direction."""
        direction = self.direction(dose.direction)
        if dose.unit == "units":
            return dose.strength
        start = direction.center if dose.kind in PLACES else 0.0
        return start + dose.strength * direction.scale

    def threshold(self, name: str) -> float:
        """Projection above which the direction's concept is read as present."""
        return self.thresholds.get(name, self.direction(name).center)


def steering_pack(
    model: "HookedModel",
    *,
    name: str,
    about: str,
    directions: Mapping[str, Direction],
    presets: Mapping[str, Sequence[Dose]],
    thresholds: Mapping[str, float] | None = None,
    provenance: Mapping[str, str | int | float] | None = None,
) -> SteeringPack:
    """A pack for this model, every preset of it checked.

    Raises: ModelMismatchError: a direction of another model. SteeringError: a preset that cannot
    be applied. HookPointError: a point that the model does not have.
    """
    pack = SteeringPack(
        name, about, model.info.name, model.info.fingerprint, dict(directions),
        {OFF: (), **{n: tuple(doses) for n, doses in presets.items()}},
        dict(thresholds or {}), dict(provenance or {}),
    )
    check_pack(pack, model)
    return pack


def check_pack(pack: SteeringPack, model: "HookedModel") -> None:
    """Refuse a pack of another model, or one whose presets cannot be applied.

    Raises: ModelMismatchError, SteeringError, HookPointError.
    """
    info = model.info
    if pack.fingerprint != info.fingerprint:
        raise ModelMismatchError(
            f"Steering pack {pack.name!r} was made for {pack.model} (weights "
            f"{pack.fingerprint[:12]}), this is {info.name} ({info.fingerprint[:12]}): make one "
            "for this model."
        )
    if pack.presets.get(OFF, ()):
        raise SteeringError(f"The preset {OFF!r} of steering pack {pack.name!r} holds edits: it "
                            "must be empty.")
    for direction in pack.directions.values():
        check_direction(direction, fingerprint=info.fingerprint, d_model=info.d_model)
        check_point(direction.point, model)
    for name in pack.thresholds:
        pack.direction(name)
    for name, doses in pack.presets.items():
        if not doses and name != OFF:
            raise SteeringError(f"The preset {name!r} holds no edit: leave it out, {OFF!r} is "
                                "always there.")
        for dose in doses:
            check_point(pack.edit(dose).point, model)


def check_point(point: str, model: "HookedModel") -> None:
    """Raise unless the model has that hook point.

    Raises: HookPointError.
    """
    if point not in model.places:
        raise HookPointError(f"Hook point {point!r} is not in {model.info.name}: list them with "
                             f"virtuelens model {model.info.name} --hooks")
