"""From a request's body to a task: tokens, sampling, edits, directions to read; and in words.

A preset may also be chosen by the model's name: `NAME+honest` is NAME with the preset honest, for
clients that cannot send a field of their own.
"""

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from virtuelens.errors import HookPointError, ServeError, SteeringError, TextTooLongError
from virtuelens.models.generate import COLDEST, Sampling
from virtuelens.probing.monitor import Monitor, Watch, check_monitor
from virtuelens.serve.bodies import ChatBody, CompletionBody
from virtuelens.serve.engine import Task
from virtuelens.serve.readings import Reading
from virtuelens.steering.pack import OFF, Dose, SteeringPack, check_pack
from virtuelens.values.texts import Message, Text

if TYPE_CHECKING:
    from virtuelens.models import HookedModel

DEFAULT_TEMPERATURE = 1.0
"""OpenAI's."""


class UnknownModelError(ServeError):
    """A request names a model that is not served."""


@dataclass(frozen=True)
class Offer:
    """What is served: one model and one steering pack.

    preset: holds for requests that choose none.
    monitors: alarms that a request may ask for, beside the pack's directions.
    called: what requests call the model; its own name where that is empty.
    """

    model: "HookedModel"
    pack: SteeringPack
    preset: str = OFF
    monitors: Mapping[str, Monitor] = field(default_factory=dict)
    called: str = ""

    def __post_init__(self) -> None:
        check_pack(self.pack, self.model)
        self.pack.preset(self.preset)
        for monitor in self.monitors.values():
            check_monitor(monitor, self.model.info)

    @property
    def name(self) -> str:
        """What requests call the model, without a preset."""
        return self.called or self.model.info.name

    @property
    def names(self) -> list[str]:
        """Every name that a request may call the model by."""
        return [self.name, *(f"{self.name}+{preset}" for preset in self.pack.presets)]


@dataclass(frozen=True)
class Wanted:
    """A task, and what of it an answer and the audit trail say.

    applied: per edit direction, kind, strength, unit, dose (activation units), point, where.
    """

    task: Task
    preset: str
    applied: tuple[dict[str, Any], ...]


def no_pack(model: "HookedModel") -> SteeringPack:
    """The pack of a server that was given none: no direction, and the preset `off`."""
    info = model.info
    return SteeringPack("none", "no steering", info.name, info.fingerprint, {}, {OFF: ()})


def wanted(body: ChatBody | CompletionBody, offer: Offer, *, at_most: int) -> Wanted:
    """The task of a request.

    at_most: new tokens that the server allows; fewer than asked for are never given silently.

    Raises: UnknownModelError; SteeringError, HookPointError: edits that cannot be applied;
    TextError, TextTooLongError: a prompt that cannot be given to the model; ServeError.
    """
    preset = _preset(body, offer)
    doses = (*offer.pack.preset(preset), *(s.dose() for s in body.virtuelens.steer))
    edits = tuple(offer.pack.edit(dose) for dose in doses)
    for edit in edits:
        if edit.point not in offer.model.places:  # by the name served: its own may be a path here
            raise HookPointError(f"Hook point {edit.point!r} is not in {offer.name}.")
    prompt = offer.model.encode(_text(body))
    room = offer.model.info.n_ctx - len(prompt.ids)
    most = body.most or min(at_most, room)
    if most > at_most:
        raise ServeError(f"{most} new tokens are more than this server gives: ask for at most "
                         f"{at_most}.")
    if most > room or room < 1:
        raise TextTooLongError(
            f"The prompt has {len(prompt.ids)} tokens and {max(most, 1)} new ones are asked for; "
            f"the context holds {offer.model.info.n_ctx}: shorten the prompt or ask for fewer."
        )
    # no more bits than every client's numbers have
    seed = secrets.randbits(53) if body.seed is None else body.seed
    temperature = DEFAULT_TEMPERATURE if body.temperature is None else body.temperature
    temperature = 0.0 if temperature < COLDEST else temperature
    how = Sampling(most, temperature, seed, body.stops, top_p=body.top_p or 1.0)
    readings = tuple(_reading(name, offer, len(prompt.ids))
                     for name in dict.fromkeys(body.virtuelens.monitor))
    task = Task(prompt, how, edits, readings, body.virtuelens.per_token)
    return Wanted(task, preset, tuple(_said(dose, offer.pack) for dose in doses))


def _preset(body: ChatBody | CompletionBody, offer: Offer) -> str:
    if body.model not in offer.names:
        raise UnknownModelError(f"The model {body.model[:100]!r} is not served here: there is "
                                f"{', '.join(offer.names)}.")
    by_name = body.model.removeprefix(offer.name).removeprefix("+")
    by_field = body.virtuelens.preset
    if by_name and by_field and by_name != by_field:
        raise ServeError(f"The model's name asks for the preset {by_name!r}, the field virtuelens "
                         f"for {by_field!r}: ask for one.")
    return by_field or by_name or offer.preset


def _text(body: ChatBody | CompletionBody) -> Text:
    if isinstance(body, CompletionBody):
        return Text(raw=body.text)
    return Text(messages=tuple(
        Message("system" if m.role == "developer" else m.role, m.said) for m in body.messages))


def _reading(name: str, offer: Offer, n_prompt: int) -> Reading:
    if name in offer.monitors:
        probe = offer.monitors[name].probe
        return Reading(name, probe.direction, probe.threshold, n_prompt,
                       Watch(offer.monitors[name]))
    pack = offer.pack
    return Reading(name, pack.direction(name), pack.threshold(name), n_prompt)


def _said(dose: Dose, pack: SteeringPack) -> dict[str, Any]:
    direction, raw = pack.direction(dose.direction), pack.in_units(dose)
    if not math.isfinite(raw):
        raise SteeringError(f"A strength of {dose.strength} {dose.unit} of {dose.direction!r} is "
                            "beyond all numbers: give a smaller one.")
    return {
        "direction": dose.direction, "concept": direction.concept, "kind": dose.kind,
        "strength": dose.strength, "unit": dose.unit,
        "dose": None if dose.kind == "ablate" else raw,
        "point": dose.point or direction.point, "where": dose.where,
    }
