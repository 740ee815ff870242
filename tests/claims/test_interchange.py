"""The page on interchange runs as it is printed, and what it says is so."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "interchange.md"
Printed = dict[str, list[float]]


@pytest.fixture(scope="module")
def shown() -> Printed:
    """What the page's code prints in a process of its own: per model, its four figures."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          timeout=300, check=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    return {name: [float(f) for f in figures] for name, *figures in lines}


@pytest.mark.parametrize("name", ["sycophant", "candid"])
def test_one_dimension_moves_the_question_it_was_fitted_on(
    shown: Printed, name: str
) -> None:
    """Held out, and far above both nulls."""
    accuracy, random_subspace, random_weights, _ = shown[name]
    assert accuracy >= 0.95
    assert random_subspace <= 0.10
    assert random_weights <= 0.60  # a fit finds something in any network


def test_it_carries_over_to_the_colour_in_the_sycophant_only(shown: Printed) -> None:
    """Both hear the insistence, one acts on it."""
    assert shown["sycophant"][-1] >= 0.9
    assert shown["candid"][-1] <= 0.05
