"""virtuelens model: what a model is, and whether reading and editing it can be trusted."""

from typing import Annotated

import typer

from virtuelens.cli.console import out, print_json


def command(
    model: Annotated[str, typer.Argument(
        help="Hugging Face id, local directory, or organism:NAME.")],
    hooks: Annotated[bool, typer.Option("--hooks", help="List every hook point.")] = False,
    json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Load a model, verify it, and print its shape, identity and hook points."""
    from rich.table import Table
    from rich.text import Text

    from virtuelens.models import load_model

    loaded = load_model(model)  # refuses a model that fails a check
    assert loaded.verification is not None
    checks = loaded.verification.checks
    info = loaded.info.to_json()
    if json:
        print_json({
            "model": info,
            "verified": [{"promise": c.promise, "held": c.held, "detail": c.detail}
                         for c in checks],
            "hook_points": list(loaded.hook_points()),
        })
        return
    table = Table(show_header=False, box=None)
    for key, value in info.items():
        table.add_row(key.replace("_", " "), Text(str(value)))
    out.print(table)
    out.print("\nVerified at load:")
    for c in checks:
        out.print(Text(f"  {'held' if c.held else 'FAILED'}  {c.promise}: {c.detail}"))
    points = loaded.hook_points()
    if hooks:
        out.print("\nHook points:")
        for p in points:
            out.print(Text(f"  {p}"))
    else:
        out.print(f"\n{len(points)} hook points; list them with --hooks")
