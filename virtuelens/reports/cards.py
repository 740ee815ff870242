"""Feature cards as pages: what `virtuelens sae card` writes as data, drawn.

Tokens and texts in a card are the model's and the data's: everything is escaped here.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from virtuelens import __version__, storage
from virtuelens.errors import StoreError
from virtuelens.reports.one_file import drawn, render_page
from virtuelens.reports.theme import BLUE, GREY, VERMILION, new_figure, whiskers
from virtuelens.reports.tokens import highlighted
from virtuelens.reports.words import (
    escaped,
    interval,
    number,
    percent,
    plain_concept,
    plain_position,
)

SCHEMA = 1
"""Of a card (`sparse_coding.card`)."""
N_SHOWN = 5
"""Passages of a band, and tokens of a list."""

Card = Mapping[str, Any]
_FIELDS = frozenset({
    "sae", "model", "point", "feature", "n_texts", "n_tokens", "density", "largest", "histogram",
    "top", "bands", "positive_logits", "negative_logits", "nearest", "concepts", "steering",
})


def read_cards(folder: Path) -> list[dict[str, Any]]:
    """The cards in a folder that `virtuelens sae card --out` wrote, by number of the feature.

    Raises: StoreError: there is none, or one is damaged or of another schema.
    """
    cards = []
    for path in sorted(Path(folder).glob("feature-*.json")):
        card = storage.read_json(path, schema=SCHEMA)
        missing = sorted(_FIELDS - set(card)) if isinstance(card, dict) else ["everything"]
        if missing:
            raise StoreError(f"{path} is no feature card: it lacks {missing[0]!r}.")
        cards.append(card)
    if not cards:
        raise StoreError(f"{folder} holds no feature cards: make some with virtuelens sae card "
                         "SAE FEATURE --out FOLDER.")
    return sorted(cards, key=lambda c: (str(c["sae"]), int(c["feature"])))


def write_card_page(folder: Path, path: Path | None = None) -> Path:
    """Write the cards of a folder as one page; its path (`cards.html` in the folder).

    Raises: StoreError: as `read_cards`. DiskError: it could not be written.
    """
    cards = read_cards(folder)
    sections, figures = [], []
    for n, card in enumerate(cards):
        mine = [drawn(f, f"figure-{n}-{k}") for k, f in enumerate(card_figures(card))]
        figures += mine
        sections.append(card_words(card) | {"id": f"feature-{n}", "figures": mine})
    page = render_page("cards.html.j2", {
        "sections": sections, "version": __version__,
        "saes": sorted({str(c["sae"]) for c in cards}),
        "models": sorted({str(c["model"]) for c in cards}),
    }, figures)
    path = path or Path(folder) / "cards.html"
    storage.write_text(path, page)
    return path


def card_figures(card: Card) -> list[go.Figure]:
    """Those figures that the card has data for."""
    return [f for f in (activations(card), logits(card), concept_scores(card)) if f is not None]


def card_words(card: Card) -> dict[str, Any]:
    """The card's texts and numbers for a page; `passages` is safe HTML, the rest is plain."""
    steering = card["steering"]
    return {
        "title": f"Feature {card['feature']} of {card['sae']}",
        "at": f"{card['point']} of {card['model']}",
        "density": percent(card["density"]), "n_tokens": card["n_tokens"],
        "n_texts": card["n_texts"], "largest": number(card["largest"]),
        "top": [_passage(p) for p in card["top"]],
        "bands": [
            {"name": f"{number(b['low'])} to {number(b['high'])}", "n": b["n"],
             "passages": [_passage(p) for p in b["passages"][:N_SHOWN]]}
            for b in reversed(card["bands"]) if b["passages"]
        ],
        "nearest": [f"{f} ({number(c, signed=True)})" for f, c in card["nearest"]],
        "steering": None if steering is None else {
            "strength": number(steering["strength"]), "kl": interval(steering["kl"]),
            "null": number(steering["kl"]["null"]),
            "up": _tokens(steering["up"]), "down": _tokens(steering["down"]),
        },
        "concepts": [
            {"concept": plain_concept(s["concept"]), "position": plain_position(s["position"]),
             "speaks": "for" if s["sign"] > 0 else "against", "auroc": interval(s["auroc"]),
             "null": number(s["auroc"]["null"]), "q": f"{s['q']:.2g}", "n": s["auroc"]["n"]}
            for s in card["concepts"]
        ],
    }


def activations(card: Card) -> go.Figure | None:
    """How strongly it is active, where it is."""
    edges, counts = card["histogram"]["edges"], card["histogram"]["counts"]
    if not sum(counts):
        return None
    bins = list(pairwise(edges))
    figure = go.Figure(go.Bar(
        x=[(a + b) / 2 for a, b in bins], y=counts, width=[b - a for a, b in bins],
        marker={"color": BLUE}, showlegend=False,
        hovertemplate="activation %{x:.3g}<br>%{y} tokens<extra></extra>",
    ))
    figure.update_xaxes(title_text="activation (where not 0)")
    figure.update_yaxes(title_text="tokens (count, log)", type="log")
    return new_figure(
        "How strongly it is active",
        f"Active at {percent(card['density'])} of {card['n_tokens']} tokens in "
        f"{card['n_texts']} texts, at most {number(card['largest'])}.", height=290, figure=figure)


def logits(card: Card) -> go.Figure | None:
    """Tokens that its decoder row speaks for and against."""
    shown = [*card["positive_logits"][:N_SHOWN * 2], *card["negative_logits"][:N_SHOWN * 2][::-1]]
    shown = [t for t in shown if isinstance(t["value"], int | float) and math.isfinite(t["value"])]
    if not shown:
        return None
    shown = shown[::-1]
    names = [f"{k}: {escaped(str(t['token']))}" for k, t in enumerate(shown)]
    figure = go.Figure(go.Bar(
        x=[t["value"] for t in shown], y=names, orientation="h", showlegend=False,
        marker={"color": [BLUE if t["value"] > 0 else VERMILION for t in shown]},
        hovertemplate="%{y}<br>%{x:.3f}<extra></extra>",
    ))
    figure.update_xaxes(title_text="logit (per unit of activation, centred)")
    figure.update_yaxes(showgrid=False, tickmode="array", tickvals=names,
                        ticktext=[escaped(repr(str(t["token"]))) for t in shown])
    return new_figure(
        "What it writes", "The decoder row through the final norm's weights and the unembedding: "
        "tokens it speaks for, and against.", height=110 + 20 * len(shown), figure=figure)


def concept_scores(card: Card) -> go.Figure | None:
    """Held-out AUROC for each concept, beside what the best of all features reaches by chance."""
    scores = card["concepts"][::-1]
    if not scores:
        return None
    import pandas as pd

    table = pd.DataFrame([{"value": s["auroc"]["value"], "low": s["auroc"]["low"],
                           "high": s["auroc"]["high"]} for s in scores]).astype(float)
    names = [escaped(plain_concept(s["concept"])) for s in scores]
    figure = go.Figure(go.Scatter(
        x=table["value"], y=names, mode="markers", name="this feature",
        marker={"color": BLUE, "size": 11}, error_x=whiskers(table) | {"color": BLUE},
        hovertemplate="%{y}<br>AUROC %{x:.3f}<extra></extra>",
    ))
    figure.add_trace(go.Scatter(
        x=[s["auroc"]["null"] for s in scores], y=names, mode="markers",
        name="best of all features, shuffled labels (95 %)",
        marker={"color": GREY, "size": 12, "symbol": "line-ns", "line": {"width": 3,
                                                                         "color": GREY}},
        hovertemplate="%{y}<br>null %{x:.3f}<extra></extra>",
    ))
    figure.add_vline(x=0.5, line={"color": GREY, "width": 1, "dash": "dot"})
    figure.update_xaxes(title_text="AUROC (0.5 = chance)", range=[0.38, 1.03])
    figure.update_yaxes(showgrid=False)
    return new_figure(
        "Which concepts it tells apart", "Held-out groups of each pack's main set, turned where "
        "less of it speaks for the concept.", height=130 + 34 * len(scores), figure=figure)


def _passage(passage: Mapping[str, Any]) -> dict[str, str]:
    return {"peak": number(passage["peak"]),
            "html": highlighted(passage["tokens"], passage["acts"])}


def _tokens(effects: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{str(e['token'])!r} {number(e['value'], signed=True)}"
                     for e in effects[:N_SHOWN])
