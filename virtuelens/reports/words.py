"""Numbers and names in plain words, and text from models made safe to look at.

What a report says in words is made here, in one place, and only from a finding's numbers. It
speaks of representations and behaviour; what a model feels, or whether it does, is not its subject.
"""

import html
import math
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_SOURCES = {
    "probe": "probe",
    "bag_of_words": "bag of words",
    "length": "text length",
    "position": "place in the text",
    "embedding": "embedding layer",
    "random_weights": "random weights",
    "control_task": "control task",
}
_SPLITS = {
    "cv": "cross-validation",
    "test": "held-out groups",
    "shifted": "shifted set",
    "transfer": "transfer set",
}
_METHODS = {
    "diff_means": "mean difference",
    "mass_mean": "whitened mean difference",
    "logistic": "logistic regression",
    "logistic_cv": "logistic regression (penalty chosen)",
    "lda": "LDA",
    "pca_diff": "PCA of differences",
    "ccs": "contrast-consistent search",
    "ensemble": "mean of three probes",
    "mlp": "small network",
    "attention": "attention over tokens",
    "max": "strongest token",
    "k_sparse": "few SAE features",
}
_POSITIONS = {
    "last": "last token",
    "last_prompt": "last token of the prompt",
    "prompt_mean": "mean over the prompt",
    "response_mean": "mean over the response",
    "tokens": "every token",
}
_EMPTY = frozenset(map(chr, (
    0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x180E), 0x180F, 0x3164,
    *range(0xFE00, 0xFE10), 0xFFA0, *range(0xE0100, 0xE01F0),
)))
"""Letters and marks that show nothing (fillers, variation selectors): text can hide in them."""

_UNSEEN = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}
_KEPT = {"\n": "⏎\n", "\t": "⇥\t", "\r": "␍", "\u00a0": "⍽"}


def plain_source(source: str) -> str:
    """Where a score comes from, in words."""
    return _SOURCES.get(source, source)


def plain_split(split: str) -> str:
    """Which examples were scored, in words."""
    return _SPLITS.get(split, split)


def plain_method(method: str) -> str:
    """A row of the methods table, in words."""
    return _METHODS.get(method, method)


def plain_position(position: str) -> str:
    """A row of the positions table, in words."""
    return _POSITIONS.get(position, position)


def plain_concept(concept: str) -> str:
    """A concept's name as a phrase: `self_representation` is read "self representation"."""
    return concept.replace("_", " ")


def plain_instrument(instrument: str) -> str:
    """An instrument of the calibration, in words."""
    kind, _, rest = instrument.partition(" ")
    return f"probe: {plain_method(rest)}" if kind == "probe" and rest else instrument


def visible(text: str) -> str:
    """Text with every invisible or direction-changing character made visible.

    Newline and tab keep their effect and gain a sign; controls, zero-width and bidirectional
    characters, fillers and variation selectors become their code point in brackets, so that they
    can neither hide nor reorder.
    """
    out = []
    for char in text:
        if char in _KEPT:
            out.append(_KEPT[char])
        elif char in _EMPTY or unicodedata.category(char) in _UNSEEN:
            out.append(f"[U+{ord(char):04X}]")
        else:
            out.append(char)
    return "".join(out)


def escaped(text: str) -> str:
    """Text from outside, visible and harmless in HTML and in Plotly's labels."""
    return html.escape(visible(str(text)), quote=True)


def number(value: float | None, *, signed: bool = False) -> str:
    """Two decimals with a true minus sign; a dash where there is no finite number."""
    if value is None or not math.isfinite(value):
        return "–"
    rounded = round(value, 2) + 0.0  # never a negative zero
    return f"{rounded:{'+' if signed and rounded else ''}.2f}".replace("-", "−")


def interval(estimate: "Mapping[str, Any] | pd.Series[Any]", *, signed: bool = False) -> str:
    """`0.93 [0.90, 0.96]`; without a bounded interval it says so."""
    value = number(estimate.get("value"), signed=signed)
    low, high = estimate.get("low"), estimate.get("high")
    if not _finite(low) or not _finite(high):
        return f"{value} [no interval]"
    return f"{value} [{number(low, signed=signed)}, {number(high, signed=signed)}]"


def counted(rate: "Mapping[str, Any] | None") -> str:
    """`38 of 40 (0.95 [0.83, 0.99])`: a share with its count; a dash where it was not tried."""
    if not rate or not rate.get("n"):
        return "–"
    return f"{hits(rate)} of {int(rate['n'])} ({interval(rate)})"


def hits(rate: "Mapping[str, Any]") -> int:
    """How many the share stands for."""
    return round(float(rate["value"]) * int(rate["n"]))


def two_digits(p: float | None) -> str:
    """A p- or q-value to two significant digits: a small one is never rounded to 0."""
    return "–" if p is None or not math.isfinite(p) else f"{p:.2g}"


def percent(share: float | None) -> str:
    """A share as whole percent."""
    if share is None or not math.isfinite(share):
        return "–"
    return f"{100 * share:.0f} %".replace("-", "−")


def points(share: float | None) -> str:
    """A change of a share in percentage points."""
    if share is None or not math.isfinite(share):
        return "–"
    return f"{round(100 * share) + 0:+d} points".replace("-", "−")


def sentence_case(text: str) -> str:
    """Text with its first letter large and the rest as it was."""
    return text[:1].upper() + text[1:]


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
