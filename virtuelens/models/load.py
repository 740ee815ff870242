"""`load_model`: from a name to a verified `HookedModel`.

1. What does the name mean, and can that be loaded at all?      (sources)
2. Configuration, tokenizer, weights through transformers; safetensors only.
3. Every weight is finite; together they are the fingerprint.   (weights)
4. Hook points through TransformerLens' adapters.               (points)
5. Checked on a small batch before anybody relies on it.        (verify)
"""

import contextlib
import copy
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from virtuelens.errors import ModelLoadError
from virtuelens.models.chat import PLAIN_TEMPLATE
from virtuelens.models.hooked import HookedModel
from virtuelens.models.matmul import fast_bfloat16
from virtuelens.models.points import find_places, n_layers, without_parts
from virtuelens.models.sources import Source, find_source
from virtuelens.models.traced import Remote, Trace, check_key, open_remote
from virtuelens.models.verify import verify as run_checks
from virtuelens.models.weights import fingerprint
from virtuelens.storage import sha256_text
from virtuelens.values.models import ModelInfo

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
GAINS_FROM = 20_000_000
"""Parameters from which bfloat16 is worth its rounding."""
_UNBOUNDED = 2**31 - 1
DTYPE_VARIABLE, DEVICE_VARIABLE = "VIRTUELENS_DTYPE", "VIRTUELENS_DEVICE"
_CONTEXT_FIELDS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx")


def load_model(
    name: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    device_map: str | Mapping[str, str | int] | None = None,
    trust_remote_code: bool = False,
    verify: bool = True,
    engine: str = "hooks",
    remote: Remote = False,
) -> HookedModel:
    """The model that `name` means, hooked and checked.

    name: a Hugging Face id (`owner/model` or `owner/model@revision`), a local directory, or
        `organism:NAME`.
    dtype: float32, bfloat16 or float16; auto is float32 on a CPU (exact and comparable), and what
        the checkpoint says on a GPU; fast is bfloat16 where the device multiplies it faster and
        the model is large enough to gain, else as auto.
    device: as in torch; auto is the first CUDA GPU, else the CPU. What is auto the
        environment may settle (VIRTUELENS_DTYPE, VIRTUELENS_DEVICE), as `virtuelens --dtype T
        --device D COMMAND` does.
    device_map: spread the layers over several devices, as in transformers: "auto" uses every GPU,
        a mapping says which part goes where. All weights must be in memory: none is offloaded.
    trust_remote_code: run Python code that comes with the checkpoint; only for those you trust.
    verify: run the checks of `virtuelens.models.verify` (well under a second on small models).
    engine: hooks (our own), or nnsight: reads and edits go through its trace.
    remote: with nnsight, the weights stay on the server that it is configured for; `"local"` tries
        the same without a server. See `virtuelens.models.traced`.

    Raises: ModelLoadError: it cannot be found, read or used; the message says what to do.
    RemoteError: no key for the server. NotFiniteError: NaN or infinity in its weights.
    """
    if engine not in {"hooks", "nnsight"} or (remote and engine != "nnsight"):
        raise ModelLoadError(f"Unknown engine {engine!r} (remote={remote!r}): use hooks, or "
                             "nnsight, which alone can run remotely.")
    if remote is True:
        return _elsewhere(name)
    source = find_source(name)
    device = os.environ.get(DEVICE_VARIABLE, "auto") if device == "auto" else device
    dtype = os.environ.get(DTYPE_VARIABLE, "auto") if dtype == "auto" else dtype
    where = _device(device)
    precision = _dtype(dtype, where)
    with quiet():
        try:
            config = _config(name, source, trust_remote_code)
            if dtype == "fast":
                precision = _fastest(config, where)
            tokenizer = _tokenizer(name, source, trust_remote_code)
            hf, report = transformers.AutoModelForCausalLM.from_pretrained(
                source.target, revision=source.revision, config=config, dtype=precision,
                use_safetensors=True, trust_remote_code=trust_remote_code, output_loading_info=True,
                device_map=dict(device_map) if isinstance(device_map, Mapping) else device_map,
            )  # fmt: skip
            if device_map is None:
                hf = hf.to(where)
        except ModelLoadError:
            raise
        except Exception as error:  # transformers and its readers raise many kinds
            raise ModelLoadError(_explain(name, source, error)) from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise ModelLoadError(
            f"{name} lacks {len(missing)} of the weights its config.json asks for ({missing[0]}): "
            "the files do not belong together, or a shard is missing. Fetch the checkpoint again."
        )
    away = [n for n, p in hf.named_parameters() if p.device.type == "meta"]
    if away:
        raise ModelLoadError(
            f"{name} does not fit: {len(away)} of its weights ({away[0]}, ...) would be read from "
            "disk in every pass. Use more or larger GPUs, dtype='bfloat16', or engine='nnsight' "
            "with a server."
        )
    model = hook(hf, tokenizer, name=name, verify=verify)
    return model if engine == "hooks" else replace(model, trace=Trace(model.nnsight, remote))


def _elsewhere(name: str) -> HookedModel:
    """A model whose weights are on a server: its parts are known, its weights are not."""
    check_key()
    with quiet():
        try:
            tokenizer = _tokenizer(name, Source(name, local=False), trust_remote_code=False)
        except Exception as error:  # transformers and its readers raise many kinds
            raise ModelLoadError(f"Could not read the tokenizer of {name}: {error}") from error
        lens = open_remote(name, tokenizer)
    hf = lens._module
    places = find_places(hf, name=name)
    config = hf.config.to_json_string()
    about = _info(hf, tokenizer, name, layers=n_layers(places),
                  weights=f"on a server, configuration {sha256_text(config)[:16]}")
    return HookedModel(replace(about, device="remote"), hf, tokenizer, places,
                       trace=Trace(lens, remote=True))


def hook(hf: Any, tokenizer: Any, *, name: str, verify: bool = True) -> HookedModel:
    """A `HookedModel` around a transformers model that is already in memory.

    The model is put in evaluation mode and its gradients are switched off.

    Raises: ModelLoadError: no adapter, or a check failed. NotFiniteError: NaN in a weight.
    """
    hf.eval().requires_grad_(False)
    places = find_places(hf, name=name)
    info = _info(hf, tokenizer, name, layers=n_layers(places))
    if not verify:
        return HookedModel(info, hf, tokenizer, places)
    verification = run_checks(hf, places, d_vocab=info.d_vocab)
    if verification.failed is not None:
        raise ModelLoadError(
            f"{name} ({info.architecture}) failed a check at load: {verification.failed.promise}: "
            f"{verification.failed.detail}. Results on it could not be trusted; "
            "to look at it all the same, load it with verify=False."
        )
    places = without_parts(places, set(verification.not_offered))
    return HookedModel(info, hf, tokenizer, places, verification)


def randomised(model: HookedModel, seed: int) -> HookedModel:
    """The same architecture and tokenizer, weights drawn by the architecture's own initialiser.

    Drawn in fp32 on the CPU from `seed` (the global generator is left as it was), so the same on
    every device.
    """
    config = copy.deepcopy(model.hf.config)
    with torch.random.fork_rng(devices=[]), quiet():
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed GPUs too
        hf = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    hf = hf.to(model.hf.device, model.hf.dtype).eval().requires_grad_(False)
    name = f"{model.info.name} (random weights, seed {seed})"
    info = _info(hf, model.tokenizer, name, layers=model.info.n_layers)
    return HookedModel(info, hf, model.tokenizer, model.places)


def _info(
    hf: Any, tokenizer: Any, name: str, *, layers: int, weights: str | None = None
) -> ModelInfo:
    config = hf.config.get_text_config()
    contexts = [getattr(config, field, None) for field in _CONTEXT_FIELDS]
    about = getattr(hf.config, "virtuelens", None) or {}
    return ModelInfo(
        name=name,
        fingerprint=weights or fingerprint(hf),
        architecture=type(hf).__name__,
        n_layers=layers,
        d_model=config.hidden_size,
        d_vocab=hf.get_input_embeddings().weight.shape[0],
        n_ctx=next((n for n in contexts if n), _UNBOUNDED),
        dtype=str(hf.dtype).removeprefix("torch."),
        device=str(hf.device),
        dialect=about.get("dialect", "english"),
        tokenizer_hash=sha256_text(tokenizer.backend_tokenizer.to_str()),
        chat_template_hash=sha256_text(tokenizer.chat_template or PLAIN_TEMPLATE),
    )


def _config(name: str, source: Source, trust_remote_code: bool) -> Any:
    config = transformers.AutoConfig.from_pretrained(
        source.target, revision=source.revision, trust_remote_code=trust_remote_code
    )
    architectures = getattr(config, "architectures", None) or []
    known = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
    own_code = trust_remote_code and "AutoModelForCausalLM" in (
        getattr(config, "auto_map", None) or {}
    )
    if (architectures and not known & set(architectures) and not own_code) or getattr(
        config, "is_encoder_decoder", False
    ):
        kind = ", ".join(architectures) or config.model_type
        raise ModelLoadError(
            f"{name} is a {kind}, which is not a causal language model: choose one that continues "
            "text (GPT-2, Llama, Qwen, Gemma, Mistral, GPT-NeoX, Phi, ...)."
        )
    return config


def _tokenizer(name: str, source: Source, trust_remote_code: bool) -> Any:
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        source.target, revision=source.revision, trust_remote_code=trust_remote_code
    )
    if not getattr(tokenizer, "is_fast", False):
        raise ModelLoadError(
            f"{name} has only a slow tokenizer ({type(tokenizer).__name__}), which cannot say "
            "which characters a token stands for: convert it to a tokenizer.json."
        )
    return tokenizer


def _device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ModelLoadError(
            f"Device {device!r} cannot be used here ({reason}): use auto, cpu or cuda."
        ) from error


def _dtype(dtype: str, device: torch.device) -> torch.dtype | str:
    if dtype in {"auto", "fast"}:
        return torch.float32 if device.type == "cpu" else "auto"
    if dtype not in _DTYPES:
        raise ModelLoadError(f"Unknown dtype {dtype!r}: use auto, fast, {', '.join(_DTYPES)}.")
    return _DTYPES[dtype]


def _fastest(config: Any, device: torch.device) -> torch.dtype | str:
    """bfloat16 where it gains: products of small models are over before the difference shows."""
    if not fast_bfloat16(device):
        return _dtype("auto", device)
    with torch.device("meta"):
        shape = transformers.AutoModelForCausalLM.from_config(config)
    large = shape.num_parameters() >= GAINS_FROM
    return torch.bfloat16 if large else _dtype("auto", device)


def _explain(name: str, source: Source, error: Exception) -> str:
    """One line on why transformers could not load it."""
    text = " ".join(str(error).split())
    if "trust_remote_code" in text:
        return (
            f"{name} needs Python code that comes with the checkpoint: read that code, and if you "
            "trust it, load the model with trust_remote_code=True."
        )
    if not source.local and "gated" in text:
        return f"{name} is gated: accept its terms on huggingface.co and log in with: hf auth login"
    return f"Could not load {name}: {type(error).__name__}: {_short(text)}"


def _short(text: str) -> str:
    return text if len(text) <= 300 else text[:297] + "..."


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, advice, retries and load reports of transformers in the body."""
    log, hub = transformers.utils.logging, logging.getLogger("huggingface_hub")
    level, hub_level, bars = log.get_verbosity(), hub.level, log.is_progress_bar_enabled()
    log.set_verbosity(log.CRITICAL)
    hub.setLevel(logging.CRITICAL)
    log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(level)
        hub.setLevel(hub_level)
        if bars:
            log.enable_progress_bar()
