"""What an SAE's features do on texts: pooled for ranking, token by token for reading.

Features are wide (thousands a token), so they are never stored for all tokens: each batch is read,
encoded and reduced at once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from virtuelens.activations.positions import POSITIONS
from virtuelens.errors import PositionError, SaeError
from virtuelens.sparse_coding.sae import Sae, check_fits, encode, features_encoder
from virtuelens.values.texts import Text

if TYPE_CHECKING:
    from virtuelens.models import HookedModel
    from virtuelens.models.chat import Encoded
    from virtuelens.models.run import Batch

POOLS: dict[str, Callable[[Float[Tensor, "tokens d_sae"]], Float[Tensor, " d_sae"]]] = {
    "max": lambda feature_acts: feature_acts.amax(0),
    "mean": lambda feature_acts: feature_acts.mean(0),
}
"""How the chosen tokens of a text become one number per feature."""

WINDOW = 24
"""Tokens shown on either side of a passage's strongest token."""


@dataclass(frozen=True)
class Passage:
    """A stretch of text around the token where a feature is strongest.

    acts: the feature's activation at each of `tokens`. text: which of the texts it is from.
    """

    text: int
    peak: float
    tokens: tuple[str, ...]
    acts: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)


@torch.no_grad()
def feature_matrix(
    model: "HookedModel",
    sae: Sae,
    texts: Sequence[Text],
    *,
    position: str = "last",
    pool: str = "max",
    batch_tokens: int = 4096,
) -> Float[Tensor, "n d_sae"]:
    """Feature activations of each text, in the order given (fp32, on the CPU).

    position: row of the positions table, which chooses the tokens; pool: row of POOLS. Features
    are pooled after encoding: the SAE never sees an average of activations.

    Raises: ModelMismatchError, SaeError: not this model's SAE, or an unknown pool or position.
    PositionError: a text has no such place.
    """
    check_fits(sae, model)
    _check_known(position, POSITIONS)
    _check_known(pool, POOLS)
    encoded = [model.encode(text) for text in texts]
    places = _places(position, texts, encoded)
    out = torch.zeros(len(encoded), sae.d_sae)
    for rows, batch in batches(model, encoded, batch_tokens):
        acts = model.run(batch, read=[sae.point]).acts[sae.point]
        chosen = [places[row] for row in rows]
        flat = torch.cat([acts[i, tokens] for i, tokens in enumerate(chosen)])
        sizes = [len(tokens) for tokens in chosen]
        feature_acts = torch.split(encode(sae, flat).float().cpu(), sizes)
        for row, one in zip(rows, feature_acts, strict=True):
            out[row] = POOLS[pool](one)
    return out


@torch.no_grad()
def token_rows(
    model: "HookedModel",
    sae: Sae,
    texts: Sequence[Text],
    *,
    position: str = "tokens",
    batch_tokens: int = 4096,
) -> tuple[Float[Tensor, "n d_in"], Int[np.ndarray, " n"]]:
    """Activations of every token that the position chooses, and the text that each is of.

    In the order of the texts: what `search_features` takes. On the CPU, in the model's precision.

    Raises: ModelMismatchError, SaeError: not this model's SAE, or an unknown position.
    PositionError: a text has no such place.
    """
    check_fits(sae, model)
    _check_known(position, POSITIONS)
    encoded = [model.encode(text) for text in texts]
    places = _places(position, texts, encoded)
    rows: list[Tensor] = [torch.zeros(0, sae.d_in)] * len(encoded)
    for batch_rows, batch in batches(model, encoded, batch_tokens):
        acts = model.run(batch, read=[sae.point]).acts[sae.point].cpu()
        for i, row in enumerate(batch_rows):
            rows[row] = acts[i, places[row]]
    owner = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
    return torch.cat(rows) if rows else torch.zeros(0, sae.d_in), owner


@torch.no_grad()
def passages(
    model: "HookedModel",
    sae: Sae,
    features: Sequence[int],
    texts: Sequence[Text],
    *,
    n: int = 5,
    batch_tokens: int = 4096,
) -> dict[int, tuple[Passage, ...]]:
    """For each feature the `n` texts in which it is strongest, strongest first.

    A feature that is silent on all texts has none. A text's first token counts as silent.

    Raises: ModelMismatchError, SaeError: not this model's SAE, or no such feature.
    """
    encoded, acts = token_acts(model, sae, features, texts, batch_tokens=batch_tokens)
    columns = list(features)
    if not encoded:
        return dict.fromkeys(columns, ())
    peaks = torch.stack([a.amax(0) for a in acts])  # [text feature]
    out = {}
    for column, feature in enumerate(columns):
        best = peaks[:, column].argsort(descending=True, stable=True)[:n].tolist()
        out[feature] = tuple(
            passage(row, encoded[row].tokens, acts[row][:, column])
            for row in best if peaks[row, column] > 0
        )
    return out


@torch.no_grad()
def token_acts(
    model: "HookedModel", sae: Sae, features: Sequence[int], texts: Sequence[Text], *,
    batch_tokens: int = 4096,
) -> tuple[list["Encoded"], list[Float[Tensor, "_ chosen"]]]:
    """The texts as tokens, and the features' activations at each of them (fp32, on the CPU).

    A text's first token has 0: it is left out here as it is of an evaluation (see `evaluate`), or
    the strongest token of most features would be this one.

    Raises: ModelMismatchError, SaeError: not this model's SAE, or no such feature.
    """
    check_fits(sae, model)
    some = features_encoder(sae, features) if features else lambda read: read[..., :0]
    encoded = [model.encode(text) for text in texts]
    acts: list[Tensor] = [torch.zeros(0, len(features))] * len(encoded)
    for rows, batch in batches(model, encoded, batch_tokens):
        chosen = some(model.run(batch, read=[sae.point]).acts[sae.point]).float().cpu()
        for i, row in enumerate(rows):
            acts[row] = chosen[i, : len(encoded[row].ids)]
            acts[row][:1] = 0
    return encoded, acts


def counted(batch: "Batch") -> Bool[Tensor, "batch pos"]:
    """Every real token but the first of each text."""
    return batch.real & (batch.seen.index > 0)


def batches(
    model: "HookedModel", encoded: Sequence["Encoded"], batch_tokens: int
) -> Iterator[tuple[list[int], "Batch"]]:
    """Texts of like length together, padded on the right, with which texts they are.

    A batch holds at most about `batch_tokens` tokens, padding included.
    """
    rows: list[int] = []
    for row in sorted(range(len(encoded)), key=lambda i: len(encoded[i].ids)):
        if rows and (len(rows) + 1) * len(encoded[row].ids) > batch_tokens:
            yield rows, model.batch([encoded[i] for i in rows], side="right")
            rows = []
        rows.append(row)
    if rows:
        yield rows, model.batch([encoded[i] for i in rows], side="right")


def _places(
    position: str, texts: Sequence[Text], encoded: Sequence["Encoded"]
) -> list[list[int]]:
    """The tokens of each text that the position chooses, as a harvest chooses them."""
    row, places = POSITIONS[position], []
    for i, (text, e) in enumerate(zip(texts, encoded, strict=True)):
        if row.own_words and text.raw is None and text.response is None:
            raise PositionError(
                f"Text {i}: the chat has no response, so its last token is the template's and "
                f"{position!r} has nothing to read: end it with an assistant's turn, or read "
                "last_prompt."
            )
        places.append(list(row.pick(e)))
    return places


def _check_known(name: str, table: Mapping[str, object]) -> None:
    if name not in table:
        raise SaeError(f"Unknown position or pool {name!r}: choose from {', '.join(table)}.")


def passage(text: int, tokens: Sequence[str], acts: Float[Tensor, " pos"]) -> Passage:
    """The stretch of one text around the token where the feature is strongest."""
    peak = int(acts.argmax())
    shown = slice(max(peak - WINDOW, 0), peak + WINDOW + 1)
    return Passage(
        text, float(acts[peak]), tuple(tokens[shown]),
        tuple(round(a, 4) for a in acts[shown].tolist()),
    )
