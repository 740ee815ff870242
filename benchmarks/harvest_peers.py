"""How others read the residual stream after one layer, each as its users call it.

All take strings and give every token's row (`[n_tokens d_model]`, texts in the order given), 16
texts at a time in the order of arrival, padded, as their documentation shows.
"""

import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from virtuelens.models import HookedModel

ROWS = 16
Job = Callable[[list[str]], torch.Tensor]


def peers(model: HookedModel, layer: int) -> dict[str, Job]:
    """Name -> from strings to rows, over the same weights."""
    import nnsight

    bridge, lens, hf = model.bridge, model.nnsight, model.hf
    point = f"blocks.{layer}.hook_resid_post"
    blocks = lens.transformer.h if hasattr(lens, "transformer") else lens.model.layers

    def padded(texts: list[str]) -> Iterator[tuple[Any, Any]]:
        tokenizer = model.tokenizer
        tokenizer.padding_side = "right"
        for start in range(0, len(texts), ROWS):
            batch = tokenizer(texts[start : start + ROWS], padding=True, return_tensors="pt")
            yield batch["input_ids"].to(hf.device), batch["attention_mask"].to(hf.device)

    def every(read: Callable[[Any, Any], Any]) -> Job:
        def job(texts: list[str]) -> torch.Tensor:
            with torch.no_grad():
                return torch.cat([
                    _first(read(ids, mask))[mask.bool()].cpu() for ids, mask in padded(texts)])

        return job

    def bridge_stopped(ids: Any, mask: Any) -> Any:
        kept: list[torch.Tensor] = []
        hooks = [(point, lambda acts, hook: kept.append(acts))]
        with bridge.hooks(fwd_hooks=hooks):
            bridge.forward(ids, attention_mask=mask, return_type=None, stop_at_layer=layer + 1)
        return kept[0]

    def bridge_cached(ids: Any, mask: Any) -> Any:
        return bridge.run_with_cache(ids, attention_mask=mask)[1][point]

    def nnsight_stopped(ids: Any, mask: Any) -> Any:
        with lens.trace({"input_ids": ids, "attention_mask": mask}) as tracer:
            out = nnsight.save(blocks[layer].output)
            tracer.stop()
        return out

    def nnsight_traced(ids: Any, mask: Any) -> Any:
        with lens.trace({"input_ids": ids, "attention_mask": mask}):
            out = nnsight.save(blocks[layer].output)
        return out  # noqa: RET504 (a trace's body cannot return)

    def plain(ids: Any, mask: Any) -> Any:
        out = hf(input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False)
        return out.hidden_states[layer + 1]

    jobs = {
        "TransformerBridge, stop_at_layer": every(bridge_stopped),
        "nnsight trace, stop": every(nnsight_stopped),
        "TransformerBridge run_with_cache": every(bridge_cached),
        "nnsight trace": every(nnsight_traced),
        "transformers, output_hidden_states": every(plain),
    }
    return jobs | {name: every(read) for name, read in installed(model, layer).items()}


def installed(model: HookedModel, layer: int) -> dict[str, Callable[[Any, Any], Any]]:
    """A peer that virtuelens does not need itself: pip install interp-engine.

    nnterp 1.3 does not import beside nnsight 0.8: harvest_nnterp.py gives it an environment.
    """
    if not find_spec("interp_engine"):
        return {}
    from interp_engine import Address, capture, load_model

    with tempfile.TemporaryDirectory() as folder:
        model.hf.save_pretrained(folder)
        model.tokenizer.save_pretrained(folder)
        engine = load_model(folder, backend="eager", device=str(model.hf.device),
                            dtype=model.info.dtype)
    point = Address("resid_post", layer)
    return {"interp-engine capture, eager": lambda ids, mask: capture(
        engine, ids, [point], attention_mask=mask)[point]}


WELL_USED = ("TransformerBridge, stop_at_layer", "nnsight trace, stop")
DEFAULT = ("TransformerBridge run_with_cache", "nnsight trace")


def saelens(model: HookedModel, layer: int, texts: list[str]) -> Callable[[], int]:
    """SAELens' CacheActivationsRunner on the same weights; gives how many tokens it cached.

    It packs texts end to end into contexts of 128 tokens, so its rows are not those of the texts.
    """
    from datasets import Dataset
    from sae_lens import CacheActivationsRunner, CacheActivationsRunnerConfig

    folder = Path(tempfile.mkdtemp())
    model.hf.save_pretrained(folder / "model")
    model.tokenizer.save_pretrained(folder / "model")
    ids = [model.tokenizer(t)["input_ids"] for t in texts]
    n_tokens = sum(map(len, ids)) // (ROWS * 128) * ROWS * 128
    data = Dataset.from_dict({"text": texts})

    def job() -> int:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            config = CacheActivationsRunnerConfig(
                dataset_path="", model_name=str(folder / "model"), model_batch_size=ROWS,
                model_class_name="AutoModelForCausalLM", hook_name=f"model.layers.{layer}",
                d_in=model.info.d_model, training_tokens=n_tokens, context_size=128,
                new_cached_activations_path=f"{out}/cache", shuffle=False, streaming=False,
                buffer_size_gb=(n_tokens + 1) * model.info.d_model * model.hf.dtype.itemsize / 1e9,
                dtype=model.info.dtype, prepend_bos=False)  # one buffer: else it caches 2 GB
            CacheActivationsRunner(config, override_dataset=data).run()
        return n_tokens

    return job


def _first(out: Any) -> Any:
    return out[0] if isinstance(out, tuple) else out
