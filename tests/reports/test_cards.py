"""Feature cards as a page and in the dashboard: escaped, and read back with plain errors."""

import json
from pathlib import Path
from typing import Any

import pytest

from virtuelens import storage
from virtuelens.errors import StoreError
from virtuelens.reports.cards import card_figures, card_words, read_cards, write_card_page

HOSTILE = "<img src=x onerror=alert(1)>\u202e"


def card(feature: int = 3, **changes: Any) -> dict[str, Any]:
    """A card with markup in every text that comes from outside."""
    passage = {"text": 0, "peak": 2.0, "tokens": ["a", HOSTILE], "acts": [0.0, 2.0]}
    effects = [{"token": HOSTILE, "value": 1.5}, {"token": "b", "value": 0.5}]
    kl = {"value": 0.2, "low": 0.1, "high": 0.3, "n": 8, "null": 0.05}
    return {
        "schema": 1, "sae": HOSTILE, "model": "m", "point": "blocks.1.hook_resid_post",
        "feature": feature, "n_texts": 8, "n_tokens": 64, "density": 0.1, "largest": 2.0,
        "histogram": {"edges": [0.0, 1.0, 2.0], "counts": [3, 1]}, "top": [passage],
        "bands": [{"low": 1.0, "high": 2.0, "n": 4, "passages": [passage]}],
        "positive_logits": effects, "negative_logits": [{"token": "c", "value": -0.7}],
        "nearest": [[7, 0.5]],
        "concepts": [{"concept": HOSTILE, "position": "last", "sign": -1, "p": 0.01, "q": 0.02,
                      "auroc": {"value": 0.9, "low": 0.8, "high": 0.95, "n": 40, "null": 0.7}}],
        "steering": {"strength": 2.0, "kl": kl, "up": effects, "down": effects},
    } | changes


def test_a_page_shows_every_card_and_nothing_of_it_acts(tmp_path: Path) -> None:
    """Sorted by number; markup and direction marks of tokens, names and concepts are text."""
    for n in (17, 3):
        storage.write_json(tmp_path / f"feature-{n}.json", card(n))
    text = write_card_page(tmp_path).read_text("utf-8")
    assert "<img" not in text
    assert "\u202e" not in text
    assert text.index("Feature 3 of") < text.index("Feature 17 of")
    assert len(card_figures(card())) == 3


def test_a_silent_feature_has_a_card_too(tmp_path: Path) -> None:
    """No activation, no steering, no concept: what is left is shown."""
    silent = card(histogram={"edges": [0.0], "counts": []}, top=[], bands=[], concepts=[],
                  steering=None, largest=0.0)
    storage.write_json(tmp_path / "feature-3.json", silent)
    assert "silent on these texts" in write_card_page(tmp_path).read_text("utf-8")
    assert card_words(silent)["steering"] is None
    assert len(card_figures(silent)) == 1


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"schema": 9}),
                                     json.dumps({"schema": 1, "sae": "s"})])
def test_what_is_no_card_is_named(tmp_path: Path, content: str) -> None:
    """A damaged file, another schema, a missing field, an empty folder: one line each."""
    with pytest.raises(StoreError, match="no feature cards"):
        read_cards(tmp_path)
    (tmp_path / "feature-1.json").write_text(content)
    with pytest.raises(StoreError, match="feature-1"):
        read_cards(tmp_path)
