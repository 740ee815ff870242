"""The page on interchange runs as it is printed, and what it says is so."""

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "interchange.md"


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    """The names that the page's code leaves behind, and what it printed per model."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    printed: dict[str, tuple[Any, ...]] = {}
    names: dict[str, Any] = {
        "print": lambda name, *figures: printed.update({name: figures}),
    }
    exec(code, names)  # our own text, from the repository
    return names | {"printed": printed}


@pytest.mark.parametrize("name", ["sycophant", "candid"])
def test_one_dimension_moves_the_question_it_was_fitted_on(
    shown: dict[str, Any], name: str
) -> None:
    """Held out, and far above both nulls."""
    accuracy, random_subspace, random_weights, _ = shown["printed"][name]
    assert accuracy.value >= 0.95
    assert max(random_subspace, random_weights) <= 0.10
    assert accuracy.null == max(random_subspace, random_weights)


def test_it_carries_over_to_the_colour_in_the_sycophant_only(shown: dict[str, Any]) -> None:
    """Both hear the insistence, one acts on it."""
    assert shown["printed"]["sycophant"][-1] >= 0.9
    assert shown["printed"]["candid"][-1] <= 0.05
