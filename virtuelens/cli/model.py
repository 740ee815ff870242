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
    from virtuelens.models.verify import verify

    loaded = load_model(model, verify=False)
    checks = verify(loaded)
    info = loaded.info.to_json()
    if json:
        print_json({
            "model": info,
            "verified": [{"check": r.name, "passed": r.passed, "detail": r.detail}
                         for r in checks.rows],
            "hook_points": list(loaded.hook_points()),
        })
        raise typer.Exit(0 if checks.passed else 1)
    table = Table(show_header=False, box=None)
    for key, value in info.items():
        table.add_row(key.replace("_", " "), Text(str(value)))
    out.print(table)
    out.print("\nVerified at load:")
    for r in checks.rows:
        out.print(Text(f"  {'passed' if r.passed else 'FAILED'}  {r.name}: {r.detail}"))
    points = loaded.hook_points()
    if hooks:
        out.print("\nHook points:")
        for p in points:
            out.print(Text(f"  {p}"))
    else:
        out.print(f"\n{len(points)} hook points; list them with --hooks")
    raise typer.Exit(0 if checks.passed else 1)
