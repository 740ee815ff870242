"""The contract: a store holds what each text alone, unpadded, gives in `hidden_states`."""

import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tiny_models import ARCHITECTURES, save_tiny
from virtuelens.activations.harvest import harvest
from virtuelens.activations.store import open_store
from virtuelens.models import HookedModel, load_model
from virtuelens.models.traced import Trace
from virtuelens.values.texts import Text

WORDS = st.sampled_from(["once", "upon", "a", "time", "there", "was", "small", "bird", "é", "\n"])
PHRASES = st.lists(WORDS, min_size=1, max_size=9).map(" ".join)


@st.composite
def ragged(draw: st.DrawFn) -> list[str]:
    """Texts of 1 to 20 words or so; some begin alike, in families of any size, in any order."""
    heads = draw(st.lists(PHRASES, min_size=1, max_size=3))
    texts = [f"{draw(st.sampled_from(['', *heads]))} {draw(PHRASES)}".strip()
             for _ in range(draw(st.integers(1, 12)))]
    return draw(st.permutations(texts))


@cache
def _model(architecture: str, seed: int) -> HookedModel:
    with tempfile.TemporaryDirectory() as folder:
        return load_model(str(save_tiny(Path(folder), architecture, seed=seed)))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    texts=ragged(), architecture=st.sampled_from(sorted(ARCHITECTURES)), seed=st.integers(0, 2),
    batch_tokens=st.sampled_from([1, 17, 64, 4096]),
    shard_bytes=st.sampled_from([1, 3000, 1 << 20]),
    share=st.booleans(), traced=st.booleans(),
)
def test_a_store_holds_what_each_text_alone_gives(
    texts: list[str], architecture: str, seed: int, batch_tokens: int, shard_bytes: int,
    share: bool, traced: bool,
) -> None:
    """Within 1e-5, whatever batch size, order, padding, sharing of beginnings, engine, shards."""
    model = _model(architecture, seed)
    runs = replace(model, trace=Trace(model.nnsight)) if traced else model
    with tempfile.TemporaryDirectory() as folder:
        harvest(runs, [Text(raw=t) for t in texts], points="resid_post", positions="tokens",
                out=folder, batch_tokens=batch_tokens, shard_bytes=shard_bytes,
                share_prefixes=share)
        stored = open_store(folder).load()
        rows = {p: stored.matrix(p, "tokens") for p in stored.points}
    # the last layer's is given after the final norm
    for layer, point in enumerate(stored.points[:-1]):
        expected = torch.cat([_alone(model, t, layer) for t in texts])
        torch.testing.assert_close(rows[point], expected, atol=1e-5, rtol=1e-5)


def _alone(model: HookedModel, text: str, layer: int) -> torch.Tensor:
    ids = torch.tensor([model.encode(Text(raw=text)).ids])
    with torch.no_grad():
        out = model.hf(input_ids=ids, output_hidden_states=True, use_cache=False)
    found: torch.Tensor = out.hidden_states[layer + 1][0]
    return found
