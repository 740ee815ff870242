"""virtuelens steer evaluate: what a steer moves, beside random directions and prompts."""

from pathlib import Path
from typing import Annotated, Any

import typer

from virtuelens.cli.console import Json, err, note, out, print_json
from virtuelens.cli.interrupt import look
from virtuelens.errors import SteeringError


def evaluate(
    model: Annotated[str, typer.Argument(
        help="Hugging Face id, local directory, or organism:NAME.")],
    concepts: Annotated[str, typer.Argument(
        help="Names or folders of concept packs to steer along, comma separated.")],
    probe: Annotated[Path | None, typer.Option(
        help="Steer along this probe (.safetensors) instead; name the one concept whose behaviours "
        "it is to move.")] = None,
    feature: Annotated[str, typer.Option(help="Steer along the decoder row of SAE:FEATURE instead; "
        "the round trip through the SAE is shown beside it.")] = "",
    to: Annotated[Path | None, typer.Option("--out", help="Folder to write (default "
        "runs/<time>-<model>-steer); with it, the same command goes on where it was "
        "stopped.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer doses, random directions and items: "
        "a first look.")] = False,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Try steers: dose-response, side effects on every other concept, and prompts as rivals.

    Exit code 0 whatever the verdicts are: they are in the tables, in trials.json and trials.html.
    """
    from dataclasses import replace

    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from virtuelens.audits.audit import new_folder
    from virtuelens.models import load_model
    from virtuelens.named_edits import named_feature
    from virtuelens.probing.probes import load_probe
    from virtuelens.reports.trials import write_trials
    from virtuelens.reports.words import plain_concept
    from virtuelens.trials import TrialConfig, run_trials
    from virtuelens.trials.config import quick as quick_config

    names = [part.strip() for part in concepts.split(",") if part.strip()]
    if probe is not None and feature:
        raise SteeringError("Give --probe or --feature: one of the two.")
    if (probe is not None or feature) and len(names) != 1:
        raise SteeringError("--probe and --feature steer along one direction: name the one concept "
                            "whose behaviours it is to move.")
    loaded = load_model(model)
    given = sae = None
    if probe is not None:
        given = load_probe(probe, fingerprint=loaded.info.fingerprint)
    if feature:
        given, sae = named_feature(loaded, names[0], feature)
    config = replace(quick_config() if quick else TrialConfig(), seed=seed)
    folder = to or new_folder(f"{loaded.info.name}-steer")
    with Progress(SpinnerColumn(), TextColumn("{task.description}", markup=False),
                  TimeElapsedColumn(), console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task("loading", total=None)

        def show(concept: str, stage: str, done: int, total: int) -> None:
            look()
            said = f"[{done + 1}/{total}] {plain_concept(concept)}: {stage}"
            bar.update(task, description=said)
            if not err.is_terminal:
                note(f"  {said}")

        try:
            run = run_trials(loaded, names, folder, probe=given, sae=sae, config=config,
                             progress=show)
        except KeyboardInterrupt:
            bar.stop()
            note(f"Interrupted. Finished trials are kept in {folder}; the same command with "
                 f"--out {folder} goes on.")
            raise typer.Exit(130) from None
    page = write_trials(run)
    if json:
        print_json({"trials": list(run.trials), "folder": str(folder), "page": str(page)})
        return
    for trial in run.trials:
        _print(trial, loaded.info.name)
    note(f"Figures and every number: {page}")


def _print(trial: dict[str, Any], model: str) -> None:
    """One trial's verdicts as a table."""
    from rich.table import Table
    from rich.text import Text

    from virtuelens.reports.words import plain_concept

    place = trial["place"]
    table = Table(title=Text(
        f"{plain_concept(trial['concept'])} in {model}, added at {place['point']} "
        f"({place['where']}), ±{place['dose']:.2g} σ"), title_justify="left", box=None,
        padding=(0, 2, 0, 0))
    for column in ("check", "", "what was seen"):
        table.add_column(column)
    for c in trial["checks"]:
        state = {True: Text("passed", "green"), False: Text("not passed", "bold red"),
                 None: Text("not tested", "dim")}[c["passed"]]
        said = c["said"].removeprefix("not tested: ").replace("_", " ")
        table.add_row(Text(c["name"]), state, Text(said))
    out.print(table)
    if place["round_trip"]:
        out.print(Text(
            "The round trip through the SAE alone, no feature edited: KL "
            f"{place['round_trip']['kl_mean']:.3g} nats a token "
            f"({place['round_trip']['kl_p95']:.3g} at 95 %), perplexity × "
            f"{place['round_trip']['perplexity']:.3g}. This steer does not pay it."))
    for missing in trial["not_tested"]:
        out.print(Text(f"Not tested: {missing}."))
    out.print()
