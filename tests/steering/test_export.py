"""Exported edits, read back with the programs they are for."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.steering.conftest import MIDDLE, PROMPTS
from virtuelens import storage
from virtuelens.errors import SteeringError
from virtuelens.models import HookedModel
from virtuelens.steering.edits import Ablate, Add, Clamp
from virtuelens.steering.export import FORMATS, export

LAST = "blocks.2.hook_resid_post"


def vectors(model: HookedModel) -> torch.Tensor:
    """Three of no particular norm."""
    return torch.randn(3, model.info.d_model, generator=torch.Generator().manual_seed(4))


def test_a_control_vector_is_what_llama_cpp_looks_for(llama: HookedModel, tmp_path: Path) -> None:
    """Architecture, hint, `direction.N` in fp32 of one dimension; two at one layer are summed."""
    gguf = pytest.importorskip("gguf", reason="the extra gguf is not installed")
    a, b, c = vectors(llama)
    out = export(llama, [Add(MIDDLE, a), Add(LAST, b), Add(MIDDLE, c)], tmp_path / "v.gguf",
                 form="gguf")
    reader = gguf.GGUFReader(out)
    assert reader.get_field("general.architecture").contents() == "controlvector"
    assert reader.get_field("controlvector.model_hint").contents() == "llama"
    assert reader.get_field("controlvector.layer_count").contents() == 2
    found = {t.name: t for t in reader.tensors}
    assert set(found) == {"direction.1", "direction.2"}
    assert all(t.tensor_type == gguf.GGMLQuantizationType.F32 for t in found.values())
    assert found["direction.1"].data.shape == (llama.info.d_model,)
    np.testing.assert_allclose(found["direction.1"].data, (a + c).numpy(), rtol=1e-6)
    np.testing.assert_allclose(found["direction.2"].data, b.numpy(), rtol=1e-6)


def lm_eval_hook(row: dict[str, str]) -> object:
    """What lm-eval's steered model does with a row of its table (hf_steered.py, by hand)."""
    coder = load_file(Path(row["sparse_model"]) / row["hookpoint"] / "sae.safetensors")
    vector, bias = coder["W_dec"][int(row["feature_index"])], coder["b_dec"]
    coefficient = float(row["steering_coefficient"])
    if row["action"] == "add":
        return lambda acts: acts + coefficient * vector
    unit = vector / vector.norm()
    along = lambda acts: ((acts - bias) * unit).sum(-1, keepdim=True)  # noqa: E731
    return lambda acts: acts + (coefficient - along(acts)) * unit


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("kind", ["add", "clamp"])
def test_lm_eval_would_steer_as_we_do(tiny, architecture: str, kind: str, tmp_path: Path) -> None:
    """A hook on the module the table names, with its vector: the same logits as the edit's."""
    model = tiny(architecture)
    v = vectors(model)[0]
    edit = Add(MIDDLE, v) if kind == "add" else Clamp(MIDDLE, v, 1.5)
    out = export(model, [edit], tmp_path / "out", form="lm-eval")
    (row,) = csv.DictReader((out / "steer.csv").read_text().splitlines())
    assert row["loader"] == "sparsify"
    change = lm_eval_hook(row)
    (module,) = [m for n, m in model.hf.base_model.named_modules() if n == row["hookpoint"]]
    ids = torch.tensor([model.encode(PROMPTS[0]).ids])

    def hook(_: object, __: object, out: object) -> object:
        return (change(out[0]), *out[1:]) if isinstance(out, tuple) else change(out)

    handle = module.register_forward_hook(hook)
    try:
        theirs = model.hf(ids).logits
    finally:
        handle.remove()
    ours = model.run(model.batch([model.encode(PROMPTS[0])]), edits=[edit], logits=True).logits
    torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=1e-4)
    cfg = storage.read_json(out / "coder" / row["hookpoint"] / "cfg.json")
    assert (cfg["d_in"], cfg["num_latents"]) == (model.info.d_model, 1)


def test_plain_tensors_are_named_by_hook_point(llama: HookedModel, tmp_path: Path) -> None:
    """Any reader of safetensors finds them; the header says of which model."""
    a, b, _ = vectors(llama)
    out = export(llama, [Add(MIDDLE, a), Add("blocks.0.hook_attn_out", b)],
                 tmp_path / "v.safetensors", form="safetensors")
    assert torch.equal(load_file(out)[MIDDLE], a)
    with safe_open(str(out), framework="pt") as f:
        assert llama.info.fingerprint in f.metadata()["virtuelens"]


def test_nothing_that_is_written_is_a_pickle(llama: HookedModel, tmp_path: Path) -> None:
    """Of any format."""
    pytest.importorskip("gguf", reason="the extra gguf is not installed")
    for form in FORMATS:
        export(llama, [Add(MIDDLE, vectors(llama)[0])], tmp_path / form, form=form)
    for file in tmp_path.rglob("*"):
        if file.is_file():
            head = file.read_bytes()[:4]
            assert not head.startswith((b"PK", b"\x80")), file


@pytest.mark.parametrize(("edits", "form", "told"), [
    (lambda v: [Add(MIDDLE, v[0], "response")], "gguf", "where='all'"),
    (lambda v: [Add("blocks.0.hook_resid_post", v[0])], "gguf", "at least 1"),
    (lambda v: [Clamp(MIDDLE, v[0], 1.0)], "gguf", "additions only"),
    (lambda v: [Ablate(MIDDLE, v[0])], "safetensors", "Ablate cannot be exported"),
    (lambda v: [Add(MIDDLE, v[0]), Add(LAST, v[1])], "lm-eval", "one hook point only"),
    (lambda v: [Add("blocks.1.hook_resid_pre", v[0])], "lm-eval", "gives out"),
    (lambda v: [Add(MIDDLE, v[0])], "onnx", "gguf, lm-eval, safetensors"),
    (lambda v: [], "gguf", "nothing to export"),
])
def test_what_a_format_cannot_hold_is_refused(
    llama: HookedModel, edits, form: str, told: str, tmp_path: Path
) -> None:
    """By name, before anything is written."""
    with pytest.raises(SteeringError, match=told):
        export(llama, edits(vectors(llama)), tmp_path / "out", form=form)
    assert list(tmp_path.iterdir()) == []
