"""How good an SAE is on its model: sparsity, explained variance, and what the model loses with it.

1. Read the activations of all texts at the SAE's point; their mean is the baseline.
2. Run the model four times on each batch: clean, with the SAE's reconstruction in place of the
   activations, with zeros, and with the mean.
3. Cross-entropy recovered = (ablated - SAE) / (ablated - clean): 1 where the reconstruction serves
   the model as well as the activations do, 0 where it is no better than the ablation. KL recovered
   is the same of the divergence from the clean predictions.

A text's first token is left as it is and counts nowhere: attention is parked there, and its norm,
in many models a hundred times that of others, would make every figure one about this token.

Intervals resample texts. Tokens of one text are not independent.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens import stats, storage
from virtuelens.errors import NotFiniteError, SaeError
from virtuelens.sparse_coding.features import batches, counted
from virtuelens.sparse_coding.sae import Sae, check_autoencoder, check_fits, encode, reconstruct
from virtuelens.values.estimates import Estimate
from virtuelens.values.texts import Text

if TYPE_CHECKING:
    from virtuelens.models import HookedModel
    from virtuelens.models.chat import Encoded
    from virtuelens.models.run import Batch, Edit, Seen

DENSE = 0.1
"""A feature active in more than this share of tokens is called dense."""

SCHEMA = 1
EVALUATION = "evaluation.json"


@dataclass(frozen=True)
class Reconstruction:
    """The SAE's reconstruction in place of the activations (an edit for `HookedModel.run`)."""

    point: str
    sae: Sae

    def __call__(
        self, acts: Float[Tensor, "batch pos d_model"], seen: "Seen"
    ) -> Float[Tensor, "batch pos d_model"]:
        """What the SAE makes of the activations, but for each row's first token."""
        return _after_first(reconstruct(self.sae, acts).to(acts), acts, seen)


@dataclass(frozen=True)
class Replacement:
    """One vector in place of the activations (an edit for `HookedModel.run`)."""

    point: str
    vector: Float[Tensor, " d_model"]

    def __call__(
        self, acts: Float[Tensor, "batch pos d_model"], seen: "Seen"
    ) -> Float[Tensor, "batch pos d_model"]:
        """The vector at every token but each row's first."""
        return _after_first(self.vector.to(acts).expand_as(acts), acts, seen)


def _after_first(new: Tensor, acts: Tensor, seen: "Seen") -> Tensor:
    return torch.where((seen.index > 0)[..., None].to(acts.device), new, acts)


@dataclass(frozen=True)
class Evaluation:
    """Measurements of one SAE on one model and set of texts.

    l0: active features per token.
    explained_variance: 1 - fvu; null 0 is predicting the mean.
    ce_loss_recovered: against zero ablation; ce_loss_recovered_mean: against mean ablation (the
        harder baseline); null 0 by definition; None where the ablation costs the model nothing.
    kl_recovered, kl_recovered_mean: the same of `kl`, which the clean model has at 0.
    ce_*: cross-entropy of the next token, nats.
    kl: of the clean predictions from the spliced ones, nats a token; null: the mean ablation.
    dead_features: never active on these tokens. dense_features: active in over `DENSE` of them.
    """

    sae: str
    model: str
    point: str
    n_texts: int
    n_tokens: int  # the first of each text left out
    l0: Estimate
    explained_variance: Estimate
    fvu: Estimate
    ce_loss_recovered: Estimate | None
    ce_loss_recovered_mean: Estimate | None
    kl: Estimate
    kl_recovered: Estimate | None
    kl_recovered_mean: Estimate | None
    ce_clean: float
    ce_sae: float
    ce_zero: float
    ce_mean: float
    dead_features: int
    dense_features: int
    d_sae: int

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values, with the schema number."""
        return {"schema": SCHEMA, **asdict(self)}


def write_evaluation(evaluation: Evaluation, folder: Path) -> Path:
    """Write `evaluation.json` beside the SAE; the path of the file."""
    path = folder / EVALUATION
    storage.write_json(path, evaluation.to_json())
    return path


@torch.no_grad()
def evaluate(
    model: "HookedModel",
    sae: Sae,
    texts: Sequence[Text],
    *,
    batch_tokens: int = 2048,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """The SAE measured on texts that it was not trained on (which is for the caller to see to).

    progress: called with tokens done and tokens in all.

    Raises: ModelMismatchError, SaeError: not this model's SAE, or fewer than two texts of three
    tokens. NotFiniteError: the model overflows at the SAE's point.
    """
    check_autoencoder(sae)
    check_fits(sae, model)
    encoded = [model.encode(text) for text in texts]
    encoded = [e for e in encoded if len(e.ids) > 2]  # one token that counts has to predict another
    if len(encoded) < 2:
        raise SaeError(
            "An evaluation needs at least two texts of three tokens or more, there are "
            f"{len(encoded)}."
        )
    total = sum(len(e.ids) - 1 for e in encoded)
    mean = _mean_activation(model, sae, encoded, batch_tokens)
    sums, counts, done = [], torch.zeros(sae.d_sae), 0
    for _, batch in batches(model, encoded, batch_tokens):
        rows, active = _measure(model, sae, batch, mean)
        sums.append(rows)
        counts += active
        done += int(counted(batch).sum())
        progress(done, total)
    per_text = {key: np.concatenate([s[key] for s in sums]) for key in sums[0]}
    return _evaluation(model, sae, per_text, counts / total, seed=seed)


def _measure(
    model: "HookedModel", sae: Sae, batch: "Batch", mean: Float[Tensor, " d_model"]
) -> tuple[dict[str, Any], Float[Tensor, " d_sae"]]:
    """Sums over each text's tokens, and in how many tokens each feature is active."""
    clean = model.run(batch, read=[sae.point], logits=True)
    acts = clean.acts[sae.point].float()
    feature_acts = encode(sae, acts)
    counts = counted(batch)  # [batch pos]
    active = (feature_acts != 0) & counts[..., None].to(feature_acts.device)
    error = (acts - reconstruct(sae, acts).to(acts)).square().sum(-1)  # [batch pos]
    spread = (acts - mean).square().sum(-1)
    reference = _logprobs(clean.logits)
    predicts = counts[:, :-1] & batch.real[:, 1:]
    rows = {
        "tokens": counts.sum(-1), "predicted": predicts.sum(-1),
        "l0": active.sum((-1, -2)),
        "error": (error * counts).sum(-1), "spread": (spread * counts).sum(-1),
        "ce_clean": (_cross_entropy(reference, batch) * predicts).sum(-1),
    }
    edits: dict[str, Edit] = {
        "sae": Reconstruction(sae.point, sae),
        "zero": Replacement(sae.point, torch.zeros_like(mean)),
        "mean": Replacement(sae.point, mean),
    }
    for name, edit in edits.items():
        spliced = _logprobs(model.run(batch, edits=[edit], logits=True).logits)
        kl = (reference.exp() * (reference - spliced)).sum(-1)
        rows[f"ce_{name}"] = (_cross_entropy(spliced, batch) * predicts).sum(-1)
        rows[f"kl_{name}"] = (kl * counts).sum(-1)
    return (
        {key: value.double().cpu().numpy() for key, value in rows.items()},
        active.sum((0, 1)).float().cpu(),
    )


def _evaluation(
    model: "HookedModel", sae: Sae, sums: dict[str, Any], density: Float[Tensor, " d_sae"],
    *, seed: int,
) -> Evaluation:
    texts = [str(i) for i in range(len(sums["tokens"]))]

    def ratio(over: Callable[[dict[str, float]], float], null: float | None) -> Estimate:
        return stats.bootstrap(
            lambda rows: over({key: value[rows].sum() for key, value in sums.items()}),
            texts, seed=seed, null=null,
        )

    whole = {key: float(value.sum()) for key, value in sums.items()}

    def recovered(ablation: str) -> Estimate | None:
        if whole[f"ce_{ablation}"] <= whole["ce_clean"]:
            return None
        return ratio(lambda s: _recovered(s, ablation), 0.0)

    def kl_recovered(ablation: str) -> Estimate | None:
        if whole[f"kl_{ablation}"] <= 0:
            return None
        return ratio(lambda s: 1 - s["kl_sae"] / s[f"kl_{ablation}"], 0.0)

    kl_null = whole["kl_mean"] / whole["tokens"]
    return Evaluation(
        sae=sae.name, model=model.info.name, point=sae.point,
        n_texts=len(texts), n_tokens=int(whole["tokens"]),
        l0=ratio(lambda s: s["l0"] / s["tokens"], None),
        explained_variance=ratio(lambda s: 1 - s["error"] / s["spread"], 0.0),
        fvu=ratio(lambda s: s["error"] / s["spread"], 1.0),
        ce_loss_recovered=recovered("zero"), ce_loss_recovered_mean=recovered("mean"),
        kl=ratio(lambda s: s["kl_sae"] / s["tokens"], kl_null),
        kl_recovered=kl_recovered("zero"), kl_recovered_mean=kl_recovered("mean"),
        **{f"ce_{name}": whole[f"ce_{name}"] / whole["predicted"]
           for name in ("clean", "sae", "zero", "mean")},
        dead_features=int((density == 0).sum()), dense_features=int((density > DENSE).sum()),
        d_sae=sae.d_sae,
    )


def _recovered(sums: dict[str, float], ablation: str) -> float:
    lost = sums[f"ce_{ablation}"] - sums["ce_clean"]
    if lost <= 0:
        raise ValueError("the ablation costs nothing in this draw: the share is undefined")
    return (sums[f"ce_{ablation}"] - sums["ce_sae"]) / lost


def _mean_activation(
    model: "HookedModel", sae: Sae, encoded: Sequence["Encoded"], batch_tokens: int
) -> Float[Tensor, " d_model"]:
    total, n = torch.zeros(sae.d_in, dtype=torch.float64), 0
    for _, batch in batches(model, encoded, batch_tokens):
        acts = model.run(batch, read=[sae.point]).acts[sae.point][counted(batch)]  # [n d_model]
        total += acts.double().sum(0).cpu()
        n += len(acts)
    if not total.isfinite().all():
        raise NotFiniteError(
            f"NaN or infinity at {sae.point} of {model.info.name}: load the model in float32, or "
            "check its weights."
        )
    return (total / n).float().to(model.hf.device)


def _logprobs(logits: Tensor | None) -> Tensor:
    assert logits is not None
    return logits.float().log_softmax(-1)


def _cross_entropy(logprobs: Tensor, batch: "Batch") -> Tensor:
    """Of each next token, `[batch pos-1]`."""
    return -logprobs[:, :-1].gather(-1, batch.tokens[:, 1:, None])[..., 0]
