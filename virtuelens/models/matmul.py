"""Matrix products in fp32 on a CPU, by the faster of the two libraries that PyTorch carries.

PyTorch multiplies fp32 matrices with MKL, which on AMD processors leaves their widest registers
unused; oneDNN uses them. Both are fp32 throughout and differ by rounding. Measured on an AMD EPYC
with AVX-512, 2 cores: 230 against 490 GFLOP/s (benchmarks/matmul.py). Which is taken follows from
the processor, never from a timing, so that the same machine gives the same bits.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

SWITCH = "VIRTUELENS_MATMUL"
"""Environment variable: `torch` or `onednn`, where the choice by processor is not wanted."""
LEAST = 1 << 18
"""Smallest weight matrix (elements) whose product gains from oneDNN."""


# oneDNN keeps code for every shape it has met, a third of a MB each and 1,024 of them: a long
# harvest would grow by hundreds of MB. One forward pass needs ten at most. Read at first use.
for _cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_cache, "32")

_LAYERS: WeakKeyDictionary[Any, list[nn.Module]] = WeakKeyDictionary()
"""Layers of models seen so far whose products are worth taking over."""
_TAKEN: WeakKeyDictionary[Any, tuple[int, list[Any]]] = WeakKeyDictionary()
"""Models whose layers are taken over now: by how many threads, and what stood there before."""
_LOCK = threading.Lock()


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

    Changes nothing on a GPU, in half precision, and in models whose matrices are all small. The
    layers themselves are given another `forward` for the time, since to intercept every function
    called costs a small model 5 % of a decoding step.
    """
    if library(hf) != "onednn":
        yield
        return
    with _LOCK:
        count, before = _TAKEN.get(hf) or (0, [_take_over(layer) for layer in _LAYERS[hf]])
        _TAKEN[hf] = count + 1, before
    try:
        yield
    finally:
        with _LOCK:
            count, before = _TAKEN.pop(hf)
            if count > 1:
                _TAKEN[hf] = count - 1, before
            else:
                for layer, forward in zip(_LAYERS[hf], before, strict=True):
                    _give_back(layer, forward)


def library(hf: Any) -> str:
    """`onednn` where this model's products are taken over, else `torch`."""
    if choice() != "onednn" or hf.device.type != "cpu" or hf.dtype != torch.float32:
        return "torch"
    if hf not in _LAYERS:
        layers = [m for m in hf.modules() if _suits(m)]
        # a head that shares its weights with the embedding does not decide: few runs reach it
        own = {id(p) for name, p in hf.named_parameters() if "emb" not in name}
        _LAYERS[hf] = layers if any(id(m.weight) in own for m in layers) else []
    return "onednn" if _LAYERS[hf] else "torch"


def _suits(layer: nn.Module) -> bool:
    """Whether it is an ordinary layer with a large weight, not moved about by accelerate."""
    return (
        type(layer) in (nn.Linear, Conv1D) and "_hf_hook" not in layer.__dict__
        and layer.weight.numel() >= LEAST  # type: ignore[union-attr,operator]
    )


def _take_over(layer: Any) -> Any:
    """Give the layer the fast forward; gives back the one set on it before, if any."""
    before = layer.__dict__.get("forward")
    transposed = type(layer) is Conv1D  # its weight is [d_in d_out]

    def forward(input: Tensor) -> Tensor:
        weight, bias = layer.weight, layer.bias
        if transposed:
            weight = weight.t()
        if input.dtype == weight.dtype == torch.float32 and input.device.type == "cpu" \
                and not torch.is_grad_enabled() and input.numel() > 0:
            return _product(input, weight, bias)
        return F.linear(input, weight, bias)

    layer.__dict__["forward"] = forward
    return before


def _give_back(layer: Any, forward: Any) -> None:
    if forward is None:
        del layer.__dict__["forward"]
    else:
        layer.__dict__["forward"] = forward


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


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
