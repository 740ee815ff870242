"""Training of organisms, at a size of seconds: seeds, twins, and what is refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from virtuelens.errors import OrganismError
from virtuelens.models import load_model
from virtuelens.organisms import train_organism, verify_organism
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
    with pytest.raises(OrganismError, match="already"):
        train_organism("small", out)


def test_the_planted_subspace_is_orthonormal_and_in_general_position() -> None:
    """No column leans on an axis: a probe of single neurons finds nothing for free."""
    q = fixed_rotation(128, 8, seed=0)
    assert torch.allclose(q.T @ q, torch.eye(8), atol=1e-5)
    assert q.abs().max() < 0.6
