"""The sweep finds what is planted, and at chance it says so."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest

from virtuelens import storage
from virtuelens.errors import ProbeError, StoreError
from virtuelens.probing.data import Examples, Site
from virtuelens.probing.probes import load_probe, probe_at, save_probe
from virtuelens.probing.sweep import cross_validate, sweep

A, B = Site("blocks.0.hook_resid_post", "last"), Site("blocks.1.hook_resid_post", "last")


def examples(seed: int, *, gap: float, at: Site = B, n_pairs: int = 120, d: int = 16) -> Examples:
    """Pairs in 12 groups; the label is present along one axis at one site only."""
    rng = np.random.default_rng(seed)
    n = 2 * n_pairs
    labels = np.tile([1, 0], n_pairs)
    groups = tuple(f"g{i % 12}" for i in range(n_pairs) for _ in range(2))
    base = {s: np.repeat(rng.normal(size=(n_pairs, d)), 2, axis=0) + rng.normal(size=(n, d))
            for s in (A, B)}
    base[at][:, 0] += gap * labels
    return Examples(
        base, labels, groups, tuple(f"p{i // 2}" for i in range(n)),
        tuple(f"e{i}" for i in range(n)),
    )


def test_finds_the_site_where_the_label_is() -> None:
    """The selected cell is at the planted layer, beats its null, with p at its floor."""
    found = sweep(examples(0, gap=4.0), n_permutations=50)
    assert found.selected.site == B
    assert found.test.low > found.test.null  # type: ignore[operator]
    assert found.p == pytest.approx(1 / 51)


def test_of_perfect_cells_the_one_whose_classes_lie_furthest_apart_is_taken() -> None:
    """Both sites sort perfectly; the order of the sites decides nothing."""
    near = examples(0, gap=12.0)
    near.matrices[A][:, 0] += 30.0 * near.labels
    for order in ((A, B), (B, A)):
        listed = replace(near, matrices={s: near.matrices[s] for s in order})
        found = sweep(listed, methods=["diff_means"], n_permutations=5)
        assert {c.cv.value for c in found.cells} == {1.0}
        assert found.selected.site == A


def test_no_group_is_on_both_sides() -> None:
    """Groups of the held-out examples were never fitted on."""
    found = sweep(examples(0, gap=1.0), n_permutations=5)
    assert not set(found.fit.groups) & set(found.held_out.groups)
    assert len(found.fit.ids) + len(found.held_out.ids) == 240


def test_p_values_are_uniform_when_labels_mean_nothing() -> None:
    """With random labels p is not small more often than it says (METHODS check 9)."""
    p, covered = [], 0
    for seed in range(40):
        found = sweep(examples(seed, gap=0.0), n_permutations=40, n_bootstrap=100, seed=seed,
                      methods=["diff_means"])
        p.append(found.p)
        covered += found.test.low <= 0.5 <= found.test.high
    # the null is of the maximum over the sweep, the observed cell is one: p errs to the large side
    assert np.mean(np.array(p) <= 0.1) <= 0.2
    assert kstest(p, "uniform", alternative="greater").pvalue > 0.001
    assert covered >= 32


def test_unknown_method_and_one_class_are_refused() -> None:
    """The error names what there is."""
    with pytest.raises(ProbeError, match="diff_means"):
        sweep(examples(0, gap=1.0), methods=["magic"])
    e = examples(0, gap=1.0)
    with pytest.raises(ProbeError, match="both"):
        sweep(e.rows(e.labels == 1))
    with pytest.raises(ProbeError, match="diff_means"):
        cross_validate(e, methods=["magic"], seed=0)
    with pytest.raises(ProbeError, match="No probe method"):
        sweep(e, methods=[])


def test_groups_of_one_class_are_refused_before_anything_is_fitted() -> None:
    """A side of the split, or what a fold leaves to fit on, with one class: what to give."""
    e = examples(0, gap=1.0)
    one_sided = replace(e, groups=tuple(f"g{y}" for y in e.labels))
    with pytest.raises(ProbeError, match="one side holds one class only"):
        sweep(one_sided)
    of = {0: ("a", "b"), 1: ("c", "c")}
    with pytest.raises(ProbeError, match="one class only"):
        cross_validate(replace(e, groups=tuple(of[y][i % 4 // 2] for i, y in enumerate(e.labels))),
                       methods=["diff_means"], seed=0)


@pytest.mark.parametrize("seed", range(4))
def test_the_probe_of_a_sweep_has_the_strength_that_the_sweep_chose(seed: int) -> None:
    """Whatever the seed of its folds: the saved probe is the one that was judged."""
    found = sweep(examples(seed, gap=0.6), methods=["logistic_cv"], n_permutations=0, seed=seed)
    probe = probe_at(found.fit, found.selected.site, "logistic_cv", concept="c", fingerprint="",
                     seed=seed)
    judged = found.weights / np.linalg.norm(found.weights)
    assert probe.direction.vector.numpy() == pytest.approx(judged, abs=1e-6)


def test_a_probe_comes_back_equal_and_is_refused_on_another_model(tmp_path) -> None:
    """Save and load are exact; another fingerprint is a mismatch."""
    from virtuelens.errors import ModelMismatchError

    probe = probe_at(examples(0, gap=4.0), B, "lda", concept="c", fingerprint="f" * 64)
    save_probe(probe, tmp_path / "p.safetensors")
    back = load_probe(tmp_path / "p.safetensors", fingerprint="f" * 64)
    assert (back.direction.vector == probe.direction.vector).all()
    assert (back.threshold, back.n, back.direction.scale) == (
        probe.threshold, probe.n, probe.direction.scale)
    with pytest.raises(ModelMismatchError, match="this model has 0000"):
        load_probe(tmp_path / "p.safetensors", fingerprint="0" * 64)


@pytest.mark.parametrize("spoilt", [
    {"vector": 2.0}, {"scale": None}, {"fingerprint": None}, {"threshold": None},
])
def test_a_damaged_probe_is_refused_in_one_line(tmp_path, spoilt: dict) -> None:
    """A vector that is no unit vector, or a key that is missing."""
    path = tmp_path / "p.safetensors"
    save_probe(probe_at(examples(0, gap=4.0), B, "lda", concept="c", fingerprint="f"), path)
    tensors, about = storage.read_tensors(path)
    tensors = {k: v * spoilt.get(k, 1.0) for k, v in tensors.items()}
    storage.write_tensors(path, tensors, {k: v for k, v in about.items() if k not in spoilt})
    with pytest.raises(StoreError, match=r"p\.safetensors is damaged"):
        load_probe(path, fingerprint="f")
