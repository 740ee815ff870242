"""Stability across seeds: a permuted copy is the same, random rows are not, several seeds train."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.sparse_coding.conftest import cyclic_texts, identity_sae, save_sae
from tests.sparse_coding.test_make import RECIPE, write_texts
from virtuelens import storage
from virtuelens.errors import SaeError
from virtuelens.models import HookedModel
from virtuelens.models.run import Seen
from virtuelens.sparse_coding import (
    compare_seeds,
    evaluate,
    feature_matrix,
    load_sae,
    make_saes,
)
from virtuelens.sparse_coding.stability import live_features, matched_cosines


def unit_rows(n: int, d: int, seed: int) -> torch.Tensor:
    """Random directions."""
    g = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(n, d, generator=g), dim=-1)


def test_a_shuffled_copy_is_matched_feature_by_feature(tmp_path: Path) -> None:
    """Cosine 1 for all, far above random rows; scale does not matter; a changed tenth is seen."""
    first = load_sae(save_sae(tmp_path / "a", "standard"))
    second = load_sae(save_sae(tmp_path / "b", "standard"))
    order = torch.randperm(48, generator=torch.Generator().manual_seed(0))
    second.module.W_dec.data = first.module.W_dec.data[order] * 3
    pair = compare_seeds({0: first, 1: second}).pairs[0]
    assert pair.matched == "one to one"
    assert pair.cosine.value == pytest.approx(1, abs=1e-6)
    assert pair.cosine.null < 0.6  # type: ignore[operator]
    assert pair.shared.value == 1
    changed = order[:5]
    second.module.W_dec.data[:5] = unit_rows(5, 32, 9)
    table = compare_seeds({0: first, 1: second}).features.query("seed == 0").set_index("feature")
    low = table.index[table["cosine"] < 0.99].tolist()
    assert sorted(low) == sorted(changed.tolist())


def test_one_row_serves_one_feature() -> None:
    """Two features that both want the same row: one of them gets another, or none."""
    rows = torch.eye(3)[[0, 0, 1]]
    cosines, _ = matched_cosines(rows, torch.eye(3)[[0, 1]])
    assert sorted(cosines.tolist()) == [0, 1, 1]


def test_many_features_take_the_closest(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upper bound of one to one, and said so."""
    rows, others = unit_rows(40, 8, 0), unit_rows(50, 8, 1)
    exact, _ = matched_cosines(rows, others)
    monkeypatch.setattr("virtuelens.sparse_coding.stability.MOST_MATCHED", 10)
    closest, how = matched_cosines(rows, others)
    assert how == "closest"
    assert (closest >= exact - 1e-6).all()


def test_silent_features_do_not_count_and_strangers_are_refused(tmp_path: Path) -> None:
    """Only live rows are matched; one SAE, or SAEs of several widths, make no family."""
    first, second = (load_sae(identity_sae(tmp_path / x)) for x in "ab")
    second.module.W_dec.data[40:] = unit_rows(24, 32, 3)
    live = torch.arange(64) < 40
    found = compare_seeds({0: first, 1: second}, {0: live, 1: live})
    assert found.pairs[0].shared.n == 40
    assert found.pairs[0].cosine.value == pytest.approx(1)
    with pytest.raises(SaeError, match="at least two"):
        compare_seeds({0: first})
    with pytest.raises(SaeError, match="one recipe"):
        compare_seeds({0: first, 1: load_sae(identity_sae(tmp_path / "c", d_in=16))})
    with pytest.raises(SaeError, match="no live feature"):
        compare_seeds({0: first, 1: second}, {0: live, 1: live & ~live})


def test_several_seeds_train_once_and_are_compared(tiny: HookedModel, tmp_path: Path) -> None:
    """A folder a seed; a second call trains nothing anew; another recipe is refused."""
    file = write_texts(tmp_path / "texts.jsonl", 400)
    recipe = replace(RECIPE, data=replace(RECIPE.data, name=str(file)),
                     training=replace(RECIPE.training, steps=60))
    out, stages = tmp_path / "family", []

    def tell(stage: str, done: int, total: int) -> None:
        stages.append(stage)

    found = make_saes(recipe, out, seeds=(3, 5), model=tiny, progress=tell)
    assert {p.name for p in out.iterdir()} == {
        "seed-3", "seed-5", "stability.json", "stability.parquet"}
    assert {"seed-3: train", "seed-5: evaluate", "harvest"} <= set(stages)
    assert found.pairs[0].cosine.low > found.pairs[0].cosine.null  # type: ignore[operator]
    assert storage.read_json(out / "stability.json", schema=1)["pairs"][0]["second"] == 5
    stages.clear()
    more = make_saes(recipe, out, seeds=(3, 5, 6), model=tiny, progress=tell)
    assert [(p.first, p.second) for p in more.pairs] == [(3, 5), (3, 6), (5, 6)]
    assert {s.split(":")[0] for s in stages} == {"harvest", "seed-6"}
    other = replace(recipe, training=replace(recipe.training, lr=1e-4))
    with pytest.raises(SaeError, match="another recipe"):
        make_saes(other, out, seeds=(3, 5), model=tiny)
    with pytest.raises(SaeError, match="at least two"):
        make_saes(recipe, out, seeds=(3, 3), model=tiny)
    with pytest.raises(SaeError, match="one SAE"):
        make_saes(recipe, out / "seed-3", seeds=(3, 5), model=tiny)


def test_live_is_what_an_evaluation_does_not_call_dead(tiny: HookedModel, tmp_path: Path) -> None:
    """A feature that only the first token wakes is dead in both."""
    texts = cyclic_texts(30, seed=5)
    sae = load_sae(identity_sae(tmp_path / "sae"))
    sae.module.b_enc.data[:10] = -50

    class Shout:
        """The first token is large in every coordinate."""

        point = sae.point

        def __call__(self, acts: torch.Tensor, seen: Seen) -> torch.Tensor:
            return torch.where((seen.index == 0)[..., None], torch.full_like(acts, 100), acts)

    with tiny.editing([Shout()]):
        live = live_features(tiny, sae, texts)
        assert (feature_matrix(tiny, sae, texts, position="tokens")[:, :10] > 0).all()
        assert not live[:10].any() and live[10:].any()
        assert int((~live).sum()) == evaluate(tiny, sae, texts).dead_features
