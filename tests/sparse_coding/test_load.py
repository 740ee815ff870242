"""SAEs from disk: every architecture reads as SAELens reads it, and what is wrong is named."""

import json
from pathlib import Path

import pytest
import torch

from tests.sparse_coding.conftest import POINT, cyclic_texts, identity_sae, save_sae
from virtuelens.errors import ModelMismatchError, NotFiniteError, SaeError
from virtuelens.models import HookedModel
from virtuelens.sparse_coding import (
    check_fits,
    decode,
    encode,
    feature_encoder,
    feature_matrix,
    features_encoder,
    load_sae,
    reconstruct,
)

SETTINGS = {
    "standard": {}, "gated": {}, "jumprelu": {}, "topk": {"k": 4}, "batchtopk": {"k": 4},
    "matryoshka_batchtopk": {"k": 4, "matryoshka_widths": [16, 48]},
}


def acts(n: int = 50, d: int = 32) -> torch.Tensor:
    """Random activations."""
    return torch.randn(n, d, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("architecture", SETTINGS)
def test_one_feature_is_the_column_of_all(tmp_path: Path, architecture: str) -> None:
    """The short way to one feature gives what encoding everything gives."""
    sae = load_sae(save_sae(tmp_path / "sae", architecture, **SETTINGS[architecture]))
    x = acts()
    whole = encode(sae, x)
    assert (whole != 0).any()
    for feature in (0, 7, 47):
        one = feature_encoder(sae, feature)(x)
        torch.testing.assert_close(one, whole[:, feature], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", SETTINGS)
def test_some_features_are_those_columns_of_all(tmp_path: Path, architecture: str) -> None:
    """In the order asked for, one named twice too; none, and one there is not, are refused."""
    sae = load_sae(save_sae(tmp_path / "sae", architecture, **SETTINGS[architecture]))
    x = acts()
    some = features_encoder(sae, [40, 7, 40])(x)
    torch.testing.assert_close(some, encode(sae, x)[:, [40, 7, 40]], atol=1e-5, rtol=1e-5)
    with pytest.raises(SaeError, match="at least one"):
        features_encoder(sae, [])
    with pytest.raises(SaeError, match="0-47"):
        features_encoder(sae, [1, 48])


@pytest.mark.parametrize("architecture", SETTINGS)
def test_decoding_is_linear_with_the_rows_of_w_dec(tmp_path: Path, architecture: str) -> None:
    """One more unit of a feature adds its decoder row: the formula of the clamp rests on it."""
    sae = load_sae(save_sae(tmp_path / "sae", architecture, **SETTINGS[architecture]))
    features = encode(sae, acts(5))
    more = features.clone()
    more[:, 7] += 1.0
    change = decode(sae, more) - decode(sae, features)
    torch.testing.assert_close(change, sae.decoder_row(7).expand_as(change), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(reconstruct(sae, acts(5)), decode(sae, features))


@pytest.mark.parametrize("architecture", ["batchtopk", "matryoshka_batchtopk"])
def test_a_text_is_encoded_alike_alone_and_among_others(tmp_path: Path, architecture: str) -> None:
    """Batch top-k from a training checkpoint: neighbours must not decide what is kept."""
    sae = load_sae(save_sae(tmp_path / "sae", architecture, **SETTINGS[architecture]))
    x = acts()
    torch.testing.assert_close(encode(sae, x)[3:4], encode(sae, x[3:4]))


def test_what_saelens_saved_is_what_is_read(tmp_path: Path) -> None:
    """Same features as SAELens' own object from the same directory."""
    from sae_lens import SAE

    folder = save_sae(tmp_path / "sae", "jumprelu")
    theirs = SAE.load_from_disk(folder)
    torch.testing.assert_close(encode(load_sae(folder), acts()), theirs.encode(acts()).detach())


def spoil_config(folder: Path, **changes: object) -> None:
    """Change settings in cfg.json; None takes one away."""
    config = json.loads((folder / "cfg.json").read_text())
    config = {k: v for k, v in (config | changes).items() if v is not None}
    (folder / "cfg.json").write_text(json.dumps(config))


@pytest.mark.parametrize(("spoil", "says"), [
    (lambda f: (f / "cfg.json").unlink(), "has no cfg.json"),
    (lambda f: (f / "cfg.json").write_text("{"), "not valid JSON"),
    (lambda f: (f / "cfg.json").write_text("[]"), "not an SAE"),
    (lambda f: [(f / "cfg.json").unlink(), (f / "cfg.json").mkdir()], "cfg.json"),
    (lambda f: (f / "sae_weights.safetensors").unlink(), "was not finished"),
    (lambda f: (f / "sae_weights.safetensors").write_bytes(b"12345678"), "could not be read"),
    (lambda f: spoil_config(f, d_sae=None), "d_sae"),
    (lambda f: spoil_config(f, d_in=31), "do not fit"),
    (lambda f: spoil_config(f, architecture="temporal"), "temporal"),
    (lambda f: spoil_config(f, architecture="transcoder"), "do not fit"),
    (lambda f: spoil_config(f, normalize_activations="expected_average_only_in"), "folded"),
    (lambda f: spoil_config(f, dtype="float99"), "could not be read"),
    (lambda f: spoil_config(f, dtype=7), "could not be read"),
    (lambda f: spoil_config(f, metadata=[1]), "could not be read"),
    (lambda f: spoil_config(f, metadata={"virtuelens": "1", "sae_lens_version": "6.0.0"}),
     "metadata.virtuelens"),
    (lambda f: (f / "sae_weights.safetensors").rename(f / "sae_weights.pt"), "pickle"),
])
def test_a_broken_directory_is_named(tmp_path: Path, spoil, says: str) -> None:
    """One sentence says which file and what to do."""
    folder = save_sae(tmp_path / "sae", "standard")
    spoil(folder)
    with pytest.raises(SaeError, match=says):
        load_sae(folder)


def test_nan_in_the_weights_is_named(tmp_path: Path) -> None:
    """By tensor."""
    from safetensors.torch import load_file, save_file

    folder = save_sae(tmp_path / "sae", "standard")
    weights = load_file(folder / "sae_weights.safetensors")
    weights["W_dec"][3, 4] = float("nan")
    save_file(weights, folder / "sae_weights.safetensors")
    with pytest.raises(NotFiniteError, match="W_dec"):
        load_sae(folder)


@pytest.mark.parametrize("suffix", [".pt", ".pkl", ".bin"])
def test_a_pickle_is_never_opened(tmp_path: Path, suffix: str) -> None:
    """Refused by name, with the reason."""
    path = tmp_path / f"sae{suffix}"
    path.write_bytes(b"not read")
    with pytest.raises(SaeError, match="pickle"):
        load_sae(path)


def test_unknown_names_say_where_saes_are_looked_for() -> None:
    """A plain name, a release that is not there, an id that a release does not have."""
    with pytest.raises(SaeError, match="sycophant-mid"):
        load_sae("nothing-of-that-name")
    with pytest.raises(SaeError, match="registry"):
        load_sae("no-release/layer_3")


def test_an_sae_of_other_weights_or_width_is_refused(tiny: HookedModel, tmp_path: Path) -> None:
    """By fingerprint where it has one, else by width and hook point."""
    ours = load_sae(identity_sae(
        tmp_path / "a", virtuelens={"schema": 1, "fingerprint": tiny.info.fingerprint}))
    check_fits(ours, tiny)
    others = load_sae(identity_sae(
        tmp_path / "b", virtuelens={"schema": 1, "fingerprint": "0" * 64}))
    with pytest.raises(ModelMismatchError, match="was trained on weights"):
        check_fits(others, tiny)
    with pytest.raises(SaeError, match="dimensions"):
        check_fits(load_sae(identity_sae(tmp_path / "c", d_in=16)), tiny)
    nowhere = load_sae(identity_sae(tmp_path / "d", hook_name="blocks.9.hook_resid_post"))
    with pytest.raises(SaeError, match=r"blocks\.9"):
        feature_matrix(tiny, nowhere, cyclic_texts(2, seed=1))


def test_a_feature_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    """With the range there is."""
    sae = load_sae(save_sae(tmp_path / "sae", "standard"))
    with pytest.raises(SaeError, match="0-47"):
        feature_encoder(sae, 48)
    assert sae.point == POINT
