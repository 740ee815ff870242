"""virtuelens steer: generate with edits beside the plain text; `steer export` writes them out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from virtuelens.cli.console import Json, note, out, print_json
from virtuelens.errors import SteeringError

if TYPE_CHECKING:
    from virtuelens.models import HookedModel
    from virtuelens.models.run import Edit
    from virtuelens.values.texts import Text

_ADD = (
    "CONCEPT=STRENGTH or PROBE.safetensors=STRENGTH, in the unit of --unit; may be given several "
    "times."
)


class _GenerateByDefault(TyperGroup):
    """`steer MODEL PROMPT` is `steer generate MODEL PROMPT`: the first word is no other command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in {"-h", "--help"}:
            args = ["generate", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_GenerateByDefault, no_args_is_help=True,
    help="Generate with directions and SAE features edited, the plain text beside it: "
    "steer MODEL PROMPT --add CONCEPT=STRENGTH. Or write edits out: steer export.",
)  # fmt: skip

Model = Annotated[str, typer.Argument(help="Hugging Face id, local directory, or organism:NAME.")]
Unit = Annotated[str, typer.Option(
    help="Of --add: sigma (standard deviations of the projection), kl (iso-KL: 1 moves predictions "
    "on neutral text by 1 nat at the 95th percentile), raw (activation units).")]


@app.command("generate")
def generate(
    model: Model,
    prompt: Annotated[str, typer.Argument(help="What the user says.")],
    add: Annotated[list[str] | None, typer.Option(help=_ADD)] = None,
    clamp: Annotated[list[str] | None, typer.Option(
        help="SAE:FEATURE=VALUE, reconstruction error kept; may be given several times.")] = None,
    scale: Annotated[list[str] | None, typer.Option(
        help="SAE:FEATURE=FACTOR (0 switches it off); may be given several times.")] = None,
    unit: Unit = "sigma",
    where: Annotated[str, typer.Option(
        help="Which tokens: all, prompt, last_prompt, from_last_prompt, response, system, user, "
        "assistant; a slice (response[:10]); several joined by +.")] = "all",
    when: Annotated[str | None, typer.Option(
        help="CONCEPT>SIGMA: only at tokens where that probe is so many standard deviations above "
        "its mean.")] = None,
    schedule: Annotated[str, typer.Option(
        help="How the dose follows the response: constant, ramp:N, decay:N, first:N, "
        "after:N.")] = "constant",
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 40,
    temperature: Annotated[float, typer.Option(min=0.0)] = 0.0,
    top_p: Annotated[float, typer.Option(min=0.01, max=1.0)] = 1.0,
    top_k: Annotated[int, typer.Option(min=0)] = 0,
    stop: Annotated[list[str] | None, typer.Option(
        help="End before this string; may be given several times.")] = None,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Generate a reply plainly and steered; both are shown as they are made."""
    from dataclasses import asdict

    from virtuelens.models import load_model
    from virtuelens.named_edits import clamped_features, condition, dosed, round_trips
    from virtuelens.steering.conditions import Scheduled, factor_of
    from virtuelens.steering.where import parse
    from virtuelens.values.texts import Message, Text

    if not add and not clamp and not scale:
        raise SteeringError("Nothing to steer with: give --add CONCEPT=STRENGTH, "
                            "--clamp or --scale SAE:FEATURE=VALUE.")
    if "" in (stop or ()):
        raise SteeringError("A --stop is empty: every text holds it, so nothing would be said.")
    parse(where)
    factor_of(schedule)
    loaded = load_model(model)
    added = [dosed(loaded, a, where=where, unit=unit, tell=note) for a in add or ()]
    edits: list[Edit] = [edit for edit, _, _ in added]
    edits += clamped_features(loaded, clamp or (), where=where)
    edits += clamped_features(loaded, scale or (), where=where, scale=True)
    trips = round_trips(loaded, [*(clamp or ()), *(scale or ())], tell=note)
    if schedule != "constant":
        edits = [Scheduled(edit, schedule) for edit in edits]
    if when is not None:
        edits = condition(loaded, when, edits, tell=note)
    chat = Text(messages=(Message("user", prompt),))
    how = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed,
           "top_p": top_p, "top_k": top_k, "stop": tuple(stop or ())}
    if json:
        plain, steered = (loaded.generate(chat, edits=e, **how)[0].text  # type: ignore[arg-type]
                          for e in ([], edits))
        print_json({"prompt": prompt, "plain": plain, "steered": steered, "where": where,
                    "doses": [{"concept": d.concept, "point": d.point, "sigma": dose.sigma,
                               "raw": dose.raw, "kl": dose.kl} for _, d, dose in added],
                    "sae_round_trips": {name: asdict(side) for name, side in trips.items()}})
        return
    for name, of in (("plain:   ", []), ("steered: ", edits)):
        _show(loaded, name, chat, of, how)


@app.command("export")
def export_command(
    model: Model,
    to: Annotated[Path, typer.Option("--out", help="Where to write it.")],
    form: Annotated[str, typer.Option(
        "--format", help="gguf (llama.cpp), lm-eval (its model type steered), safetensors, or "
        "weights (the whole model with the additions folded in, as a Hugging Face directory).")],
    add: Annotated[list[str] | None, typer.Option(help=_ADD)] = None,
    ablate: Annotated[list[str] | None, typer.Option(
        help="CONCEPT or PROBE.safetensors to project out of the weights; with --format weights, "
        "alone; may be given several times.")] = None,
    unit: Unit = "sigma",
    json: Json = False,
) -> None:
    """Write edits in a form that other programs read, at the dose given."""
    import torch

    from virtuelens.models import load_model
    from virtuelens.named_edits import dosed, named_probe
    from virtuelens.steering.export import FORMATS, export
    from virtuelens.steering.weights import fold, orthogonalise

    if bool(add) == bool(ablate) or (ablate and form != "weights"):
        raise SteeringError("Give --add CONCEPT=STRENGTH, or --ablate CONCEPT with --format "
                            "weights: one of the two.")
    if form not in {*FORMATS, "weights"}:
        raise SteeringError(f"Unknown format {form!r}: choose from {', '.join(FORMATS)}, weights.")
    loaded = load_model(model)
    edits = [dosed(loaded, a, unit=unit, tell=note)[0] for a in add or ()]
    if ablate:
        rows = [named_probe(loaded, a, tell=note).direction.vector for a in ablate]
        orthogonalise(loaded, torch.stack(rows), to)
    elif form == "weights":
        fold(loaded, edits, to)
    else:
        export(loaded, edits, to, form=form)
    if json:
        print_json({"out": str(to), "format": form})
    else:
        note(f"Wrote {to}")


def _show(
    model: "HookedModel", name: str, chat: "Text", edits: "list[Edit]", how: dict[str, object]
) -> None:
    from rich.text import Text as Styled

    from virtuelens.reports.words import visible

    out.print(name, end="")
    for piece in model.stream(chat, edits=edits, **how):  # type: ignore[arg-type]
        out.print(Styled(visible(piece.text)), end="", soft_wrap=True)
    out.print()
