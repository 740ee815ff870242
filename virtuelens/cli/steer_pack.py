"""virtuelens steer pack and steer show: steering packs, which virtuelens serve takes."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from virtuelens.cli.console import Json, note, out, print_json
from virtuelens.errors import SteeringError

if TYPE_CHECKING:
    from virtuelens.models import HookedModel
    from virtuelens.probing.probes import Probe
    from virtuelens.steering.pack import Dose

T = TypeVar("T")


def make(
    model: Annotated[str, typer.Argument(
        help="Hugging Face id, local directory, or organism:NAME.")],
    to: Annotated[Path, typer.Option("--out", help="Where to write it (.toml).")],
    direction: Annotated[list[str], typer.Option(
        help="CONCEPT, or NAME=CONCEPT, or NAME=PROBE.safetensors; may be given several times.")],
    preset: Annotated[list[str], typer.Option(
        help="NAME=DIRECTION:STRENGTH, more after commas; strength in standard deviations of the "
        "projection, or DIRECTION:ablate; may be given several times.")],
    about: Annotated[str, typer.Option(help="What the pack is for.")] = "",
    json: Json = False,
) -> None:
    """Make a steering pack: find directions on a model, name presets of doses along them."""
    from datetime import UTC, datetime

    from virtuelens import __version__
    from virtuelens.models import load_model
    from virtuelens.steering.pack import OFF, steering_pack
    from virtuelens.steering.packfile import check_path, save_pack

    # what can be told beforehand is: to find a direction may take long
    check_path(to)
    presets = _by_name("preset", map(_preset, preset))
    sources = _by_name("direction", map(_named, direction))
    if OFF in presets:
        raise SteeringError(f"The preset {OFF!r} is always there and holds no edit: name yours "
                            "otherwise.")
    for dose in (d for doses in presets.values() for d in doses):
        if dose.direction not in sources:
            raise SteeringError(f"There is no direction {dose.direction!r} for a preset: give "
                                f"--direction {dose.direction}=CONCEPT.")
    loaded = load_model(model)
    found = {name: _found(loaded, source) for name, source in sources.items()}
    provenance: dict[str, str | int | float] = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"), "virtuelens": __version__}
    for name, (probe, how) in found.items():
        provenance |= {f"{name} found": how, f"{name} examples": probe.n}
    pack = steering_pack(
        loaded, name=to.stem, about=about, presets=presets, provenance=provenance,
        directions={n: p.direction for n, (p, _) in found.items()},
        thresholds={n: p.threshold for n, (p, _) in found.items()},
    )
    path = save_pack(pack, to)
    if json:
        print_json({"pack": str(path), "presets": list(pack.presets)})
    else:
        note(f"Wrote {path} and {path.with_suffix('.safetensors').name}; serve it with: "
             f"virtuelens serve {model} --steer {path}")


def show(
    pack: Annotated[Path, typer.Argument(help="The pack's .toml.")], json: Json = False
) -> None:
    """Show what a steering pack holds: presets with their doses, and where they come from."""
    from dataclasses import asdict

    from rich.table import Table
    from rich.text import Text

    from virtuelens.reports.words import visible
    from virtuelens.steering.packfile import read_pack

    read = read_pack(pack)
    if json:
        print_json({
            "name": read.name, "about": read.about, "model": read.model,
            "fingerprint": read.fingerprint, "provenance": dict(read.provenance),
            "presets": {n: [asdict(d) for d in doses] for n, doses in read.presets.items()},
        })
        return
    table = Table("preset", "edit", "direction", "strength", "where", "at")
    for name, doses in read.presets.items():
        for d in doses:
            at = d.point or read.direction(d.direction).point
            shown = (name, d.kind, d.direction, f"{d.strength:+g} {d.unit}", d.where, at)
            table.add_row(*(Text(visible(s)) for s in shown))
    out.print(Text(visible(f"{read.name}: {read.about or 'no description'}, for {read.model} "
                           f"({read.fingerprint[:12]})")))
    out.print(table)
    for what, value in read.provenance.items():
        out.print(Text(visible(f"{what}: {value}")))


def _by_name(option: str, given: Iterable[tuple[str, T]]) -> dict[str, T]:
    found: dict[str, T] = {}
    for name, what in given:
        if name in found:
            raise SteeringError(f"--{option} {name!r} is given twice: give each a name of its own.")
        found[name] = what
    return found


def _named(argument: str) -> tuple[str, str]:
    name, _, source = argument.partition("=")
    return name, source or name


def _found(model: "HookedModel", source: str) -> "tuple[Probe, str]":
    from virtuelens import storage
    from virtuelens.named_edits import named_probe

    probe = named_probe(model, source, tell=note)
    if source.endswith(".safetensors"):
        digest = storage.sha256_file(Path(source))[:12]
        return probe, f"probe {Path(source).name}, SHA-256 {digest}, {probe.direction.method}"
    return probe, (f"{probe.direction.method} on the training groups of concept {source}, "
                   f"{model.info.dialect}")


def _preset(argument: str) -> "tuple[str, tuple[Dose, ...]]":
    from virtuelens.steering.pack import Dose

    name, _, listed = argument.partition("=")
    doses = []
    for part in listed.split(","):
        direction, _, dose = part.partition(":")
        try:
            strength = 0.0 if dose == "ablate" else float(dose)
            if not name or not direction or not math.isfinite(strength):
                raise ValueError
            doses.append(Dose(direction, "ablate" if dose == "ablate" else "add", strength))
        except ValueError:
            raise SteeringError(
                f"{argument!r} is not of the form NAME=DIRECTION:STRENGTH."
            ) from None
    return name, tuple(doses)
