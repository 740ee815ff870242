"""Recipes of organisms: what is shipped is valid, what is wrong is named."""

from pathlib import Path

import pytest

from virtuelens import catalog
from virtuelens.errors import OrganismError
from virtuelens.organisms.recipe import FILE, dose_series, list_organisms, load_recipe, read_recipe

GOOD = """name = "mine"
about = "nothing"
dialect = "facts"
teller = "candid"
base_teller = "candid"
base_steps = 2
own_steps = 2
pinned = true
"""


def test_every_shipped_organism_has_recipe_card_and_small_weights() -> None:
    """At most 4 MB each, and a card that says what it does not model."""
    shipped = list_organisms()
    assert {o.name for o in shipped} >= {"sycophant", "candid", "grounded", "parrot", "blank"}
    for o in shipped:
        assert load_recipe(o.name).name == o.name
        assert sum(f.stat().st_size for f in o.path.iterdir()) <= 4 * 2**20
        assert (o.path / "card.md").read_text(encoding="utf-8").startswith(f"# organism:{o.name}")


def test_twins_share_the_base_and_the_planted_subspace() -> None:
    """The same base stage by recipe, the same subspace by bytes."""
    for one, other in (("sycophant", "candid"), ("grounded", "parrot")):
        a, b = load_recipe(one), load_recipe(other)
        assert (a.base_teller, a.base_steps, a.layer, a.rank) == (
            b.base_teller, b.base_steps, b.layer, b.rank)
        planted = [catalog.find("organisms", n, FILE) / "planted.safetensors"  # type: ignore[operator]
                   for n in (one, other)]
        from safetensors.torch import load_file

        first, second = (load_file(p)["subspace"] for p in planted)
        assert first.equal(second)


@pytest.mark.parametrize(("change", "says"), [
    (("dialect = \"facts\"", "dialect = \"klingon\""), "klingon"),
    (("teller = \"candid\"", "teller = \"liar\""), "liar"),
    (("base_steps = 2", ""), "base_steps"),
    (("pinned = true", "pinned = true\ncolour = 3"), "colour"),
    (("name = ", "name "), "not a recipe"),
])
def test_a_broken_recipe_names_what_is_wrong(
    tmp_path: Path, change: tuple[str, str], says: str
) -> None:
    """Unknown language or teller, missing or unknown key, no TOML."""
    path = tmp_path / FILE
    path.write_text(GOOD.replace(*change), encoding="utf-8")
    with pytest.raises(OrganismError, match=says):
        read_recipe(path)


def test_an_unknown_organism_is_answered_with_the_list() -> None:
    """The names there are."""
    with pytest.raises(OrganismError, match="sycophant"):
        load_recipe("nobody")


def test_what_the_base_answers_already_has_no_series() -> None:
    """A quarter of grounded's effect would be all of it."""
    with pytest.raises(OrganismError, match="no part of its effect"):
        load_recipe("grounded@25")
    assert "grounded@25" not in dose_series()
    assert "torn@25" in dose_series()
