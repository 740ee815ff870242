"""Draw the packs' data in the organisms' languages from their processes, latents recorded."""

from pathlib import Path

from virtuelens.organisms.drawing.days import draw_days
from virtuelens.organisms.drawing.facts import draw_facts


def draw_packs(probes: Path) -> None:
    """Write every file in an organism's language below the folder of packs."""
    draw_facts(probes)
    draw_days(probes)
