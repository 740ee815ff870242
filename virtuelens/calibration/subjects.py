"""What is measured: organisms by seed, and what is done to them so that nothing should be found."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from virtuelens import storage
from virtuelens.errors import OrganismError
from virtuelens.organisms.recipe import Recipe, list_organisms, load_recipe, split_name

Control = Literal["none", "random weights", "labels drawn", "agreeing only"]
"""What is done to a subject.

none: nothing. random weights: the same architecture, drawn again. labels drawn: the sides of every
contrast pair swapped at random. agreeing only: a contrast in which every rival cause agrees with
the variable, as in a pack that nobody has decorrelated.
"""

@dataclass(frozen=True)
class Subject:
    """One concept in one trained organism, under one control.

    d_model: its width; the reduced organisms are narrower.
    """

    organism: str
    seed: int
    folder: Path
    recipe: Recipe
    concept: str
    control: Control = "none"
    d_model: int = 0

    @property
    def name(self) -> str:
        """A file name of its own."""
        control = "" if self.control == "none" else f".{self.control.replace(' ', '-')}"
        return f"{self.organism}-{self.seed}.{self.concept}{control}"

    @property
    def dose(self) -> int:
        """Per cent of the planted effect."""
        dose = split_name(self.organism)[1]
        return 100 if dose is None else dose


def find_subjects(nursery: Path | None, *, seeds: int | None = None) -> list[Subject]:
    """Every organism `NAME-SEED` in a folder, with controls for each language and concept.

    nursery: None for the shipped organisms, which are seed 0.
    Ordered by seed, so that a calibration that is stopped has whole seeds.

    Raises: OrganismError: none is there.
    """
    found: list[Subject] = []
    if nursery is None:
        for organism in list_organisms():
            found += _subjects(organism.path, organism.name, 0)
        return sorted(_once(found), key=lambda s: (s.control != "none", s.name))
    for folder in sorted(nursery.glob("*/")):
        name, _, seed = folder.name.rpartition("-")
        if not (folder / "config.json").is_file() or not seed.isdigit():
            continue
        if seeds is None or int(seed) < seeds:
            found += _subjects(folder, name, int(seed))
    if not found:
        raise OrganismError(
            f"No trained organisms in {nursery}: make some with "
            f"`virtuelens organism train --all --seeds 2 --out {nursery}`."
        )
    return sorted(_once(found), key=lambda s: (s.seed, s.control != "none", s.name))


def _subjects(folder: Path, name: str, seed: int) -> list[Subject]:
    recipe = load_recipe(name)
    width = int(storage.read_json(folder / "config.json")["hidden_size"])
    out = []
    for concept in recipe.rungs:
        one = Subject(name, seed, folder, recipe, concept, d_model=width)
        out.append(one)
        if one.dose == 100:
            out += [replace(one, control=c) for c in _CONTROLS if _suits(c, recipe)]
    return out


def _suits(control: Control, recipe: Recipe) -> bool:
    if control == "agreeing only":
        return recipe.pinned and recipe.dialect in WITH_RIVAL_CAUSE
    return recipe.pinned or control != "labels drawn"


def counted_as(s: Subject) -> Hashable:
    """What a reading of this subject counts as: equal for two of which one says all.

    Random weights are the same for twins, and drawn labels say the same of any of them, so they
    would be counted again and again.
    """
    if s.control in ("random weights", "labels drawn"):
        return s.seed, s.recipe.dialect, s.concept, s.control
    return s.name


def _once(subjects: Sequence[Subject]) -> list[Subject]:
    """One subject of those that count as the same; another organism with each seed."""
    alike: dict[Hashable, list[Subject]] = {}
    for s in subjects:
        alike.setdefault(counted_as(s), []).append(s)
    return [same[same[0].seed % len(same)] for same in alike.values()]


_CONTROLS: tuple[Control, ...] = ("random weights", "labels drawn", "agreeing only")
WITH_RIVAL_CAUSE = frozenset({"days", "minds"})
"""Languages in which another cause can be tied to the planted variable (`Contrast.agreeing`)."""

