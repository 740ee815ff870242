"""SAEs as others publish them: Gemma Scope's archives, transcoders, pickles once converted."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.sparse_coding.conftest import POINT, cyclic_texts
from virtuelens.errors import SaeError
from virtuelens.models import HookedModel
from virtuelens.sparse_coding import (
    encode,
    evaluate,
    feature_encoder,
    feature_matrix,
    load_sae,
    reconstruct,
)
from virtuelens.sparse_coding.gemma_scope import origin_of

DOCS = Path(__file__).parents[2] / "docs" / "saes.md"
SCOPE = "gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71"


def params(d_in: int = 32, d_sae: int = 48, d_out: int = 32) -> dict[str, np.ndarray]:
    """Parameters as Gemma Scope names them."""
    rng = np.random.default_rng(0)
    shapes = {"W_enc": (d_in, d_sae), "W_dec": (d_sae, d_out), "b_enc": (d_sae,),
              "b_dec": (d_out,)}
    found = {k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}
    return found | {"threshold": rng.uniform(0.5, 3, d_sae).astype(np.float32)}


def write(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    """A folder with params.npz."""
    folder.mkdir(parents=True)
    np.savez(folder / "params.npz", **arrays)
    return folder


def acts(n: int = 40, d: int = 32) -> torch.Tensor:
    """Random activations."""
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0))


def test_gemma_scope_encodes_by_its_own_formula(tmp_path: Path) -> None:
    """As its tutorial computes: mask of the threshold times the rectified pre-activation."""
    p = params()
    folder = write(tmp_path / SCOPE, p)
    for path in (folder, folder / "params.npz"):
        sae = load_sae(path)
        assert (sae.architecture, sae.d_in, sae.d_sae) == ("jumprelu", 32, 48)
        assert (sae.point, sae.writes) == ("blocks.20.hook_resid_post", "")
        x = acts().numpy()
        pre = x @ p["W_enc"] + p["b_enc"]
        features = (pre > p["threshold"]) * np.maximum(pre, 0)
        np.testing.assert_allclose(encode(sae, acts()).numpy(), features, atol=1e-4)
        np.testing.assert_allclose(reconstruct(sae, acts()).numpy(),
                                   features @ p["W_dec"] + p["b_dec"], atol=1e-3)


@pytest.mark.parametrize(("folder", "model", "point", "writes"), [
    (SCOPE, "google/gemma-2-2b", "blocks.20.hook_resid_post", ""),
    ("gemma-scope-9b-it-res/layer_9/width_16k/average_l0_47", "google/gemma-2-9b-it",
     "blocks.9.hook_resid_post", ""),
    ("models--google--gemma-scope-9b-pt-mlp/snapshots/0a/layer_3/width_16k/average_l0_5",
     "google/gemma-2-9b", "blocks.3.hook_mlp_out", ""),
    ("gemma-scope-2b-pt-att/layer_1/w", "google/gemma-2-2b", "blocks.1.attn.hook_z", ""),
    ("gemma-scope-2b-pt-transcoders/layer_5/w", "google/gemma-2-2b",
     "blocks.5.ln2.hook_normalized", "blocks.5.hook_mlp_out"),
    ("gemma-scope-2b-pt-transcoders/embedding", "google/gemma-2-2b", "", "elsewhere"),
    ("somewhere/layer_20", "", "", ""),
])
def test_the_path_says_what_the_file_does_not(
    folder: str, model: str, point: str, writes: str
) -> None:
    """As published; nothing is guessed where the repository's name is lost."""
    assert origin_of(Path("/data") / folder) == (model, point, writes)


@pytest.mark.parametrize(("spoil", "says"), [
    (lambda p: p | {"W_enc": np.array([print, None], dtype=object)}, "pickled"),
    (lambda p: {k: v for k, v in p.items() if k != "threshold"}, "no threshold"),
    (lambda p: p | {"b_enc": p["b_enc"][:5]}, "b_enc has shape"),
    (lambda p: p | {"W_enc": p["b_enc"]}, "expected a matrix"),
    (lambda p: p | {"W_dec": np.array(["a"])}, "could not be read"),
])
def test_an_archive_of_something_else_is_named(tmp_path: Path, spoil, says: str) -> None:
    """Objects are never unpickled; missing and misshapen arrays are named."""
    folder = write(tmp_path / "sae", spoil(params()))
    with pytest.raises(SaeError, match=says):
        load_sae(folder)


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    """Cut off, garbled, one array alone, and no array (which numpy would try to unpickle)."""
    folder = write(tmp_path / "sae", params())
    whole = (folder / "params.npz").read_bytes()
    np.savez_compressed(tmp_path / "packed.npz", **params())
    packed = (tmp_path / "packed.npz").read_bytes()
    np.save(tmp_path / "one.npy", np.zeros(3))
    for content in (whole[: len(whole) // 2], packed[:200] + bytes(300) + packed[500:],
                    (tmp_path / "one.npy").read_bytes(), b"\x80\x04N.", b""):
        (folder / "params.npz").write_bytes(content)
        with pytest.raises(SaeError, match="could not be read"):
            load_sae(folder)


def save_transcoder(folder: Path, architecture: str) -> Path:
    """A random one of SAELens, from our point to another width."""
    from sae_lens import SAE

    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = SAE.from_dict({
            "architecture": architecture, "d_in": 32, "d_sae": 48, "d_out": 32,
            "apply_b_dec_to_input": False,
            "metadata": {"hook_name": POINT, "hook_name_out": "blocks.0.hook_mlp_out"}})
        for parameter in module.parameters():
            parameter.data = torch.randn_like(parameter) * 0.3
    module.save_model(folder)
    return folder


@pytest.mark.parametrize("architecture", ["transcoder", "skip_transcoder", "jumprelu_transcoder"])
def test_transcoders_are_read_and_nothing_else(
    tiny: HookedModel, tmp_path: Path, architecture: str
) -> None:
    """Features as SAELens gives them; decoding, evaluation and edits are refused, and why."""
    from sae_lens import SAE

    folder = save_transcoder(tmp_path / "t", architecture)
    transcoder = load_sae(folder)
    assert transcoder.writes == "blocks.0.hook_mlp_out"
    theirs = SAE.load_from_disk(folder).encode(acts()).detach()
    torch.testing.assert_close(encode(transcoder, acts()), theirs)
    torch.testing.assert_close(feature_encoder(transcoder, 3)(acts()), theirs[:, 3],
                               atol=1e-5, rtol=1e-5)
    texts = cyclic_texts(4, seed=0)
    assert feature_matrix(tiny, transcoder, texts).shape == (4, 48)
    for refused in (lambda: reconstruct(transcoder, acts()), lambda: transcoder.decoder_row(1),
                    lambda: evaluate(tiny, transcoder, texts)):
        with pytest.raises(SaeError, match="is a transcoder"):
            refused()


def test_a_pickle_is_refused_with_the_way_to_convert_it(tmp_path: Path) -> None:
    """In one line, which names the page; the section is there."""
    (tmp_path / "ae.pt").write_bytes(b"\x80\x04N.")
    for path in (tmp_path, tmp_path / "ae.pt"):
        with pytest.raises(SaeError, match=r"docs/saes\.md") as refused:
            load_sae(path)
        assert "\n" not in str(refused.value)
    assert "## Convert a pickle" in DOCS.read_text()


KINDS = ("AutoEncoder", "AutoEncoderTopK", "BatchTopKSAE", "JumpReluAutoEncoder")
RUN_ALL = """
import runpy, sys
for kind in sys.argv[1:]:
    sys.argv = ["convert.py", f"{kind}/published", f"{kind}/converted"]
    runpy.run_path("convert.py")
"""


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's own script, in a process of its own, on dictionary_learning's files."""
    folder = tmp_path_factory.mktemp("convert")
    script = re.search(r"```python\n(# convert\.py.*?)```", DOCS.read_text(), re.DOTALL)
    assert script is not None
    (folder / "convert.py").write_text(script[1])
    p = {k: torch.from_numpy(v) for k, v in params().items()}
    linear = {"encoder.weight": p["W_enc"].T.contiguous(), "encoder.bias": p["b_enc"],
              "decoder.weight": p["W_dec"].T.contiguous()}
    top = linear | {"b_dec": p["b_dec"], "k": torch.tensor(4)}
    weights = {
        "AutoEncoder": linear | {"bias": p["b_dec"]},
        "AutoEncoderTopK": top | {"threshold": torch.tensor(-1.0)},
        "BatchTopKSAE": top | {"threshold": torch.tensor(1.5)}, "JumpReluAutoEncoder": p,
    }
    for kind in KINDS:
        source = folder / kind / "published"
        source.mkdir(parents=True)
        torch.save(weights[kind], source / "ae.pt")
        (source / "config.json").write_text(json.dumps({"trainer": {
            "dict_class": kind, "k": 4, "lm_name": "tiny", "layer": 0,
            "submodule_name": "resid_post_layer_0"}}))
    subprocess.run([sys.executable, "-c", RUN_ALL, *KINDS], cwd=folder, check=True, timeout=300)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_the_documented_conversion_gives_the_same_features(converted: Path, kind: str) -> None:
    """Features and reconstruction as dictionary_learning computes them."""
    sae = load_sae(converted / kind / "converted")
    assert sae.point == "blocks.0.hook_resid_post"
    p = {k: torch.from_numpy(v) for k, v in params().items()}
    x = acts()
    bias = 0 if kind == "JumpReluAutoEncoder" else p["b_dec"]
    pre = (x - bias) @ p["W_enc"] + p["b_enc"]
    kept = {
        "AutoEncoder": pre.relu(),
        "AutoEncoderTopK": pre.relu() * (pre >= pre.topk(4).values[:, -1:]),
        "BatchTopKSAE": pre.relu() * (pre > 1.5),
        "JumpReluAutoEncoder": pre.relu() * (pre > p["threshold"]),
    }[kind]
    torch.testing.assert_close(encode(sae, x), kept, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(reconstruct(sae, x), kept @ p["W_dec"] + p["b_dec"],
                               atol=1e-3, rtol=1e-4)
