"""Packs made of numbers: labels along planted axes, at two sites."""

import numpy as np

from virtuelens.probing.data import Examples, Site
from virtuelens.probing.generalisation import Pack
from virtuelens.values.texts import Text

SITE = Site("blocks.1.hook_resid_post", "last")
OTHER = Site("blocks.0.hook_resid_post", "last")
D = 12


def made(
    name: str, axis: int, *, seed: int, gap: float = 4.0, n_pairs: int = 120, n_groups: int = 12,
    sign: float = 1.0, text: str = "",
) -> Pack:
    """Pairs whose label moves the activation along one axis at `SITE`; nothing at `OTHER`."""
    rng = np.random.default_rng(seed)
    labels = np.tile([1, 0], n_pairs)
    matrices = {s: rng.normal(size=(2 * n_pairs, D)) for s in (OTHER, SITE)}
    matrices[SITE][:, axis] += sign * gap * labels
    words = [f"{text or name} {chr(97 + i % 26)}{i} {('over', 'under')[y]} text number {i} here"
             for i, y in enumerate(labels)]
    return Pack(name, Examples(
        matrices, labels, tuple(f"{name} {i // 2 % n_groups}" for i in range(2 * n_pairs)),
        tuple(f"{name} {i // 2}" for i in range(2 * n_pairs)),
        tuple(f"{name} {i}" for i in range(2 * n_pairs)),
    ), tuple(Text(raw=w) for w in words))
