"""Every shipped SAE is small, belongs to its model, and is as good as its evaluation says."""

import pytest

from virtuelens import catalog, storage
from virtuelens.models import load_model
from virtuelens.sparse_coding import check_fits, evaluate, list_recipes, load_recipe, load_sae
from virtuelens.sparse_coding.make import read_texts


@pytest.mark.parametrize("name", catalog.names("saes", "cfg.json"))
def test_the_evaluation_file_comes_out_again(name: str) -> None:
    """On the held-out texts of its own recipe, from the shipped weights."""
    assert name in list_recipes()
    folder = catalog.find("saes", name, "cfg.json")
    assert folder is not None
    assert sum(f.stat().st_size for f in folder.iterdir()) <= 2 * 2**20
    recipe, sae = load_recipe(name), load_sae(name)
    model = load_model(recipe.model)
    check_fits(sae, model)
    _, held_out = read_texts(recipe.data)
    found = evaluate(model, sae, held_out).to_json()
    written = storage.read_json(folder / "evaluation.json", schema=1)
    for key in ("l0", "explained_variance", "ce_loss_recovered_mean", "kl"):
        assert found[key]["value"] == pytest.approx(written[key]["value"], rel=1e-3, abs=1e-4)
    assert abs(found["dead_features"] - written["dead_features"]) <= 1
    assert (found["n_texts"], found["d_sae"]) == (written["n_texts"], written["d_sae"])
    assert written["explained_variance"]["low"] > 0.9


def test_there_is_one() -> None:
    """The main job shows SAE features of the bundled organism."""
    assert "sycophant-mid" in catalog.names("saes", "cfg.json")
