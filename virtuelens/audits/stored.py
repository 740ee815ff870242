"""SAE features of a store's own activations, for the probe families that read features."""

from typing import TYPE_CHECKING

import torch

from virtuelens.audits.features import sae_of
from virtuelens.errors import HookPointError, PositionError, ProbeError
from virtuelens.probing.bags import TOKENS, at_site, one_row_each, tokens_of
from virtuelens.probing.comparison import Features
from virtuelens.probing.data import Site
from virtuelens.probing.probes import examples_of

if TYPE_CHECKING:
    from virtuelens.activations.activations import Activations

SINGLE = ("last", "last_prompt")
"""Positions of one token, the first of which is read where no tokens were kept."""


def stored_features(activations: "Activations", sae: str | None = None) -> Features:
    """The features of one SAE on the main set: the maximum over tokens, or at one token.

    sae: name or folder; None takes the first at hand that was trained on these weights.
    Means of tokens are never read: no SAE was trained on them.

    Raises: ProbeError: no SAE of this model is at hand. SaeError, ModelMismatchError: not one for
    these weights. HookPointError, PositionError: the store lacks its point, or has means only.
    """
    from virtuelens.sparse_coding import load_sae
    from virtuelens.sparse_coding.rows import features_of_rows

    name = sae or sae_of(activations.info.fingerprint)
    if name is None:
        raise ProbeError(
            "No sparse autoencoder of this model is at hand: train one with virtuelens sae train, "
            "or name one with --sae."
        )
    loaded = load_sae(name)
    if loaded.point not in activations.points:
        raise HookPointError(
            f"{loaded.name} reads {loaded.point}, this store holds "
            f"{', '.join(activations.points)}: harvest that point too."
        )
    main = activations.where(activations.index["split"] == "main")
    site = Site(loaded.point, _position(main))
    given = tokens_of(main, site.point) if site.position == TOKENS else at_site(
        examples_of(main), site)
    matrix = features_of_rows(
        loaded, torch.from_numpy(given.bags.values).float(), given.bags.sizes.tolist(),
        fingerprint=activations.info.fingerprint,
    )
    return Features(loaded.name, site, one_row_each(
        matrix.numpy(), given.labels, groups=given.groups, pairs=given.pairs,
    ))


def _position(activations: "Activations") -> str:
    for position in (TOKENS, *SINGLE):
        if position in activations.positions:
            return position
    raise PositionError(
        f"This store holds {', '.join(activations.positions)}, and an SAE reads single tokens: "
        "harvest tokens, last or last_prompt."
    )
