"""virtuelens steer: generate with directions added, and show the plain text beside it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from virtuelens.cli.console import note, out, print_json
from virtuelens.errors import SteeringError

if TYPE_CHECKING:
    from virtuelens.models import HookedModel
    from virtuelens.models.run import Edit


def command(
    model: Annotated[str, typer.Argument(
        help="Hugging Face id, local directory, or organism:NAME.")],
    prompt: Annotated[str, typer.Argument(help="What the user says.")],
    add: Annotated[list[str] | None, typer.Option(
        help="CONCEPT=STRENGTH or PROBE.safetensors=STRENGTH, in standard deviations of the "
        "projection; may be given several times.")] = None,
    clamp: Annotated[list[str] | None, typer.Option(
        help="SAE:FEATURE=VALUE, reconstruction error kept; may be given several times.")] = None,
    where: Annotated[str, typer.Option(
        help="Which tokens: all, prompt, last_prompt, from_last_prompt, response.")] = "all",
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 40,
    temperature: Annotated[float, typer.Option(min=0.0)] = 0.0,
    seed: int = 0,
    json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Generate a reply plainly and steered."""
    from rich.text import Text as Styled

    from virtuelens.models import load_model
    from virtuelens.values.texts import Message, Text

    loaded = load_model(model)
    edits = [_addition(loaded, a, where) for a in add or ()]
    edits += [_clamp(loaded, c, where) for c in clamp or ()]
    if not edits:
        raise SteeringError("Nothing to steer with: give --add CONCEPT=STRENGTH or "
                            "--clamp SAE:FEATURE=VALUE.")
    chat = Text(messages=(Message("user", prompt),))
    plain, steered = (
        loaded.generate([chat], max_new_tokens=max_new_tokens, temperature=temperature,
                        seed=seed, edits=e)[0].text
        for e in ([], edits)
    )
    if json:
        print_json({"prompt": prompt, "plain": plain, "steered": steered})
        return
    out.print("plain:   ", Styled(plain))
    out.print("steered: ", Styled(steered))


def _addition(model: "HookedModel", argument: str, where: str) -> "Edit":
    from virtuelens.activations.harvest import harvest
    from virtuelens.concepts.pack import load_concept
    from virtuelens.probing.probes import fit_probe, load_probe
    from virtuelens.steering.edits import add as add_edit

    source, strength = _split(argument, "CONCEPT=STRENGTH")
    if source.endswith(".safetensors"):
        probe = load_probe(Path(source), fingerprint=model.info.fingerprint)
    else:
        note(f"Fitting {source} on {model.info.name} …")
        concept = load_concept(source, dialect=model.info.dialect)
        acts = harvest(model, concept, points="resid_post", positions=concept.positions)
        probe = fit_probe(acts.train, method="diff_means")
    d = probe.direction
    note(f"Adding {strength:+g} σ ({strength * d.scale:+.3g} units) of {d.concept} at {d.point}, "
         f"tokens: {where}")
    return add_edit(d, strength=strength, where=where)


def _clamp(model: "HookedModel", argument: str, where: str) -> "Edit":
    from virtuelens.sparse_coding import check_fits, feature_encoder, load_sae
    from virtuelens.steering.edits import ClampFeature

    source, value = _split(argument, "SAE:FEATURE=VALUE")
    name, _, feature = source.rpartition(":")
    if not name or not feature.isdigit():
        raise SteeringError(f"{argument!r} is not of the form SAE:FEATURE=VALUE.")
    sae = load_sae(name)
    check_fits(sae, model)
    return ClampFeature(
        sae.point, feature_encoder(sae, int(feature)), sae.decoder_row(int(feature)), value, where
    )


def _split(argument: str, form: str) -> tuple[str, float]:
    name, _, number = argument.rpartition("=")
    try:
        return name, float(number) if name else float("x")
    except ValueError:
        raise SteeringError(f"{argument!r} is not of the form {form}.") from None
