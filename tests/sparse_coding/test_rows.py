"""Features of rows at hand are those of the texts they came from."""

import pytest
import torch

from tests.sparse_coding.conftest import POINT, cyclic_texts, save_sae
from virtuelens.activations.harvest import harvest
from virtuelens.errors import ModelMismatchError, SaeError
from virtuelens.models import HookedModel
from virtuelens.sparse_coding import feature_matrix, load_sae
from virtuelens.sparse_coding.rows import features_of_rows
from virtuelens.values.texts import Example


def test_stored_tokens_give_the_features_of_their_texts(
    tiny: HookedModel, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pooled over every token: what running the model again gives, whatever the chunks."""
    sae = load_sae(save_sae(tmp_path / "sae", "jumprelu", metadata={"hook_name": POINT}))
    texts = cyclic_texts(30, seed=3)
    acts = harvest(tiny, [Example(f"e{i}", t, i % 2, f"g{i}", f"p{i // 2}", "main")
                          for i, t in enumerate(texts)], points=[POINT], positions=["tokens"])
    rows = acts.matrix(POINT, "tokens")
    sizes = (acts.index["end"] - acts.index["start"]).tolist()
    monkeypatch.setattr("virtuelens.sparse_coding.rows.ROWS_AT_ONCE", 25)
    for pool in ("max", "mean"):
        ours = features_of_rows(sae, rows, sizes, fingerprint=tiny.info.fingerprint, pool=pool)
        theirs = feature_matrix(tiny, sae, texts, position="tokens", pool=pool)
        assert torch.allclose(ours, theirs, atol=1e-4)
    assert ours.abs().sum() > 0


def test_rows_of_another_model_and_odd_sizes_are_refused(tiny: HookedModel, tmp_path) -> None:
    """One line each."""
    made_on = {"hook_name": POINT, "virtuelens": {"schema": 1, "fingerprint": "a" * 64}}
    sae = load_sae(save_sae(tmp_path / "sae", "jumprelu", metadata=made_on))
    with pytest.raises(ModelMismatchError, match="these activations are of ffff"):
        features_of_rows(sae, torch.zeros(2, 32), [2], fingerprint="f" * 64)
    with pytest.raises(SaeError, match="add up to 3"):
        features_of_rows(sae, torch.zeros(2, 32), [1, 2], fingerprint="a" * 64)
    with pytest.raises(SaeError, match="Unknown pool"):
        features_of_rows(sae, torch.zeros(2, 32), [2], fingerprint="a" * 64, pool="sum")
