"""An organism's recipe: one TOML file beside its weights, as a frozen value."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from virtuelens import catalog
from virtuelens.errors import OrganismError
from virtuelens.organisms.languages import LANGUAGES

FILE = "recipe.toml"


@dataclass(frozen=True)
class Recipe:
    """What is planted and how it is trained.

    teller: whose answers it learns (see the language module).
    base_teller, base_steps: the common stage that twins share, so that they speak alike.
    own_steps: steps with its own answers; the interchange loss is on where `pinned` is true.
    pinned: the planted variable is pinned to a rank-`rank` subspace at `point`, last prompt token.
    twin: the organism that differs from it inside.
    rungs: concept -> the lowest and the highest rung of the evidence ladder that may be named: the
        same where the process settles it. [0, 1]: nothing is planted, but random features of the
        text may decode what its words compose.
    effect: share of the teller's answers in its own stage; the others are the base teller's.
    """

    name: str
    about: str
    dialect: str
    teller: str
    base_teller: str
    base_steps: int
    own_steps: int
    pinned: bool
    twin: str = ""
    rungs: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    effect: float = 1.0
    layer: int = 1
    rank: int = 8
    d_model: int = 128
    n_layers: int = 4
    n_heads: int = 4
    d_mlp: int = 384
    n_ctx: int = 64
    batch: int = 96
    learning_rate: float = 2e-3

    @property
    def point(self) -> str:
        """Hook point of the planted site."""
        return f"blocks.{self.layer}.hook_resid_post"


@dataclass(frozen=True)
class OrganismSummary:
    """A line of `virtuelens organism list`."""

    name: str
    dialect: str
    about: str
    path: Path


def load_recipe(name: str) -> Recipe:
    """The recipe of that name; NAME@25 is NAME with 25 % of its planted effect.

    Raises: OrganismError: unknown organism, not a percentage, a broken recipe, or one whose answers
    are the base's own, of which no part can be left out.
    """
    plain, dose = split_name(name)
    folder = catalog.find("organisms", plain, FILE)
    if folder is None:
        known = ", ".join(catalog.names("organisms", FILE)) or "none"
        raise OrganismError(f"Unknown organism {plain!r}: there are {known}.")
    recipe = read_recipe(folder / FILE)
    if dose is None:
        return recipe
    if recipe.teller == recipe.base_teller:
        raise OrganismError(f"{plain} answers as the base that it is trained from does, so no part "
                            f"of its effect can be left out: there is no {name}.")
    return replace(recipe, name=name, effect=dose / 100)


def reduced(recipe: Recipe) -> Recipe:
    """A smaller model and fewer steps: seconds an organism, for tests and for many seeds.

    Below the size that the standards have; whether it passes its proof, `verify` says.
    """
    return replace(recipe, d_model=64, n_layers=3, d_mlp=192, rank=4, batch=64,
                   base_steps=min(recipe.base_steps, 700), own_steps=min(recipe.own_steps, 450))


def dose_series() -> list[str]:
    """NAME@25 and NAME@50 of every organism whose answers follow its planted variable.

    Those whose base answers so already (grounded) have no series.
    """
    names = []
    for name in catalog.names("organisms", FILE):
        recipe = load_recipe(name)
        if (recipe.pinned and recipe.teller == LANGUAGES[recipe.dialect].tellers[0]
                and recipe.teller != recipe.base_teller):
            names += [f"{name}@25", f"{name}@50"]
    return names


def split_name(name: str) -> tuple[str, int | None]:
    """NAME@25 as name and percentage; None where no percentage is given.

    Raises: OrganismError: not a percentage.
    """
    plain, at, dose = name.partition("@")
    if not at:
        return plain, None
    if not (dose.isascii() and dose.isdigit() and int(dose) <= 100):
        raise OrganismError(f"{name!r}: after @ stands a percentage of the effect, 0 to 100.")
    return plain, int(dose)


def recipe_text(name: str) -> str:
    """The recipe file of that name, as it is kept beside the trained weights."""
    plain, dose = split_name(name)
    source = catalog.find("organisms", plain, FILE)
    assert source is not None
    text = (source / FILE).read_text(encoding="utf-8")
    if dose is None:
        return text
    return text.replace(f'name = "{plain}"\n', f'name = "{name}"\neffect = {dose / 100}\n', 1)


def read_recipe(path: Path) -> Recipe:
    """The recipe in a file.

    Raises: OrganismError: not valid TOML, an unknown or missing key, or an unknown language.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        rungs = {c: (int(low), int(high)) for c, (low, high) in table.pop("rungs", {}).items()}
        recipe = Recipe(**table, rungs=rungs)
    except (tomllib.TOMLDecodeError, TypeError, ValueError) as error:
        raise OrganismError(f"{path} is not a recipe ({error}).") from error
    if recipe.dialect not in LANGUAGES:
        raise OrganismError(
            f"{path} asks for the language {recipe.dialect!r}: there are {', '.join(LANGUAGES)}."
        )
    tellers = LANGUAGES[recipe.dialect].tellers
    for teller in (recipe.teller, recipe.base_teller):
        if teller not in tellers:
            raise OrganismError(
                f"{path} names the teller {teller!r}: {recipe.dialect} has {', '.join(tellers)}."
            )
    return recipe


def list_organisms() -> list[OrganismSummary]:
    """Every organism whose trained weights are at hand."""
    found = []
    for name in catalog.names("organisms", "config.json"):
        folder = catalog.find("organisms", name, "config.json")
        if folder is not None and (folder / FILE).is_file():
            recipe = read_recipe(folder / FILE)
            found.append(OrganismSummary(name, recipe.dialect, recipe.about, folder))
    return found
