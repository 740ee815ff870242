"""Feature cards: all that a page about one SAE feature shows, as data.

- where it is active: density, histogram of its activations, passages over the bands of strength
- what it writes: tokens that its decoder row speaks for and against, and what the model says when
  it is added, beside random directions of equal size
- what it is like: features with the nearest decoder rows, and its AUROC for concepts

Reports and the dashboard draw cards; nothing here does. Tokens and texts are as the model has them:
whoever shows them escapes them.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens import stats, storage
from virtuelens.errors import SaeError
from virtuelens.sparse_coding.features import (
    Passage,
    batches,
    feature_matrix,
    passage,
    token_acts,
)
from virtuelens.sparse_coding.rank import fitting_rows, rank_features
from virtuelens.sparse_coding.sae import Sae, check_autoencoder
from virtuelens.values.estimates import Estimate
from virtuelens.values.texts import Text

if TYPE_CHECKING:
    from virtuelens.concepts.pack import Concept
    from virtuelens.models import HookedModel
    from virtuelens.models.chat import Encoded
    from virtuelens.models.run import Seen

SCHEMA = 1
BINS = 30
BANDS = 5
N_TOP, N_EACH = 8, 3
"""Strongest passages, and passages of each band of strength."""

N_RANDOM = 10
N_STEERED = 32
"""Texts on which the effect of adding the feature is measured."""


@dataclass(frozen=True)
class Histogram:
    """Activations of a feature at the tokens where it is active, in bins of equal width.

    edges: one more than counts, from 0 to the largest activation.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Band:
    """Passages whose strongest token lies in one band of strength.

    low, high: of the activation; the bands divide 0 to the largest evenly. n: texts in the band,
    of which the passages are a random few.
    """

    low: float
    high: float
    n: int
    passages: tuple[Passage, ...]


@dataclass(frozen=True)
class TokenEffect:
    """A token and what becomes of its logit or log-probability."""

    token: str
    value: float


@dataclass(frozen=True)
class Steering:
    """What adding the feature at every token does, at its largest activation on the texts.

    kl: of the plain predictions from the steered ones, nats a token; its null is the largest of
        `N_RANDOM` random directions of equal norm.
    up, down: tokens whose log-probability rises and falls most, mean over tokens of the texts.
    """

    strength: float
    kl: Estimate
    up: tuple[TokenEffect, ...]
    down: tuple[TokenEffect, ...]


@dataclass(frozen=True)
class ConceptScore:
    """A feature's held-out AUROC for a concept, turned by `sign` (-1: less of it speaks for it).

    auroc: its null is the 95 % quantile of the best of all features under random labels.
    p, q: as in `rank.Ranking`. position: where it was read.
    """

    concept: str
    position: str
    sign: int
    auroc: Estimate
    p: float
    q: float


@dataclass(frozen=True)
class Card:
    """One feature of one SAE on one model and set of texts.

    n_tokens: the first of each text left out, as in an evaluation (it counts in the steering effect
    alone). density: share of them at which the feature is active. logits: of its decoder row
    (scaled by the final norm's weights, centred over the vocabulary) through the unembedding, per
    unit of activation. nearest: features by cosine of decoder rows. steering: None where the
    feature is silent.
    """

    sae: str
    model: str
    point: str
    feature: int
    n_texts: int
    n_tokens: int
    density: float
    largest: float
    histogram: Histogram
    top: tuple[Passage, ...]
    bands: tuple[Band, ...]
    positive_logits: tuple[TokenEffect, ...]
    negative_logits: tuple[TokenEffect, ...]
    nearest: tuple[tuple[int, float], ...]
    concepts: tuple[ConceptScore, ...]
    steering: Steering | None

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values, with the schema number."""
        return {"schema": SCHEMA, **asdict(self)}


def make_cards(
    model: "HookedModel",
    sae: Sae,
    features: Sequence[int],
    texts: Sequence[Text],
    *,
    concepts: Sequence["Concept"] = (),
    n_permutations: int = 200,
    seed: int = 0,
) -> list[Card]:
    """Cards of the features, in the order given.

    texts: where activations, passages and steering effects come from.
    concepts: whose main examples the features are scored on, at the pack's first position.

    Raises: ModelMismatchError, SaeError: not this model's SAE, a transcoder, no such feature, or no
    text.
    """
    check_autoencoder(sae)
    encoded, acts = token_acts(model, sae, features, texts)
    if not any(len(e.ids) > 1 for e in encoded):
        raise SaeError(
            "A card needs texts to read the feature on: give at least one, of two tokens or more."
        )
    scores = [_concept_scores(model, sae, features, c, n_permutations=n_permutations, seed=seed)
              for c in concepts]
    rows = sae.W_dec.detach().float()
    unit = torch.nn.functional.normalize(rows, dim=-1)
    cards = []
    for column, feature in enumerate(features):
        mine = [a[:, column] for a in acts]
        flat = torch.cat([a[1:] for a in mine]).numpy()
        largest = float(flat.max(initial=0.0))
        positive, negative = _logits(model, rows[feature])
        cosines = unit @ unit[feature]
        cosines[feature] = -2  # not its own neighbour
        near = cosines.argsort(descending=True, stable=True)[:N_TOP].tolist()
        cards.append(Card(
            sae=sae.name, model=model.info.name, point=sae.point, feature=feature,
            n_texts=len(encoded), n_tokens=len(flat), density=float((flat != 0).mean()),
            largest=largest, histogram=_histogram(flat, largest),
            top=_strongest(encoded, mine), bands=_bands(encoded, mine, largest, seed),
            positive_logits=positive, negative_logits=negative,
            nearest=tuple((i, float(cosines[i])) for i in near if i != feature),
            concepts=tuple(s[column] for s in scores if s[column] is not None),  # type: ignore[misc]
            steering=_steering(model, sae, encoded[:N_STEERED], rows[feature] * largest,
                               strength=largest, seed=seed) if largest > 0 else None,
        ))
    return cards


def write_cards(cards: Sequence[Card], folder: Path) -> list[Path]:
    """Write `feature-N.json` for each card and `cards.parquet` with a row a card; the paths.

    In the table nested fields are JSON text, as `passages` in a run's features.parquet.
    """
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for card in cards:
        paths.append(folder / f"feature-{card.feature}.json")
        storage.write_json(paths[-1], card.to_json())
    rows = [
        {k: json.dumps(v, ensure_ascii=False) if isinstance(v, (dict, list, tuple)) else v
         for k, v in asdict(card).items()}
        for card in cards
    ]
    paths.append(folder / "cards.parquet")
    storage.write_table(paths[-1], pd.DataFrame(rows))
    return paths


def _histogram(acts: Float[np.ndarray, " n"], largest: float) -> Histogram:
    counts, edges = np.histogram(acts[acts > 0], bins=BINS, range=(0, largest or 1.0))
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()))


def _strongest(
    encoded: Sequence["Encoded"], acts: Sequence[Tensor]
) -> tuple[Passage, ...]:
    peaks = torch.stack([a.amax() for a in acts])
    best = peaks.argsort(descending=True, stable=True)[:N_TOP].tolist()
    return tuple(passage(i, encoded[i].tokens, acts[i]) for i in best if peaks[i] > 0)


def _bands(
    encoded: Sequence["Encoded"], acts: Sequence[Tensor], largest: float, seed: int
) -> tuple[Band, ...]:
    """Weak passages as well as strong ones: its maximum is not all that a feature does."""
    if largest <= 0:
        return ()
    peaks = np.array([float(a.amax()) for a in acts])
    band = np.where(peaks > 0, np.minimum((peaks / largest * BANDS).astype(int), BANDS - 1), -1)
    rng = np.random.default_rng(seed)
    out = []
    for k in reversed(range(BANDS)):
        mine = np.flatnonzero(band == k)
        few = rng.permutation(mine)[:N_EACH].tolist()
        out.append(Band(largest * k / BANDS, largest * (k + 1) / BANDS, len(mine),
                        tuple(passage(i, encoded[i].tokens, acts[i]) for i in few)))
    return tuple(out)


@torch.no_grad()
def _logits(
    model: "HookedModel", row: Float[Tensor, " d_in"], n: int = 10
) -> tuple[tuple[TokenEffect, ...], tuple[TokenEffect, ...]]:
    head = model.hf.get_output_embeddings().weight.float()  # [d_vocab d_model]
    if head.shape[1] != len(row):
        return (), ()  # an SAE inside a head or an MLP writes into no residual stream
    found = head @ (row.to(head) * _final_scale(model, len(row)).to(head))
    found = found - found.mean()
    order = found.argsort(descending=True, stable=True)
    return (_tokens(model, order[:n], found), _tokens(model, order.flip(0)[:n], found))


def _final_scale(model: "HookedModel", d_model: int) -> Float[Tensor, " d_model"]:
    """What the final norm multiplies each coordinate by, once the size is taken out.

    Read off what it makes of a vector of mean 0 and size 1: families store the weights in several
    ways (Gemma's are one less). Ones, where the model has no final norm.
    """
    from virtuelens.models.run import base_model

    named = [m for name, m in base_model(model.hf).named_children()
             if "norm" in name or name.startswith("ln_")]
    if not named or d_model % 2:
        return torch.ones(d_model)
    parameter = next(named[-1].parameters(), torch.zeros(1))
    signs = torch.ones(d_model, device=parameter.device, dtype=parameter.dtype)
    signs[1::2] = -1
    scale: Tensor = (named[-1](signs) - named[-1](-signs)) / 2 * signs  # biases cancel
    return scale.float()


def _tokens(model: "HookedModel", ids: Tensor, values: Tensor) -> tuple[TokenEffect, ...]:
    return tuple(
        TokenEffect(model.tokenizer.decode([i]), float(values[i])) for i in ids.tolist()
    )


def _concept_scores(
    model: "HookedModel", sae: Sae, features: Sequence[int], concept: "Concept",
    *, n_permutations: int, seed: int,
) -> list[ConceptScore | None]:
    """One a feature; None where it does not vary over the examples."""
    examples = concept.in_split("main")
    position = concept.positions[0]
    acts = feature_matrix(model, sae, [e.text for e in examples], position=position).numpy()
    labels = np.array([e.label for e in examples])
    groups = [e.group for e in examples]
    try:
        found = rank_features(acts, labels, groups=groups, pairs=[e.pair for e in examples],
                              n_top=0, n_permutations=n_permutations, seed=seed)
    except SaeError:
        return [None] * len(features)
    test = ~fitting_rows(groups, labels, seed)
    outside = [g for g, t in zip(groups, test, strict=True) if t]
    rows = found.table.set_index("feature")
    out: list[ConceptScore | None] = []
    for feature in features:
        if feature not in rows.index:
            out.append(None)
            continue
        row = dict(zip(rows.columns, rows.loc[feature].to_numpy(dtype=float).tolist(), strict=True))
        auroc = stats.auroc_estimate(
            acts[test, feature] * row["sign"], labels[test], outside, seed=seed,
            null=row["null"],
        )
        out.append(ConceptScore(concept.name, position, int(row["sign"]), auroc, row["p"],
                                row["q"]))
    return out


@dataclass(frozen=True, eq=False)
class _Write:
    """Adds a vector at every token."""

    point: str
    vector: Float[Tensor, " d_model"]

    def __call__(
        self, acts: Float[Tensor, "batch pos d_model"], seen: "Seen"  # noqa: ARG002 (an Edit)
    ) -> Float[Tensor, "batch pos d_model"]:
        return acts + self.vector.to(acts)


@torch.no_grad()
def _steering(
    model: "HookedModel", sae: Sae, encoded: Sequence["Encoded"], vector: Float[Tensor, " d_in"],
    *, strength: float, seed: int, n: int = 10,
) -> Steering:
    g = torch.Generator().manual_seed(seed)
    random = [torch.nn.functional.normalize(torch.randn(len(vector), generator=g), dim=0)
              * vector.norm().cpu() for _ in range(N_RANDOM)]
    edits = [_Write(sae.point, v) for v in (vector, *random)]
    kl: list[list[float]] = [[] for _ in edits]  # of each edit, per text
    shift, n_tokens = torch.zeros(1), 0
    for _, batch in batches(model, encoded, 2048):
        plain = _logprobs(model, batch, ())
        for i, edit in enumerate(edits):
            steered = _logprobs(model, batch, (edit,))
            each = (plain.exp() * (plain - steered)).sum(-1) * batch.real  # [batch pos]
            kl[i] += (each.sum(-1) / batch.real.sum(-1)).tolist()
            if i == 0:
                shift = shift.to(plain) + (steered - plain)[batch.real].sum(0)
        n_tokens += int(batch.real.sum())
    of_texts = np.array(kl[0])
    null = max(float(np.mean(k)) for k in kl[1:])
    shift = shift / n_tokens
    order = shift.argsort(descending=True, stable=True)
    return Steering(
        strength,
        stats.bootstrap(lambda r: float(of_texts[r].mean()), [str(i) for i in range(len(of_texts))],
                        n_draws=500, seed=seed, null=null),
        _tokens(model, order[:n], shift), _tokens(model, order.flip(0)[:n], shift),
    )


def _logprobs(model: "HookedModel", batch: Any, edits: Sequence[_Write]) -> Tensor:
    logits = model.run(batch, edits=edits, logits=True).logits
    assert logits is not None
    return logits.float().log_softmax(-1)
