"""Draw the packs' data in the organisms' languages from their processes, latents recorded."""

from pathlib import Path

from virtuelens.organisms.drawing.contrast import draw_contrast
from virtuelens.organisms.drawing.facts import draw_facts
from virtuelens.organisms.drawing.knowledge import draw_knowledge
from virtuelens.organisms.drawing.packs import CONTRASTS


def draw_packs(probes: Path) -> None:
    """Write every file in an organism's language below the folder of packs."""
    draw_facts(probes)
    draw_knowledge(probes)
    for made in CONTRASTS:
        draw_contrast(probes, made)
