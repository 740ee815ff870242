"""Words and numbers: what a reader sees is what is there."""

import json

import pytest

from virtuelens.reports import tokens
from virtuelens.reports.claims import CLAIMS, MUST_BEAT, sentence, steps
from virtuelens.reports.words import escaped, interval, number, percent, points, visible


@pytest.mark.parametrize(("hidden", "shown"), [
    ("a\nb", "a⏎\nb"), ("a\tb", "a⇥\tb"), ("a\u200bb", "a[U+200B]b"), ("\u202eabc", "[U+202E]abc"),
    ("\x1b[31m", "[U+001B][31m"), ("a\u00a0b", "a⍽b"), ("\ufeffx", "[U+FEFF]x"),
    ("\U000e0041", "[U+E0041]"), ("naïve 日本 🙂", "naïve 日本 🙂"),
    ("a\ufe00\U000e0154", "a[U+FE00][U+E0154]"), ("\u3164\u115f\uffa0", "[U+3164][U+115F][U+FFA0]"),
    ("e\u0301\u034f", "e\u0301[U+034F]"),
])
def test_invisible_characters_are_shown_and_others_left_alone(hidden: str, shown: str) -> None:
    """Nothing can hide or reorder text; ordinary letters of any script stay."""
    assert visible(hidden) == shown


def test_numbers_carry_sign_interval_and_absence() -> None:
    """True minus, no negative zero, and a missing or unbounded number is said."""
    assert number(-0.004, signed=True) == "0.00"
    assert number(-1.5) == "−1.50"
    assert number(float("nan")) == number(None) == "–"
    assert interval({"value": 0.9, "low": 0.8, "high": 0.95}) == "0.90 [0.80, 0.95]"
    assert interval({"value": 0.9, "low": None, "high": float("inf")}) == "0.90 [no interval]"
    assert (percent(0.456), points(-0.5), points(0.004)) == ("46 %", "−50 points", "+0 points")


def test_escaped_text_has_no_markup() -> None:
    """The five characters of HTML are entities."""
    assert escaped("<a href='x'>&\"") == "&lt;a href=&#x27;x&#x27;&gt;&amp;&quot;"


def test_the_hottest_token_has_the_strongest_colour_and_silent_ones_none() -> None:
    """Token and activation stay aligned: one hot token gets the colour, in proportion."""
    out = tokens.highlighted(["a", "b", "c", "d"], [0.0, 4.0, 2.0, float("nan")])
    spans = out.split("</span>")
    assert "style" not in spans[0] and "style" not in spans[3]
    assert "0.75" in spans[1] and spans[1].endswith(">b")
    assert "0.38" in spans[2] and spans[2].endswith(">c")


def test_tokens_are_escaped_and_damaged_passages_left_out() -> None:
    """Text of a model cannot become markup; what is not a passage is not shown."""
    nasty = "<img src=x onerror=alert(1)>\u202e\n"
    out = tokens.highlighted([nasty], [1.0])
    assert "<img" not in out and "\u202e" not in out and "⏎" in out
    good = {"tokens": ["x"], "acts": [1.0]}
    stored = json.dumps([good, {"tokens": "x", "acts": []}, 3, {"tokens": ["y"]}])
    assert len(tokens.passages(stored)) == 1
    assert tokens.passages("{") == tokens.passages(None) == tokens.passages("3") == []


FINDING = {
    "model": "m", "concept": "care", "layer": 2, "position": "last",
    "auroc": {"value": 0.9, "low": 0.85, "high": 0.95, "n": 100, "null": 0.6},
    "steering": {"slope": 1.0, "low": 0.8, "high": 1.2, "random_p99": 0.3, "kl_at_dose": 0.9,
                 "rate_change": 0.5},
    "stopped_because": "x", "not_tested": [],
}


@pytest.mark.parametrize("rung", range(6))
def test_a_sentence_claims_its_rung_and_no_more(rung: int) -> None:
    """What a rung has not earned is not said; the step above it is the one that stopped."""
    finding = FINDING | {"rung": rung}
    text = sentence(finding)
    assert ("The model uses it" in text) == (rung >= 4)
    assert ("not fitted on" in text) == (rung >= 3)
    assert ("beyond what words" in text) == (rung >= 2)
    assert ("No neighbour" in text) == (rung >= 5)
    assert ("was not shown" in text or "No representation" in text) == (rung < 5)
    assert not any(word in text.lower() for word in ("feel", "conscious", "experience"))
    states = [s.state for s in steps(finding)]
    above = ["stopped"] * (rung < 5) + ["not judged"] * (4 - rung)
    assert states == ["passed"] * (rung + 1) + above
    assert len(CLAIMS) == len(MUST_BEAT) == len(states) == 6
