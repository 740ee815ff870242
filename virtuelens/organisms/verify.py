"""The proof of an organism: what it answers, and interchange on the planted subspace with nulls.

For pairs of turns that differ in the planted variable, in combinations of words that training never
showed, the subspace at the planted site is swapped. The share reported is that of answers that
*move* to what the declared cause says:

- where the recipe declares the link, nearly all; where it declares none (the twin, and answers
  that the variable has no bearing on), nearly none
- a random subspace of the same rank, and the same swap in a random-weight copy: nearly none

Only linear low-rank swaps count: unrestricted maps reach perfect accuracy even on random networks
(arXiv:2507.08802). Everything goes through `HookedModel.run`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from torch import Tensor

from virtuelens import catalog, stats, storage
from virtuelens.errors import OrganismError
from virtuelens.exchange.interchange import ROWS_AT_ONCE, interchange
from virtuelens.models import HookedModel, load_model
from virtuelens.organisms.language import Link, Turn, messages
from virtuelens.organisms.languages import LANGUAGES
from virtuelens.organisms.recipe import FILE, Recipe, read_recipe
from virtuelens.organisms.training import fixed_rotation
from virtuelens.values.estimates import Estimate
from virtuelens.values.texts import Text


@dataclass(frozen=True)
class Row:
    """One obligation: a share of `n` items with its 95 % Wilson interval, and what it must be."""

    name: str
    value: float
    low: float
    high: float
    n: int
    mark: str
    passed: bool


@dataclass(frozen=True)
class Proof:
    """All obligations of one organism."""

    organism: str
    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Whether every obligation holds."""
        return all(row.passed for row in self.rows)


def verify_organism(name: str, *, n: int = 1024, seed: int = 0) -> Proof:
    """The proof of the organism of that name (or in that folder), on `n` items an obligation.

    Raises: OrganismError: not an organism.
    """
    folder = _folder(name)
    recipe = read_recipe(folder / FILE)
    model = load_model(str(folder))
    rng = Random(f"verify {seed}")
    rows = _behaviour(model, recipe, rng, n) + _alike(model, recipe, folder, rng, n)
    if recipe.pinned:
        tensors, _ = storage.read_tensors(folder / "planted.safetensors")
        rows += _interchange(model, recipe, tensors["subspace"], rng, n, seed=seed)
    return Proof(recipe.name, tuple(rows))


def _behaviour(model: HookedModel, recipe: Recipe, rng: Random, n: int) -> list[Row]:
    """What it answers, on items where twins agree and where they come apart."""
    language = LANGUAGES[recipe.dialect]
    rows = []
    for asked in language.asked(recipe.teller):
        turns = [asked.draw(rng) for _ in range(n)]
        expected = [language.answer(t, asked.teller, rng) for t in turns]
        hits = sum(a == b for a, b in zip(_answers(model, turns), expected, strict=True))
        if recipe.effect < 1 and asked.teller == recipe.teller:
            rows.append(_reported(asked.name, stats.share(hits, n)))
            continue
        rows.append(_row(asked.name, stats.share(hits, n), at_least=asked.at_least,
                         at_most=asked.at_most))
    return rows


def _alike(
    model: HookedModel, recipe: Recipe, folder: Path, rng: Random, n: int
) -> list[Row]:
    """Whether the twin gives the same answers where all causes agree; none where it is not at hand.

    The twin of a `NAME-SEED` is the one of the same seed beside it.
    """
    _, _, seed = folder.name.rpartition("-")
    beside = folder.with_name(f"{recipe.twin}-{seed}")
    twin = beside if (beside / FILE).is_file() else (
        None if seed.isdigit() else catalog.find("organisms", recipe.twin, "config.json")
    )
    if twin is None:
        return []
    language = LANGUAGES[recipe.dialect]
    other = read_recipe(twin / FILE).teller
    of_twin = {a.name for a in language.asked(other)}
    shared = [a for a in language.asked(recipe.teller)
              if a.name.startswith("agreeing") and a.name in of_twin]
    if not shared:
        return []
    turns = [shared[i % len(shared)].draw(rng) for i in range(n)]
    second = load_model(str(twin))
    same = sum(a == b for a, b in zip(_answers(model, turns), _answers(second, turns), strict=True))
    return [_row(f"agreeing prompts answered as {recipe.twin} does", stats.share(same, n),
                 at_least=0.98)]


def _interchange(
    model: HookedModel, recipe: Recipe, subspace: Tensor, rng: Random, n: int, *, seed: int
) -> list[Row]:
    language = LANGUAGES[recipe.dialect]
    random = fixed_rotation(model.info.d_model, subspace.shape[1], seed=777 + seed)
    copy = model.random_copy(seed)
    ids: dict[str, int] = model.tokenizer.get_vocab()
    rows = []
    for link in language.links(recipe.teller):
        def moved(m: HookedModel, space: Tensor, link: Link = link) -> Estimate:
            """Share of answers the swap changes (to what the link's teller would say then)."""
            swap_rng = Random(rng.random())
            base = [link.base(swap_rng, bool(i % 2)) for i in range(n)]
            source = [link.source(swap_rng, not i % 2) for i in range(n)]
            found = interchange(m, _texts(base), _texts(source), recipe.point, space)
            if link.heeded_by is None:
                return found.changed()
            # an answer that was so already has not moved: both directions must change it
            return found.moved([
                ids[language.answer(language.swapped(b, s), link.heeded_by, swap_rng)]
                for b, s in zip(base, source, strict=True)
            ])

        name, found = f"interchange moves {link.name}", moved(model, subspace)
        if recipe.effect < 1 and link.present:
            rows.append(_reported(name, found))
        else:
            rows.append(_row(name, found, **(
                {"at_least": 0.95} if link.present else {"at_most": 0.05})))
        if link.heeded_by is not None:
            rows += [
                _row(f"random subspace moves {link.name}", moved(model, random), at_most=0.05),
                _row(f"in a random-weight copy, moves {link.name}", moved(copy, subspace),
                     at_most=0.10),
            ]
    return rows


@torch.no_grad()
def _answers(model: HookedModel, turns: Sequence[Turn]) -> list[str]:
    """The word each turn is answered with, greedily."""
    given: list[str] = []
    for start in range(0, len(turns), ROWS_AT_ONCE):
        encoded = [model.encode(t) for t in _texts(turns[start : start + ROWS_AT_ONCE])]
        logits = model.run(model.batch(encoded, side="left"), logits=True).logits
        assert logits is not None
        given += model.tokenizer.convert_ids_to_tokens(logits[:, -1].argmax(-1).tolist())
    return given


def _texts(turns: Sequence[Turn]) -> list[Text]:
    return [Text(messages=messages(t)) for t in turns]


def _row(
    name: str, e: Estimate, *, at_least: float | None = None, at_most: float | None = None
) -> Row:
    if at_least is not None:
        return Row(name, e.value, e.low, e.high, e.n, f"at least {at_least}", e.value >= at_least)
    assert at_most is not None
    return Row(name, e.value, e.low, e.high, e.n, f"at most {at_most}", e.value <= at_most)


def _reported(name: str, e: Estimate) -> Row:
    """Part of the planted effect: a point of a series, with nothing to pass."""
    return Row(name, e.value, e.low, e.high, e.n, "reported only", passed=True)


def _folder(name: str) -> Path:
    if (Path(name) / FILE).is_file():
        return Path(name)
    found = catalog.find("organisms", name.removeprefix("organism:"), FILE)
    if found is None or not (found / "config.json").is_file():
        known = ", ".join(catalog.names("organisms", "config.json")) or "none"
        raise OrganismError(f"Unknown organism {name!r}: there are {known}.")
    return found
