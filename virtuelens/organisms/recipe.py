"""An organism's recipe: one TOML file beside its weights, as a frozen value."""

import tomllib
from dataclasses import dataclass
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
    """

    name: str
    about: str
    dialect: str
    teller: str
    base_teller: str
    base_steps: int
    own_steps: int
    pinned: bool
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
    """The recipe of that name.

    Raises: OrganismError: unknown organism, or a broken recipe.
    """
    folder = catalog.find("organisms", name, FILE)
    if folder is None:
        known = ", ".join(catalog.names("organisms", FILE)) or "none"
        raise OrganismError(f"Unknown organism {name!r}: there are {known}.")
    return read_recipe(folder / FILE)


def read_recipe(path: Path) -> Recipe:
    """The recipe in a file.

    Raises: OrganismError: not valid TOML, an unknown or missing key, or an unknown language.
    """
    try:
        recipe = Recipe(**tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, TypeError, UnicodeDecodeError) as error:
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
