"""Many organisms, one at a time: names x seeds, stopped and gone on at will.

A folder `NAME-SEED` each, there when it is finished; common bases are kept beside them and shared
by twins.
"""

import gc
from collections.abc import Callable, Sequence
from pathlib import Path

from virtuelens.organisms.training import train_organism

Progress = Callable[[str, int, int, str, int, int], None]


def train_nursery(
    names: Sequence[str],
    out: Path,
    *,
    seeds: int,
    small: bool = False,
    progress: Progress = lambda name, done, total, stage, step, steps: None,
) -> list[Path]:
    """Train every name with seeds 0 to `seeds`-1 into `out/NAME-SEED`; finished ones are passed.

    small: the reduced size (`recipe.reduced`).
    progress: called with the organism, how many are finished of how many, its stage, and the
        steps done and in all of that stage.

    Raises: OrganismError: unknown name. DiskError.
    """
    jobs = [(name, seed) for seed in range(seeds) for name in names]
    folders = []
    for done, (name, seed) in enumerate(jobs):
        folder = out / f"{name}-{seed}"

        def tell(stage: str, step: int, steps: int, done: int = done,
                 shown: str = folder.name) -> None:
            progress(shown, done, len(jobs), stage, step, steps)

        if not (folder / "config.json").is_file():
            train_organism(name, folder, seed=seed, bases=out / "bases",
                           small=small, progress=tell)
            # schedulers and optimisers refer to each other: without this, memory grows by organism
            gc.collect()
        folders.append(folder)
    return folders
