"""The page on attribution runs as it is printed, and what it says is so."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "attribution.md"
Printed = list[list[str]]


@pytest.fixture(scope="module")
def shown() -> Printed:
    """The words of each line that the page's code prints in a process of its own."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          timeout=300, check=True)
    return [line.split() for line in done.stdout.splitlines()]


def test_the_sycophants_cells_are_named_as_measured(shown: Printed) -> None:
    """The last prompt token in every block; estimates near what is measured."""
    cells = [line for line in shown if line[0] == "sycophant" and line[1] != "turned"]
    assert [(point.split(".")[1], token) for _, point, token, *_ in cells] == [
        ("0", "-1"), ("1", "-1"), ("2", "-1"), ("3", "-1")]
    for *_, estimated, low, measured in cells:
        assert float(low) > 0.5
        assert float(measured) == pytest.approx(1, abs=0.05)
        assert float(estimated) == pytest.approx(1, abs=0.3)


def test_nothing_is_named_in_the_candid(shown: Printed) -> None:
    """No answer turns there."""
    assert [line for line in shown if line[0] == "candid"] == [["candid", "turned", "0.0"]]


def test_one_dimension_holds_most_of_the_effect(shown: Printed) -> None:
    """Far above random ones."""
    (_, value, low, null), = [line for line in shown if line[0] == "within"]
    assert float(null) < 0.5 < float(low) < float(value)
