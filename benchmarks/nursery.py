"""How long the organisms take to train: milliseconds a step, and a whole nursery reckoned from it.

python benchmarks/nursery.py [--steps 20] [--seeds 20] [--json]

Each recipe's two stages run for a few steps; twins that share a base are counted with one. The
reckoning is steps times measured milliseconds, so it holds for a machine that does nothing else.
"""

import argparse
import json
import platform
import time
from dataclasses import replace

import torch
from rich.console import Console
from rich.table import Table

from virtuelens import catalog
from virtuelens.organisms.recipe import FILE, Recipe, load_recipe
from virtuelens.organisms.training import Trainer, base_key

WARM_UP = 3


def main() -> None:
    """Measure, then print a table (and one JSON object last, where asked for)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20, help="steps measured a stage")
    parser.add_argument("--seeds", type=int, default=20, help="seeds reckoned")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows, bases = [], set()
    for name in catalog.names("organisms", FILE):
        recipe = load_recipe(name)
        base = recipe.base_steps and base_key(recipe) not in bases
        bases.add(base_key(recipe))
        base_ms = milliseconds(recipe, "base", args.steps) if base else 0.0
        own_ms = milliseconds(recipe, "own", args.steps) if recipe.own_steps else 0.0
        seconds = ((recipe.base_steps * base_ms if base else 0.0)
                   + recipe.own_steps * own_ms) / 1000
        rows.append({"organism": name, "base_ms_a_step": round(base_ms, 1),
                     "own_ms_a_step": round(own_ms, 1), "seconds": round(seconds, 1)})
    seed_minutes = sum(r["seconds"] for r in rows) / 60
    found = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch "
                   f"{torch.__version__}",
        "rows": rows, "minutes_a_seed": round(seed_minutes, 1),
        "seeds": args.seeds, "hours": round(seed_minutes * args.seeds / 60, 2),
    }
    table = Table("organism", "base, ms a step", "own, ms a step", "seconds")
    for r in rows:
        table.add_row(r["organism"], str(r["base_ms_a_step"] or "shared"),
                      str(r["own_ms_a_step"] or "–"), str(r["seconds"]))
    console = Console(stderr=args.json)
    console.print(table)
    console.print(f"{found['minutes_a_seed']} minutes a seed; {args.seeds} seeds: "
                  f"{found['hours']} hours")
    if args.json:
        print(json.dumps(found))


def milliseconds(recipe: Recipe, stage: str, steps: int) -> float:
    """Mean time of a step of one stage, from random weights, after a few to warm up."""
    short = replace(recipe, base_steps=WARM_UP + steps, own_steps=WARM_UP + steps)
    trainer, marks = Trainer(short, 0), []

    def count(_stage: str, done: int, _total: int) -> None:
        if done >= WARM_UP:
            marks.append(time.perf_counter())

    (trainer.base if stage == "base" else trainer.own)(count)
    return 1000 * (marks[-1] - marks[0]) / (len(marks) - 1)


if __name__ == "__main__":
    main()
