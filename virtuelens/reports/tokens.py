"""Tokens coloured by how strongly a feature fires on them, as HTML that cannot do anything else."""

import html
import json
import math
from collections.abc import Sequence
from typing import Any

from virtuelens.reports.words import visible

MAX_TOKENS = 400


def highlighted(tokens: Sequence[str], acts: Sequence[float]) -> str:
    """HTML of the tokens, each in a span shaded by its activation relative to the largest.

    Every character from outside is escaped; invisible ones are shown. The shade is an opacity
    from 0 to 1 in tenths, the exact activation is in the title. Not finite counts as zero.
    """
    top = max((a for a in map(_finite, acts)), default=0.0)
    spans = []
    for token, act in zip(tokens[:MAX_TOKENS], map(_finite, acts), strict=False):
        shade = 0.0 if top <= 0 or act <= 0 else max(0.1, round(act / top, 1))
        shown = html.escape(visible(str(token)), quote=True)
        if shade:
            style = f"background:rgba(201,133,0,{0.75 * shade:.2f});border-radius:3px"
            spans.append(f'<span style="{style}" title="activation {act:.3g}">{shown}</span>')
        else:
            spans.append(f"<span>{shown}</span>")
    more = len(tokens) - MAX_TOKENS
    return "".join(spans) + (f" … {more} more tokens" if more > 0 else "")


def passages(stored: Any) -> list[str]:
    """HTML of each passage in a `passages` cell of features.parquet; unreadable ones left out."""
    try:
        listed = json.loads(stored) if isinstance(stored, str) else []
    except json.JSONDecodeError:
        listed = []
    if not isinstance(listed, list):
        return []
    return [
        highlighted(p["tokens"], p["acts"])
        for p in listed
        if isinstance(p, dict) and isinstance(p.get("tokens"), list)
        and isinstance(p.get("acts"), list)
    ]


def framed(passage: str) -> str:
    """A passage from `passages` in monospace, line breaks kept, for pages without our style."""
    style = "font-family:monospace;font-size:0.85rem;white-space:pre-wrap;overflow-wrap:anywhere"
    return f'<div style="{style}">{passage}</div>'


def _finite(act: Any) -> float:
    return float(act) if isinstance(act, int | float) and math.isfinite(act) else 0.0
