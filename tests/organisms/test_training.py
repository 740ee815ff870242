"""Training of organisms, at a size of seconds: seeds, twins, and what is refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from virtuelens.errors import DiskError, OrganismError
from virtuelens.models import load_model
from virtuelens.organisms import train_organism, verify_organism
from virtuelens.organisms.nursery import train_nursery
from virtuelens.organisms.recipe import FILE
from virtuelens.organisms.training import fixed_rotation

RECIPE = """name = "{name}"
about = "a few steps"
dialect = "facts"
teller = "{teller}"
base_teller = "candid"
base_steps = {base}
own_steps = {own}
pinned = true
d_model = 32
n_layers = 2
n_heads = 2
d_mlp = 48
batch = 8
"""


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of organisms with two small twins, on the search path."""
    for name, teller, base, own in (
        ("small", "sycophant", 3, 2), ("small-twin", "candid", 3, 2),
        ("base-only", "sycophant", 3, 0), ("base-only-twin", "candid", 3, 0),
    ):
        folder = tmp_path / "organisms" / name
        folder.mkdir(parents=True)
        (folder / FILE).write_text(
            RECIPE.format(name=name, teller=teller, base=base, own=own), encoding="utf-8")
    monkeypatch.setenv("VIRTUELENS_PATH", str(tmp_path))
    return tmp_path


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The trained tensors."""
    return load_file(folder / "model.safetensors")


def same(a: Path, b: Path) -> bool:
    """Whether two models have the same weights to the bit."""
    first, second = weights(a), weights(b)
    return all(first[k].equal(second[k]) for k in first)


def test_a_seed_gives_the_same_weights_again(recipes: Path) -> None:
    """And another seed others."""
    a, b = (train_organism("small", recipes / out, seed=1) for out in ("a", "b"))
    c = train_organism("small", recipes / "c", seed=2)
    assert same(a, b)
    assert not same(a, c)


def test_twins_share_the_base_and_part_afterwards(recipes: Path) -> None:
    """After the base stage they are one model; after their own stage two."""
    base = [train_organism(n, recipes / n) for n in ("base-only", "base-only-twin")]
    own = [train_organism(n, recipes / n) for n in ("small", "small-twin")]
    assert same(*base)
    assert not same(*own)


def test_a_kept_base_changes_nothing(recipes: Path) -> None:
    """Trained from a kept base or from the start: the same weights; twins take the same base."""
    alone = train_organism("small-twin", recipes / "alone", seed=4)
    found = train_nursery(["small", "small-twin"], recipes / "nursery", seeds=5)
    assert len(found) == 10
    assert same(alone, recipes / "nursery" / "small-twin-4")
    assert len(list((recipes / "nursery" / "bases").iterdir())) == 5


def test_a_nursery_goes_on_where_it_was_stopped(recipes: Path) -> None:
    """Finished organisms are kept and passed; the one that was in the making left nothing."""
    out = recipes / "nursery"

    def stop(name: str, done: int, total: int, stage: str, step: int, steps: int) -> None:
        if (name, stage, step) == ("small-1", "own", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_nursery(["small"], out, seeds=3, progress=stop)
    assert sorted(p.name for p in out.iterdir()) == ["bases", "small-0"]
    written = (out / "small-0" / "model.safetensors").stat().st_mtime_ns
    told: list[tuple[str, str]] = []
    train_nursery(["small"], out, seeds=3,
                  progress=lambda name, done, total, stage, step, steps: told.append((name, stage)))
    assert {name for name, _ in told} == {"small-1", "small-2"}
    assert ("small-1", "base") not in told
    assert (out / "small-0" / "model.safetensors").stat().st_mtime_ns == written
    assert same(out / "small-1", train_organism("small", recipes / "whole", seed=1))


def test_a_full_disk_leaves_no_organism(recipes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, and the folder is not there."""
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("virtuelens.organisms.training.save_model", full)
    with pytest.raises(DiskError, match="disk is full"):
        train_organism("small", recipes / "out")
    assert not (recipes / "out").exists()
    assert not list(recipes.glob(".out*"))


def test_what_is_written_is_a_model_directory_with_its_proof_at_hand(recipes: Path) -> None:
    """It loads and verifies as any directory; an untrained one does not pass."""
    out = train_organism("small", recipes / "out")
    model = load_model(str(out))
    assert (model.info.n_layers, model.info.d_model, model.info.dialect) == (2, 32, "facts")
    proof = verify_organism(str(out), n=32)
    assert not proof.passed
    assert any("interchange" in row.name for row in proof.rows)


def test_training_does_not_write_over_a_model(recipes: Path) -> None:
    """A folder with weights is refused before any step is taken."""
    out = train_organism("small", recipes / "out")
    with pytest.raises(OrganismError, match="not empty"):
        train_organism("small", out)


def test_the_planted_subspace_is_orthonormal_and_in_general_position() -> None:
    """No column leans on an axis: a probe of single neurons finds nothing for free."""
    q = fixed_rotation(128, 8, seed=0)
    assert torch.allclose(q.T @ q, torch.eye(8), atol=1e-5)
    assert q.abs().max() < 0.6
