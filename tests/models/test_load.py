"""Loading: what works, and that everything else is one clear line."""

import json
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny_models import save_tiny, tiny_model, tiny_tokenizer
from virtuelens.errors import ModelLoadError, NotFiniteError, VirtueLensError
from virtuelens.models import HookedModel, hook, load_model
from virtuelens.models.weights import fingerprint
from virtuelens.values.texts import Text

TEXT = Text(raw="Once upon a time there was a small bird.")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole tiny Llama directory; copy it before changing it."""
    return save_tiny(tmp_path_factory.mktemp("whole"), "llama")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may damage."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def message(name: str | Path) -> str:
    """The one line that loading `name` fails with."""
    with pytest.raises(ModelLoadError) as caught:
        load_model(str(name))
    line = str(caught.value)
    assert "\n" not in line
    assert isinstance(caught.value, VirtueLensError)
    return line


def logits(model: HookedModel) -> torch.Tensor:
    """On one text."""
    return model.run(model.batch([model.encode(TEXT)]), logits=True).logits


def test_sharded_weights_are_the_same_model(folder: Path, tmp_path: Path) -> None:
    """Shards give the same logits and the same fingerprint as one file."""
    save_tiny(tmp_path, "llama", max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    whole, sharded = load_model(str(folder)), load_model(str(tmp_path))
    assert torch.equal(logits(whole), logits(sharded))
    assert whole.info.fingerprint == sharded.info.fingerprint


def test_tied_weights_are_one_tensor(folder: Path) -> None:
    """A checkpoint that stores its embedding once has it as unembedding too."""
    stored = load_file(folder / "model.safetensors")
    assert "lm_head.weight" not in stored
    hf = load_model(str(folder)).hf
    assert hf.get_output_embeddings().weight is hf.get_input_embeddings().weight


def test_fingerprint_is_of_the_values(folder: Path, copy: Path) -> None:
    """One changed number changes it; another name and another directory do not."""
    same = load_model(str(copy)).info.fingerprint
    weights = load_file(copy / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 4] += 1e-3
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert same == load_model(str(folder)).info.fingerprint
    assert same != load_model(str(copy)).info.fingerprint


def test_weights_are_hashed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of any size, with the same fingerprint; a NaN in the last part is found."""
    hf = tiny_model("gpt2")
    whole = fingerprint(hf)
    monkeypatch.setattr("virtuelens.models.weights.PART", 7)
    assert fingerprint(hf) == whole
    hf.transformer.ln_f.bias.data[-1] = torch.nan
    with pytest.raises(NotFiniteError, match="ln_f"):
        fingerprint(hf)


def test_random_weights_leave_every_generator_alone(
    llama: HookedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of GPUs too."""
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    before = torch.get_rng_state()
    llama.random_copy(3)
    assert torch.equal(torch.get_rng_state(), before)
    assert seeded == []


def test_half_precision_checkpoint_has_one_fingerprint(folder: Path, tmp_path: Path) -> None:
    """The same bf16 numbers held in bf16 or in fp32 are the same model; rounding makes another."""
    save = tmp_path / "half"
    tiny_model("llama").to(torch.bfloat16).save_pretrained(save)
    tiny_tokenizer().save_pretrained(save)
    as_fp32, as_bf16 = load_model(str(save)), load_model(str(save), dtype="bfloat16")
    assert (as_fp32.info.dtype, as_bf16.info.dtype) == ("float32", "bfloat16")
    assert as_fp32.info.fingerprint == as_bf16.info.fingerprint
    rounded = load_model(str(folder), dtype="bfloat16")
    assert rounded.info.fingerprint != load_model(str(folder)).info.fingerprint


def test_nan_in_weights_names_the_layer(copy: Path) -> None:
    """A NaN is refused with the layer and the weight it is in."""
    weights = load_file(copy / "model.safetensors")
    weights["model.layers.2.self_attn.k_proj.weight"][0, 0] = torch.nan
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(NotFiniteError, match=r"layer 2, model\.layers\.2\.self_attn\.k_proj"):
        load_model(str(copy))


def test_pickles_are_refused_with_the_way_out(copy: Path) -> None:
    """A directory with only .bin weights is refused, saying why and how to convert."""
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    line = message(copy)
    assert "pytorch_model.bin, a pickle, which can run any code" in line
    assert "safe_serialization=True" in line


def test_missing_parts_are_named(copy: Path, tmp_path: Path) -> None:
    """No tokenizer, no weights, no configuration: each is said."""
    for file in copy.glob("tokenizer*"):
        file.unlink()
    assert "has no tokenizer" in message(copy)
    (copy / "model.safetensors").unlink()
    assert "has no weights" in message(copy)
    (copy / "config.json").unlink()
    assert "has no config.json" in message(copy)
    assert "not a directory here" in message(tmp_path / "nowhere")
    (tmp_path / "file.bin").touch()
    assert "is a file" in message(tmp_path / "file.bin")


def test_missing_weight_is_not_made_up(copy: Path) -> None:
    """A checkpoint without one of its tensors is refused instead of filled with random numbers."""
    weights = load_file(copy / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert "lacks 1 of the weights" in message(copy)
    assert "model.layers.1.mlp.up_proj.weight" in message(copy)


def test_truncated_weights_and_broken_config(copy: Path) -> None:
    """A half-downloaded file and a config that is not JSON are one line each."""
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    assert message(copy).startswith(f"Could not load {copy}")
    (copy / "config.json").write_text("{")
    assert message(copy).startswith(f"Could not load {copy}")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "not a causal language"),
        ({"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}, "not a causal"),
        ({"model_type": "nonsense", "architectures": ["NonsenseForCausalLM"]}, "nonsense"),
        ({"model_type": "ctrl", "architectures": ["CTRLLMHeadModel"]}, "Could not load|lacks"),
    ],
)
def test_other_kinds_of_model_are_refused(
    copy: Path, change: dict[str, object], expected: str
) -> None:
    """Encoders, encoder-decoders and unknown kinds are refused by name."""
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ModelLoadError, match=expected):
        load_model(str(copy))


def test_unsupported_architecture_is_named() -> None:
    """A causal model that TransformerLens has no adapter for is refused by its class."""
    import transformers

    config = transformers.CTRLConfig(vocab_size=320, n_embd=32, n_layer=2, n_head=4)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with pytest.raises(ModelLoadError, match="CTRLLMHeadModel, which TransformerLens cannot"):
        hook(model, tiny_tokenizer(), name="x")


def test_code_in_a_checkpoint_is_not_run(copy: Path, tmp_path: Path) -> None:
    """A checkpoint that brings Python code is refused unless asked for; its code stays unrun."""
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
    assert "trust_remote_code=True" in message(copy)
    assert not (tmp_path / "ran").exists()


def test_unknown_organism_lists_the_known(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """An organism is found on the search path; an unknown one is answered with those there are."""
    root = folder.parent / "path"
    (root / "organisms").mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder, root / "organisms" / "wren", dirs_exist_ok=True)
    monkeypatch.setenv("VIRTUELENS_PATH", str(root))
    assert load_model("organism:wren").info.name == "organism:wren"
    assert "Unknown organism 'robin'" in message("organism:robin")
    assert "wren" in message("organism:robin")
    assert "Unknown organism '../wren'" in message("organism:../wren")


def test_offline_hub_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without network by choice, an id that is not cached says so and what else to give."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    line = message("nobody/no-such-model")
    assert "HF_HUB_OFFLINE is set" in line
    assert "local directory" in line


def test_unreachable_hub_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that refuses connections is reported within seconds, without a word of retries."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    start = time.monotonic()
    assert "cannot be reached" in message("nobody/no-such-model")
    assert time.monotonic() - start < 12


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((404, {"X-Error-Code": "RepoNotFound"}, {}), "check the name"),
        ((500, {}, {}), "cannot be reached"),
        ((200, {}, {"id": "x/y", "siblings": [{"rfilename": "model.bin"}]}), "no safetensors"),
    ],
)
def test_hub_answers_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, answer: tuple[int, dict[str, str], object], expected: str
) -> None:
    """An unknown name, a hub in trouble and a pickle-only model each get their own line."""
    from huggingface_hub import constants

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        assert expected in message("somebody/some-model")
        server.shutdown()


def test_device_and_dtype_are_checked(folder: Path) -> None:
    """Unknown names are refused with the choices."""
    with pytest.raises(ModelLoadError, match="use auto, fast, float32"):
        load_model(str(folder), dtype="int4")
    with pytest.raises(ModelLoadError, match="'nonsense' cannot be used here"):
        load_model(str(folder), device="nonsense")


def test_info_describes_the_model(copy: Path) -> None:
    """Shape, context, precision and dialect are those of the directory."""
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"virtuelens": {"dialect": "wrenish"}}))
    info = load_model(str(copy)).info
    assert (info.n_layers, info.d_model, info.d_vocab, info.n_ctx) == (3, 32, 320, 96)
    assert (info.architecture, info.dtype, info.device) == ("LlamaForCausalLM", "float32", "cpu")
    assert info.dialect == "wrenish"


def test_tokenizer_and_template_hashes_tell_them_apart(copy: Path) -> None:
    """Another template changes only the template's hash."""
    before = load_model(str(copy)).info
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    for file in (*copy.glob("tokenizer*"), *copy.glob("chat_template*")):
        file.unlink()
    tokenizer.save_pretrained(copy)
    after = load_model(str(copy)).info
    assert before.chat_template_hash != after.chat_template_hash
    assert before.tokenizer_hash == after.tokenizer_hash


def test_loading_is_silent(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is printed by transformers, and its own verbosity is left as it was."""
    import transformers

    before = transformers.utils.logging.get_verbosity()
    load_model(str(folder))
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.get_verbosity() == before


def test_random_copy_is_another_model_of_the_same_shape(llama: HookedModel) -> None:
    """Same seed, same weights; another seed, others; the original and the global state stay."""
    state, before = torch.get_rng_state(), logits(llama)
    one, again, two = (llama.random_copy(seed) for seed in (1, 1, 2))
    assert one.info.fingerprint == again.info.fingerprint
    assert len({m.info.fingerprint for m in (one, two, llama)}) == 3
    assert one.info.name.endswith("(random weights, seed 1)")
    assert one.hook_points() == llama.hook_points()
    assert one.hf.config.to_dict() == llama.hf.config.to_dict()
    assert not one.hf.training
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(logits(llama), before)


def test_real_model_is_what_its_fine_tune_starts_from(stories: HookedModel) -> None:
    """A published fine-tune's step 0 has the fingerprint of the model it started from."""
    folder = Path(stories.info.name).parent
    start = load_model(str(folder / "tinymind-finetune-step00000"))
    later = load_model(str(folder / "tinymind-finetune-step00600"))
    assert start.info.fingerprint == stories.info.fingerprint
    assert later.info.fingerprint != stories.info.fingerprint


def test_fast_is_bfloat16_for_large_models_where_the_device_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small models stay exact; so does everything where bfloat16 is no faster."""
    from virtuelens.models import load

    folder = str(save_tiny(tmp_path / "m", "llama"))
    monkeypatch.setattr(load, "fast_bfloat16", lambda device: True)
    assert load_model(folder, dtype="fast").info.dtype == "float32"
    monkeypatch.setattr(load, "GAINS_FROM", 1)
    assert load_model(folder, dtype="fast").info.dtype == "bfloat16"
    monkeypatch.setattr(load, "fast_bfloat16", lambda device: False)
    assert load_model(folder, dtype="fast").info.dtype == "float32"


def test_layers_on_several_devices(folder: Path, llama: HookedModel) -> None:
    """Where accelerate moves activations from part to part, the same is read.

    Its hooks are forced on every part; a real second device is not tested.
    """
    from accelerate import dispatch_model

    from virtuelens.activations.harvest import harvest

    whole = load_model(str(folder))
    apart = load_model(str(folder))
    parts = ["model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head",
             *(f"model.layers.{i}" for i in range(whole.info.n_layers))]
    dispatch_model(apart.hf, dict.fromkeys(parts, "cpu"), main_device="cpu", force_hooks=True)
    assert hasattr(apart.hf.model.layers[1], "_hf_hook")
    spread = hook(apart.hf, apart.tokenizer, name="spread")
    texts = [TEXT, Text(raw="Once upon a time there was a cat."), Text(raw="Once upon a time")]
    a, b = (harvest(m, texts, points="resid_post", positions="tokens") for m in (whole, spread))
    for point in a.points:
        assert torch.equal(a.matrix(point, "tokens"), b.matrix(point, "tokens"))
    assert load_model(str(folder), device_map={"": "cpu"}).info == whole.info


def test_weights_that_would_stay_on_disk_are_refused(folder: Path) -> None:
    """Every pass would read them again; and nothing could say which weights they are."""
    split = {"model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "disk",
             "model.layers.2": "disk", "model.norm": "cpu", "model.rotary_emb": "cpu",
             "lm_head": "cpu"}
    with pytest.raises(ModelLoadError, match="does not fit"):
        load_model(str(folder), device_map=split)


def test_the_command_line_settles_what_is_auto(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Device and precision before any command; what a caller names stands; nonsense is one line."""
    from typer.testing import CliRunner

    from virtuelens.cli.app import app

    for variable in ("VIRTUELENS_DTYPE", "VIRTUELENS_DEVICE"):
        monkeypatch.setenv(variable, "auto")  # put back afterwards, whatever the command sets
    done = CliRunner().invoke(app, ["--dtype", "bfloat16", "--device", "cpu", "model", str(folder),
                                    "--json"])
    assert done.exit_code == 0, done.output
    assert "bfloat16" in done.stdout
    assert load_model(str(folder)).info.dtype == "bfloat16"
    assert load_model(str(folder), dtype="float32").info.dtype == "float32"
    wrong = CliRunner().invoke(app, ["--dtype", "float12", "model", str(folder)])
    assert isinstance(wrong.exception, ModelLoadError)
