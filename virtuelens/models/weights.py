"""A look at every weight: is it finite, and what are they all together (the fingerprint)."""

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor, nn

from virtuelens.errors import NotFiniteError

PART = 1 << 22
"""Numbers of a weight that are looked at together: as fp32, all of a large one is gigabytes."""


class _Look(NamedTuple):
    line: str
    finite: bool


def fingerprint(hf: nn.Module) -> str:
    """SHA-256 over names, shapes and values of all weights, sorted by name; all must be finite.

    Values are hashed as fp32, so that the same numbers in another precision (a bf16 checkpoint on
    a CPU and on a GPU) are the same model, while rounding them to fewer digits makes another one.

    Raises: NotFiniteError: naming the weight and its layer.
    """
    weights = sorted(hf.named_parameters())
    with ThreadPoolExecutor() as pool:  # hashing releases the GIL
        looks = list(pool.map(lambda item: _look(*item), weights))
    for (name, _), look in zip(weights, looks, strict=True):
        if not look.finite:
            raise NotFiniteError(
                f"NaN or infinity in the weights: {_layer(name)}{name}. The checkpoint is damaged "
                "or its training diverged: take another one."
            )
    return hashlib.sha256("\n".join(look.line for look in looks).encode()).hexdigest()


def _look(name: str, weight: Tensor) -> _Look:
    digest, finite = hashlib.sha256(), True
    for part in torch.split(weight.detach().reshape(-1), PART):
        values = part.to("cpu", torch.float32)
        digest.update(values.numpy().data)
        finite = finite and bool(torch.isfinite(values).all())
    shape = "x".join(str(n) for n in weight.shape)
    return _Look(f"{name} {shape} {digest.hexdigest()}", finite)


def _layer(name: str) -> str:
    found = re.search(r"\.(\d+)\.", name)
    return f"layer {found[1]}, " if found else ""
