"""SAE features for a concept, where an SAE trained on this very model is at hand.

The features go through the same splits and a null of their own search (`sparse_coding.rank`).
"""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from virtuelens import catalog, storage
from virtuelens.audits.config import AuditConfig
from virtuelens.errors import SaeError, StoreError
from virtuelens.probing.sweep import Sweep

if TYPE_CHECKING:
    from virtuelens.concepts.pack import Concept
    from virtuelens.models import HookedModel

N_PASSAGES = 3


@dataclass(frozen=True)
class Features:
    """The best features of one SAE for one concept: rows of features.parquet."""

    sae: str
    rows: list[dict[str, Any]]


def find_features(
    model: "HookedModel", concept: "Concept", found: Sweep, *, config: AuditConfig
) -> Features | None:
    """The features that tell the concept apart best; None where no SAE of this model is at hand."""
    from virtuelens.sparse_coding import feature_matrix, load_sae, passages, rank_features

    name = sae_of(model.info.fingerprint)
    if name is None:
        return None
    sae = load_sae(name, device=model.info.device)
    examples = concept.in_split("main")
    texts = [e.text for e in examples]
    acts = feature_matrix(model, sae, texts, position=found.selected.site.position)
    try:
        ranking = rank_features(
            acts.numpy(),
            labels=np.array([e.label for e in examples], dtype=np.int64),
            groups=[e.group for e in examples], pairs=[e.pair for e in examples],
            n_top=config.n_features, n_permutations=config.n_permutations,
            n_bootstrap=config.n_bootstrap, seed=config.seed,
        )
    except SaeError:
        return Features(name, [])  # no feature varies over these examples: that is the finding
    top = ranking.table.head(config.n_features)
    shown = passages(model, sae, [int(f) for f in top["feature"]], texts, n=N_PASSAGES)
    rows = []
    for _, row in top.iterrows():
        feature = int(row["feature"])
        rows.append({
            "sae": name, "feature": feature, "sign": int(row["sign"]), "auroc": float(row["auroc"]),
            "low": float(row["low"]), "high": float(row["high"]), "null": float(row["null"]),
            "density": float(row["density"]),
            "passages": json.dumps(
                [{"tokens": p.tokens, "acts": p.acts} for p in shown[feature]],
                ensure_ascii=False,
            ),
        })
    return Features(name, rows)


def sae_of(fingerprint: str) -> str | None:
    """Name of the first SAE found that was trained on these weights."""
    for name in catalog.names("saes", "cfg.json"):
        folder = catalog.find("saes", name, "cfg.json")
        assert folder is not None
        try:
            config = storage.read_json(folder / "cfg.json")
            if config["metadata"]["virtuelens"]["fingerprint"] == fingerprint:
                return name
        except (StoreError, KeyError, TypeError):
            continue  # not ours to judge here: `virtuelens sae` says what is wrong with it
    return None
