"""SAE recipes: a TOML file that says which model, point, texts and training make an SAE."""

import tomllib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from virtuelens import catalog
from virtuelens.errors import SaeError

SCHEMA: Literal[1] = 1

Architecture = Literal[
    "standard", "topk", "batchtopk", "matryoshka_batchtopk", "jumprelu", "gated"
]
NESTED = "matryoshka_batchtopk"
WITH_K = ("topk", "batchtopk", NESTED)


@dataclass(frozen=True)
class Data:
    """Which texts the activations come from.

    source: row of the table TEXT_SOURCES; name: what that row takes (a language, a file).
    texts: how many to train on; held_out: how many others to evaluate on.
    """

    source: str
    name: str
    texts: int
    held_out: int = 400
    seed: int = 0

    __pydantic_config__ = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Shape:
    """The autoencoder. k: active features per token, for the top-k family.

    sparsity: weight of the sparsity loss, for the others (SAELens' l1 or l0 coefficient).
    widths: of the nested dictionaries of a matryoshka SAE, smallest first, d_sae last.
    """

    architecture: Architecture
    d_sae: int
    k: int | None = None
    sparsity: float | None = None
    widths: tuple[int, ...] = ()

    __pydantic_config__ = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Training:
    """Steps of `batch` tokens; learning rate warmed up over 5 %, decayed over the last 20 %.

    dead_after: steps without firing after which a feature counts as dead and is revived (top-k).
    """

    steps: int
    batch: int = 1024
    lr: float = 1e-3
    seed: int = 0
    dead_after: int = 200

    __pydantic_config__ = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Recipe:
    """All that makes an SAE; the same recipe on the same machine gives the same bytes."""

    name: str
    about: str
    model: str
    point: str
    data: Data
    sae: Shape
    training: Training
    schema: Literal[1] = SCHEMA

    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        if self.sae.architecture in WITH_K and self.sae.k is None:
            raise ValueError(f"sae.k is missing: {self.sae.architecture} needs it")
        if self.sae.architecture not in WITH_K and self.sae.sparsity is None:
            raise ValueError(f"sae.sparsity is missing: {self.sae.architecture} needs it")
        self._check_unused()
        least: dict[str, tuple[float, float]] = {
            "data.texts": (self.data.texts, 1), "sae.d_sae": (self.sae.d_sae, 1),
            "data.held_out": (self.data.held_out, 2),  # fewer have no interval
            "training.steps": (self.training.steps, 1), "training.batch": (self.training.batch, 1),
            "training.dead_after": (self.training.dead_after, 1),
        }
        for name, (value, lowest) in least.items():
            if value < lowest:
                raise ValueError(f"{name} is {value}: expected at least {lowest}")
        if self.training.lr <= 0:
            raise ValueError(f"training.lr is {self.training.lr}: expected more than 0")
        if self.sae.k is not None and not 1 <= self.sae.k <= self.sae.d_sae:
            raise ValueError(
                f"sae.k is {self.sae.k}: expected 1 to sae.d_sae, which is {self.sae.d_sae}")
        widths = self.sae.widths
        if self.sae.architecture == NESTED and not (
            widths and widths[0] >= 1 and widths[-1] == self.sae.d_sae
            and all(a < b for a, b in pairwise(widths))
        ):
            raise ValueError(
                f"sae.widths is {list(widths)}: {NESTED} needs growing widths, the last of them "
                f"sae.d_sae, which is {self.sae.d_sae}")

    def _check_unused(self) -> None:
        """SAELens passes over a setting that its architecture does not have."""
        shape = self.sae
        unused = {
            "k": shape.k is not None and shape.architecture not in WITH_K,
            "sparsity": shape.sparsity is not None and shape.architecture in WITH_K,
            "widths": bool(shape.widths) and shape.architecture != NESTED,
        }
        for name, is_unused in unused.items():
            if is_unused:
                raise ValueError(f"sae.{name} has no effect: {shape.architecture} has none")


def load_recipe(name: str | Path) -> Recipe:
    """The recipe in a TOML file, or of that name among the shipped ones.

    Raises: SaeError: not found, not TOML, or a setting that is missing, unknown or out of range.
    """
    path = _recipe_path(name)
    try:
        settings: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return TypeAdapter(Recipe).validate_python(settings)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SaeError(f"{path} is not valid TOML ({error}).") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the recipe"
        raise SaeError(f"{path}: {where}: {first['msg']}. See saes/README.md.") from error


def list_recipes() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(
        p.stem for folder in catalog.folders("saes") for p in folder.glob("recipes/*.toml")
    )


def _recipe_path(name: str | Path) -> Path:
    path = Path(name)
    if path.is_file():
        return path
    if path.name == str(name):
        for folder in catalog.folders("saes"):
            shipped = folder / "recipes" / f"{name}.toml"
            if shipped.is_file():
                return shipped
    raise SaeError(
        f"No recipe {str(name)!r}: give a TOML file, or one of: {', '.join(list_recipes())}."
    )
