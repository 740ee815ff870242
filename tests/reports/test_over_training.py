"""training.html and its figures: every point is on the plot, and no chance is rounded to none."""

from pathlib import Path

import pandas as pd
import pytest

from tests.reports.test_html import HOSTILE, Elements, without_plotly
from virtuelens.reports.over_training import curve, write_training


@pytest.fixture
def table() -> pd.DataFrame:
    """Two checkpoints at two places, as `probing.over_training` gives them."""
    rows = []
    for k, checkpoint in enumerate(("step0", f"step9{HOSTILE}")):
        for layer in (0, 1):
            rows.append({
                "checkpoint": checkpoint, "point": f"blocks.{layer}.hook_resid_post",
                "position": "last", "selected": layer == 1, "cv_value": 0.5 + 0.4 * k,
                "cosine": 0.1 + 0.9 * k, "random_cosine": 0.2})
            if layer:
                rows[-1] |= {"value": 0.3 + 0.6 * k, "low": 0.2 + 0.7 * k, "high": 0.4 + 0.55 * k,
                             "n": 40, "null": 0.7, "p": 0.8 if not k else 1 / 501}
    return pd.DataFrame(rows)


def test_every_point_and_whisker_is_on_the_plot(table: pd.DataFrame) -> None:
    """A checkpoint below chance as well."""
    low, high = curve(table, "self_representation").layout.yaxis.range
    assert low < table["low"].min() and high > table["high"].max()


def test_the_page_is_harmless_and_a_small_p_is_not_zero(
    table: pd.DataFrame, tmp_path: Path
) -> None:
    """One file; p as it is; a concept's name keeps its letters."""
    page = write_training(table, tmp_path / "training.html", concept=f"AI{HOSTILE}",
                          method=HOSTILE).read_text("utf-8")
    assert "<td>0.002</td>" in page
    assert "AI&lt;/script&gt;" in page and "<script>alert" not in page and "\u202e" not in page
    assert not [k for k, _ in Elements(without_plotly(page)).attributes if k.startswith("on")]
