"""Draw the packs' data in the organisms' languages again: python tools/draw_packs.py"""

from pathlib import Path

from virtuelens.organisms.drawing import draw_packs

if __name__ == "__main__":
    draw_packs(Path(__file__).parent.parent / "probes")
