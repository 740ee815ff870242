"""Evaluation where the answer is known: an exact SAE, a useless one, and one with one dead half."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from tests.sparse_coding.conftest import cyclic_texts, identity_sae
from virtuelens import storage
from virtuelens.cli.app import app
from virtuelens.errors import NotFiniteError, SaeError
from virtuelens.models import HookedModel
from virtuelens.sparse_coding import evaluate, load_sae, write_evaluation
from virtuelens.sparse_coding.evaluate import Reconstruction, Replacement
from virtuelens.values.texts import Text

TEXTS = cyclic_texts(60, seed=9)


def test_an_exact_sae_loses_nothing(tiny: HookedModel, tmp_path: Path) -> None:
    """Variance explained and cross-entropy recovered are 1; the clean loss is transformers'."""
    e = evaluate(tiny, load_sae(identity_sae(tmp_path / "sae")), TEXTS)
    assert e.explained_variance.value == pytest.approx(1, abs=1e-6)
    assert e.ce_loss_recovered.value == pytest.approx(1, abs=1e-4)  # type: ignore[union-attr]
    assert e.ce_loss_recovered_mean.value == pytest.approx(1, abs=1e-4)  # type: ignore[union-attr]
    assert e.kl.value == pytest.approx(0, abs=1e-4)
    assert e.kl.null > 0.1  # type: ignore[operator]
    assert e.kl_recovered.value == pytest.approx(1, abs=1e-3)  # type: ignore[union-attr]
    assert e.kl_recovered_mean.value == pytest.approx(1, abs=1e-3)  # type: ignore[union-attr]
    assert e.l0.value == pytest.approx(32, abs=0.01)  # of each coordinate one sign is active
    losses, n = 0.0, 0
    for text in TEXTS:
        ids = torch.tensor([tiny.encode(text).ids])
        labels = ids.clone()
        labels[:, 1] = -100  # what the first token predicts is not counted
        k = ids.shape[1] - 2
        if k:
            losses += float(tiny.hf(input_ids=ids, labels=labels).loss.detach()) * k
        n += k
    assert e.ce_clean == pytest.approx(losses / n, abs=1e-4)
    assert e.n_texts == len(TEXTS)


def test_an_sae_that_returns_nothing_recovers_nothing(tiny: HookedModel, tmp_path: Path) -> None:
    """All features dead: the reconstruction is zero, so zero ablation is what it equals."""
    sae = load_sae(identity_sae(tmp_path / "sae"))
    sae.module.W_enc.data.zero_()
    e = evaluate(tiny, sae, TEXTS)
    assert e.dead_features == e.d_sae
    assert e.l0.value == 0
    assert e.ce_loss_recovered.value == pytest.approx(0, abs=1e-6)  # type: ignore[union-attr]
    assert e.kl_recovered.value == pytest.approx(0, abs=1e-6)  # type: ignore[union-attr]
    assert e.explained_variance.value < 0.05  # the mean explains 0 by definition


def test_dead_features_are_counted(tiny: HookedModel, tmp_path: Path) -> None:
    """Ten silenced features and no more."""
    sae = load_sae(identity_sae(tmp_path / "sae"))
    alive = evaluate(tiny, sae, TEXTS).dead_features
    sae.module.W_enc.data[:, :10].zero_()
    after = evaluate(tiny, sae, TEXTS)
    assert 10 <= after.dead_features <= alive + 10
    assert after.explained_variance.value < 1


def test_batches_do_not_matter_and_the_file_is_plain_json(
    tiny: HookedModel, tmp_path: Path
) -> None:
    """The same figures in small batches; the written file reads back with its schema number."""
    sae = load_sae(identity_sae(tmp_path / "sae"))
    sae.module.W_dec.data *= 0.5
    whole, small = (evaluate(tiny, sae, TEXTS, batch_tokens=t) for t in (4096, 30))
    assert whole.kl.value == pytest.approx(small.kl.value, rel=1e-3)
    assert whole.fvu.value == pytest.approx(small.fvu.value, rel=1e-3)
    path = write_evaluation(whole, tmp_path)
    back = storage.read_json(path, schema=1)
    assert back["l0"]["value"] == whole.l0.value
    assert back["d_sae"] == 64


def test_one_text_is_too_few(tiny: HookedModel, tmp_path: Path) -> None:
    """There would be no interval."""
    with pytest.raises(SaeError, match="two texts"):
        evaluate(tiny, load_sae(identity_sae(tmp_path / "sae")), TEXTS[:1])


def test_texts_in_which_no_counted_token_predicts_another(
    tiny: HookedModel, tmp_path: Path
) -> None:
    """The first of two tokens is left out and the last predicts nothing: they are no evaluation."""
    short = [Text(raw="w1 w2"), Text(raw="w3 w4")]
    sae = load_sae(identity_sae(tmp_path / "sae"))
    with pytest.raises(SaeError, match="three tokens or more, there are 0"):
        evaluate(tiny, sae, short)
    assert evaluate(tiny, sae, [*TEXTS, *short]).n_texts == len(TEXTS)


def test_a_model_that_overflows_has_no_evaluation(tiny: HookedModel, tmp_path: Path) -> None:
    """NaN would go through to every figure, with intervals without end."""
    sae = load_sae(identity_sae(tmp_path / "sae"))
    nowhere = Replacement(sae.point, torch.full((32,), float("nan")))
    with tiny.editing([nowhere]), pytest.raises(NotFiniteError, match=r"NaN .*hook_resid_post"):
        evaluate(tiny, sae, TEXTS)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_first_token_is_left_as_it_is(tiny: HookedModel, tmp_path: Path, side: str) -> None:
    """Its norm is out of all proportion in many models: it is neither replaced nor counted."""
    sae = load_sae(identity_sae(tmp_path / "sae"))
    batch = tiny.batch([tiny.encode(t) for t in TEXTS[:2]], side=side)  # type: ignore[arg-type]
    acts = torch.randn(*batch.real.shape, sae.d_in)
    first = batch.real & (batch.seen.index == 0)
    zero = Replacement(sae.point, torch.zeros(sae.d_in))(acts, batch.seen)
    assert torch.equal(zero[first], acts[first])
    assert not zero[batch.real & ~first].any()
    spliced = Reconstruction(sae.point, sae)(10 * acts, batch.seen)
    assert torch.equal(spliced[first], 10 * acts[first])
    texts = [t for t in TEXTS if len(tiny.encode(t).ids) > 1]
    n = sum(len(tiny.encode(t).ids) - 1 for t in texts)
    assert evaluate(tiny, sae, TEXTS).n_tokens == n


def test_an_sae_is_evaluated_from_the_command_line(tmp_path: Path) -> None:
    """The shipped one on the texts its recipe held out; the file holds what is printed."""
    done = CliRunner().invoke(app, ["sae", "evaluate", "sycophant-mid", "--n-texts", "40",
                                    "--out", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["n_texts"] == 40
    assert found["explained_variance"]["value"] > 0.9
    assert json.loads((tmp_path / "evaluation.json").read_text())["kl"] == found["kl"]
