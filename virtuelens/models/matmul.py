"""Matrix products in fp32 on a CPU, by the faster of the two libraries that PyTorch carries.

PyTorch multiplies fp32 matrices with MKL, which on AMD processors leaves their widest registers
unused; oneDNN uses them. Both are fp32 throughout and differ by rounding. Measured on an AMD EPYC
with AVX-512, 2 cores: 230 against 490 GFLOP/s (benchmarks/matmul.py). Which is taken follows from
the processor, never from a timing, so that the same machine gives the same bits.
"""

import contextlib
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

SWITCH = "VIRTUELENS_MATMUL"
"""Environment variable: `torch` or `onednn`, where the choice by processor is not wanted."""
LEAST = 1 << 18
"""Smallest weight matrix (elements) for which the detour through Python is worth its time."""


# oneDNN keeps code for every shape it has met, a third of a MB each and 1,024 of them: a long
# harvest would grow by hundreds of MB. One forward pass needs ten at most. Read at first use.
for _cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_cache, "32")

_WIDEST: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
"""Elements of the largest matrix of models seen so far."""


@cache
def choice() -> str:
    """`onednn` where it is the faster one for fp32 on this processor, else `torch`."""
    asked = os.environ.get(SWITCH, "")
    if asked in {"torch", "onednn"}:
        return asked
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    known = torch.backends.mkldnn.is_available() and hasattr(  # type: ignore[no-untyped-call]
        torch.ops.mkldnn, "_linear_pointwise")
    return "onednn" if known and wide and _is_amd() else "torch"


@contextlib.contextmanager
def fast_matmul(hf: Any) -> Iterator[None]:
    """Run the body's forward passes with the faster products; no gradients are to be taken.

    Changes nothing on a GPU, in half precision, and in models whose matrices are all small.
    """
    with _OneDnn() if library(hf) == "onednn" else contextlib.nullcontext():
        yield


def library(hf: Any) -> str:
    """`onednn` where this model's products are taken over, else `torch`."""
    if choice() != "onednn" or hf.device.type != "cpu" or hf.dtype != torch.float32:
        return "torch"
    if hf not in _WIDEST:
        # the embedding does not count: it is looked up
        sizes = (p.numel() for n, p in hf.named_parameters() if p.ndim == 2 and "emb" not in n)
        _WIDEST[hf] = max(sizes, default=0)
    return "onednn" if _WIDEST[hf] >= LEAST else "torch"


class _OneDnn(TorchFunctionMode):
    """Linear layers (and GPT-2's `addmm`) go to oneDNN; all other functions are as they are."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is F.linear and not kwargs:
            x, weight, *rest = args
            if _suits(x, weight):
                return _product(x, weight, rest[0] if rest else None)
        elif func is torch.addmm and not kwargs and len(args) == 3:
            bias, x, weight = args
            if bias.ndim == 1 and _suits(x, weight):
                return _product(x, weight.t(), bias)
        return func(*args, **(kwargs or {}))


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


def _suits(x: Tensor, weight: Tensor) -> bool:
    return (
        weight.numel() >= LEAST and x.dtype == weight.dtype == torch.float32
        and x.device.type == "cpu" and not torch.is_grad_enabled() and x.numel() > 0
    )


def fast_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions of its own for bfloat16 products."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    info = Path("/proc/cpuinfo")
    if device.type != "cpu" or not info.is_file():
        return False
    text = info.read_text(errors="replace")[:4000]
    return "avx512_bf16" in text or "amx_bf16" in text


def _is_amd() -> bool:
    info = Path("/proc/cpuinfo")
    return info.is_file() and "AuthenticAMD" in info.read_text(errors="replace")[:4000]
