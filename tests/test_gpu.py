"""On a GPU everything gives what the CPU gives. Skipped where there is none."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.probing.test_logistic import correlated
from tests.steering.conftest import MIDDLE, PROMPTS
from tests.steering.rows import MAKE
from tests.steering.test_fourteen import vectors
from virtuelens.activations.harvest import harvest
from virtuelens.errors import NotFiniteError
from virtuelens.exchange.interchange import interchange
from virtuelens.models import HookedModel, hook
from virtuelens.probing.logistic import fit_layer
from virtuelens.steering.edits import EDITS
from virtuelens.values.texts import Message, Text

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

CLOSE = {"atol": 2e-4, "rtol": 1e-4}
CHATS = [
    Text(messages=(Message("system", "You are the old tree by the river. " * 3),
                   Message("user", f"good or bad {i}?"), Message("assistant", "never both" * n)))
    for i, n in enumerate((1, 4, 2, 1, 3, 2))
]
TEXTS = [Text(raw="yes or no " * n + "sing") for n in (1, 7, 2, 3, 5, 9, 4, 1)]


@pytest.fixture(scope="module")
def both(tiny: Callable[[str], HookedModel]) -> Callable[[str], tuple[HookedModel, HookedModel]]:
    """The tiny model of an architecture on the CPU, and its copy on the GPU."""
    def get(architecture: str) -> tuple[HookedModel, HookedModel]:
        made = tiny(architecture)
        here = hook(copy.deepcopy(made.hf).to("cpu"), made.tokenizer, name=architecture)
        there = hook(copy.deepcopy(made.hf).to("cuda"), made.tokenizer, name=architecture)
        return here, there

    return get


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma2", "gemma3", "gpt_neox"])
def test_harvest(both: Callable, architecture: str, tmp_path: Path) -> None:
    """Every point and position, shared beginnings, in memory and in a store."""
    here, there = both(architecture)
    for texts, positions in ((CHATS, ["last", "prompt_mean", "response_mean", "tokens"]),
                             (TEXTS, ["tokens", "last"])):
        asked = {"points": list(here.hook_points()), "positions": positions, "batch_tokens": 64}
        wanted = harvest(here, texts, **asked)
        folder = tmp_path / str(len(texts))
        for found in (harvest(there, texts, **asked),
                      harvest(there, texts, **asked, out=folder, shard_bytes=1 << 14)):
            for point in wanted.points:
                for position in positions:
                    torch.testing.assert_close(found.matrix(point, position),
                                               wanted.matrix(point, position), **CLOSE)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen2", "mistral", "gemma3"])
def test_texts_end_to_end_in_half_precision(both: Callable, architecture: str) -> None:
    """Flash attention over a row of texts, two of which go on from one beginning; windows too."""
    here, there = both(architecture)
    there = hook(there.hf.to(torch.bfloat16), there.tokenizer, name=architecture)
    assert there.packs
    for texts in (CHATS, TEXTS):
        asked = {"points": "resid_post", "positions": "tokens", "batch_tokens": 400}
        wanted, found = harvest(here, texts, **asked), harvest(there, texts, **asked)
        for point in wanted.points:
            off = (found.point(point) - wanted.point(point)).norm() / wanted.point(point).norm()
            assert off < 2e-2


def test_harvest_names_the_text_where_the_model_overflows(both: Callable) -> None:
    """Though the next batch has begun when it is seen."""
    _, there = both("llama")
    word = there.encode(Text(raw="sing")).ids[-1]
    with torch.no_grad():
        there.hf.get_input_embeddings().weight[word] = torch.nan
    texts = [*(Text(raw=f"yes or no {i}") for i in range(40)), Text(raw="no sing")]
    with pytest.raises(NotFiniteError, match="'text-000040'"):
        harvest(there, texts, points=MIDDLE, positions="tokens", batch_tokens=32)


@pytest.mark.parametrize("name", EDITS)
def test_edits(both: Callable, name: str) -> None:
    """Logits under every edit, and the state after it in generation."""
    here, there = both("llama")
    logits, states = [], []
    for model in (here, there):
        edit = MAKE[name](MIDDLE, vectors(model), "all", len(PROMPTS))
        batch = model.batch([model.encode(p) for p in PROMPTS], side="left")
        logits.append(model.run(batch, edits=[edit], logits=True).logits[batch.real].cpu())
        one = MAKE[name](MIDDLE, vectors(model), "all", 1)
        made = model.generate(PROMPTS[:1], max_new_tokens=4, edits=[one], read=[MIDDLE])
        states.append(made[0].reads[MIDDLE].cpu())
    torch.testing.assert_close(logits[1], logits[0], **CLOSE)
    torch.testing.assert_close(states[1][:4], states[0][:4], **CLOSE)


def test_logistic_sweep() -> None:
    """The same strengths to choose from lead to the same held-out AUROC."""
    X, y, groups = correlated(3, 400, 60)
    rows = torch.from_numpy(X).float()
    here = fit_layer(rows, y, groups % 5)
    there = fit_layer(rows.cuda(), y, groups % 5)
    np.testing.assert_allclose(there.fold_auroc, here.fold_auroc, atol=2e-3)


def test_interchange(both: Callable) -> None:
    """Whole states swapped at the last block carry the answer over."""
    _, there = both("llama")
    found = interchange(there, TEXTS[:4], TEXTS[4:], "blocks.2.hook_resid_post")
    assert torch.equal(found.after, interchange(there, TEXTS[4:], TEXTS[4:],
                                                "blocks.2.hook_resid_post").before)
