"""What users get wrong, through the command line: one line, exit code 2, nothing left behind."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.audits.conftest import read, write
from virtuelens.cli import main

MAIN = "pairs/english.main.jsonl"


@pytest.fixture
def audited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run `virtuelens audit` in this process; gives its last line of errors."""
    def run(model: str, *more: str, left: tuple[str, ...] = ()) -> str:
        out = tmp_path / "run"
        monkeypatch.setattr(sys, "argv", ["virtuelens", "audit", model, "--quick", "--out",
                                          str(out), *more])
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr()
        assert stopped.value.code == 2, said.err
        assert said.out == ""
        assert "Traceback" not in said.err
        assert list(out.rglob("*.part")) == []
        if not left:
            assert not (out / "report.json").exists()
        return said.err.strip().splitlines()[-1]

    return run


@pytest.mark.parametrize(("spoil", "says"), [
    (lambda lines: [], "empty"),
    (lambda lines: [{"id": f"s{i}", "group": f"g{i % 4}", "text": f"text {i}", "label": 1}
                    for i in range(20)], "only label 1"),
    (lambda lines: [lines[0] | {"negative": lines[0]["positive"]}, *lines[1:]], ":1:"),
    (lambda lines: [*lines[:3], {"id": "x"}, *lines[3:]], ":4:"),
    (lambda lines: [lines[0], lines[0], *lines[1:]], ":2:"),
])
def test_a_pack_with_a_broken_line_names_it(
    tiny: Callable[[str], Path], pack: Path, audited: Callable[..., str], spoil, says: str
) -> None:
    """Empty, one class, equal sides, keys missing, an id twice: file and line."""
    write(pack / MAIN, spoil(read(pack / MAIN)))
    assert says in audited(str(tiny("llama")), "--concepts", str(pack))


def test_a_line_that_is_no_json_is_named(
    tiny: Callable[[str], Path], pack: Path, audited: Callable[..., str]
) -> None:
    """By number."""
    path = pack / MAIN
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], lines[2][:40], *lines[3:]]) + "\n")
    assert "main.jsonl:3" in audited(str(tiny("llama")), "--concepts", str(pack))


def test_a_text_longer_than_the_context_is_said_and_not_cut(
    tiny: Callable[[str], Path], pack: Path, audited: Callable[..., str]
) -> None:
    """Which example, how long, how much fits."""
    lines = read(pack / MAIN)
    lines[5]["positive"][0]["content"] = "bird " * 200
    lines[5]["negative"][0]["content"] = "tree " * 200
    write(pack / MAIN, lines)
    said = audited(str(tiny("llama")), "--concepts", str(pack))
    assert lines[5]["id"] in said
    assert "96" in said


def copy_of(model: Path, folder: Path) -> Path:
    """A model directory to spoil."""
    shutil.copytree(model, folder)
    return folder


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named_by_layer(
    tiny: Callable[[str], Path], pack: Path, tmp_path: Path, audited: Callable[..., str],
    bad: float,
) -> None:
    """The tensor's own name."""
    folder = copy_of(tiny("llama"), tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"][0, 0] = bad
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "layers.1.mlp.down_proj" in audited(str(folder), "--concepts", str(pack))


def test_activations_that_overflow_are_named_by_hook_point(
    tiny: Callable[[str], Path], pack: Path, tmp_path: Path, audited: Callable[..., str]
) -> None:
    """Finite weights whose product is not."""
    folder = copy_of(tiny("llama"), tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    for name in ("up_proj", "down_proj"):
        weights[f"model.layers.1.mlp.{name}.weight"].fill_(1e30)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "blocks.1.hook_mlp_out" in audited(str(folder), "--concepts", str(pack))


def test_a_pickle_only_checkpoint_is_refused(
    tiny: Callable[[str], Path], pack: Path, tmp_path: Path, audited: Callable[..., str]
) -> None:
    """With the reason, and never opened: this one would make a folder on being read."""
    folder = copy_of(tiny("llama"), tmp_path / "model")
    (folder / "model.safetensors").unlink()
    trap = tmp_path / "opened"
    (folder / "pytorch_model.bin").write_bytes(f"cos\nmkdir\n(S'{trap}'\ntR.".encode())
    assert "pickle" in audited(str(folder), "--concepts", str(pack)).lower()
    assert not trap.exists()


@pytest.mark.parametrize(("missing", "says"), [
    ("model.safetensors", "weights"), ("tokenizer.json", "tokenizer"), ("config.json", "config"),
])
def test_a_directory_that_lacks_a_part_says_which(
    tiny: Callable[[str], Path], pack: Path, tmp_path: Path, audited: Callable[..., str],
    missing: str, says: str,
) -> None:
    """Weights, tokenizer or configuration."""
    folder = copy_of(tiny("llama"), tmp_path / "model")
    (folder / missing).unlink()
    assert says in audited(str(folder), "--concepts", str(pack))


def test_an_unsupported_architecture_is_named(
    tiny: Callable[[str], Path], pack: Path, tmp_path: Path, audited: Callable[..., str]
) -> None:
    """The name from its configuration."""
    folder = copy_of(tiny("llama"), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}
    (folder / "config.json").write_text(json.dumps(config))
    assert "t5" in audited(str(folder), "--concepts", str(pack)).lower()


def test_a_run_of_another_schema_version_is_left_alone(
    tiny: Callable[[str], Path], pack: Path, tmp_path: Path, audited: Callable[..., str]
) -> None:
    """Refused, and not touched."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text('{"schema": 99}')
    assert "99" in audited(str(tiny("llama")), "--concepts", str(pack), left=("run.json",))
    assert (run / "run.json").read_text() == '{"schema": 99}'


def test_a_pack_without_a_word_in_the_models_dialect_is_said(
    pack: Path, audited: Callable[..., str]
) -> None:
    """An English pack for a model that speaks another language."""
    assert "facts" in audited("organism:blank", "--concepts", str(pack))
