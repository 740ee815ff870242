"""Steering packs: what is written is read, edits do what doses say, other models refuse."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.steering.conftest import MIDDLE, PROMPTS, direction
from virtuelens.errors import HookPointError, ModelMismatchError, SteeringError, StoreError
from virtuelens.models import HookedModel
from virtuelens.probing.probes import Probe, save_probe
from virtuelens.steering.pack import KINDS, OFF, PLACES, UNITS, Dose, SteeringPack, steering_pack
from virtuelens.steering.packfile import load_pack, read_pack, save_pack

LAST = "blocks.2.hook_resid_post"


def made(model: HookedModel, **more: object) -> SteeringPack:
    """A pack with one direction and a preset of every kind and unit."""
    d = replace(direction(model), center=1.5)
    every = [Dose("line", kind, -1.25, unit, "response", LAST) for kind in KINDS for unit in UNITS]
    return steering_pack(model, **({
        "name": "n", "about": "a", "directions": {"line": d}, "thresholds": {"line": 0.5},
        "presets": {"one": [Dose("line", strength=2)], "every": every},
        "provenance": {"found": "by \"hand\"\n\x7f\u2028é", "n": 3, "share": 0.1},
    } | more))


def test_a_pack_comes_back_as_it_went(llama: HookedModel, tmp_path: Path) -> None:
    """Vectors bit for bit; the digest is the file's own."""
    pack = made(llama)
    back = load_pack(save_pack(pack, tmp_path / "p.toml"), llama)
    assert torch.equal(back.direction("line").vector, pack.direction("line").vector)
    assert replace(back, directions={}, digest="") == replace(pack, directions={})
    assert len(back.digest) == 64
    assert back.presets[OFF] == ()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.safetensors", "p.toml"]


@settings(max_examples=40, deadline=None)
@given(name=st.text(min_size=1, max_size=12).filter(lambda s: s.isprintable() or "\n" in s),
       strength=st.floats(allow_nan=False, allow_infinity=False))
def test_any_name_and_number_survives(
    llama: HookedModel, tmp_path_factory: pytest.TempPathFactory, name: str, strength: float
) -> None:
    """TOML's quotes and escapes are no way in."""
    d = direction(llama)
    pack = steering_pack(llama, name=name, about=name, directions={name: d},
                         presets={f"{name}.x": [Dose(name, strength=strength)]},
                         provenance={name: name})
    path = save_pack(pack, tmp_path_factory.mktemp("pack") / "p.toml")
    back = read_pack(path)
    assert replace(back, directions={}, digest="") == replace(pack, directions={})


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("unit", UNITS)
def test_a_dose_moves_the_projection_as_it_says(llama: HookedModel, kind: str, unit: str) -> None:
    """In its unit, at the point it names; and nothing across the direction."""
    pack = made(llama)
    d = pack.direction("line")
    edit = pack.edit(Dose("line", kind, 0.5, unit))
    rows = llama.batch([llama.encode(PROMPTS[0])])
    before = llama.run(rows, read=[MIDDLE]).acts[MIDDLE][0]
    after = llama.run(rows, read=[MIDDLE], edits=[edit]).acts[MIDDLE][0]
    along = d.project(before)
    dose = 0.5 * d.scale if unit == "sigma" else 0.5
    place = dose + (d.center if unit == "sigma" else 0)
    expected = {"add": along + dose, "clamp": torch.full_like(along, place),
                "cap": along.clamp(max=place), "floor": along.clamp(min=place),
                "ablate": torch.zeros_like(along)}[kind]
    assert torch.allclose(d.project(after), expected, atol=1e-4)
    change = after - before
    assert (change - d.project(change)[:, None] * d.vector).norm() < 1e-4
    if kind != "ablate":
        assert pack.in_units(Dose("line", kind, 0.5, unit)) == pytest.approx(
            place if kind in PLACES else dose)


def test_another_model_refuses_a_pack(
    tiny: Callable[[str], HookedModel], llama: HookedModel, tmp_path: Path
) -> None:
    """Also one of the same shape."""
    path = save_pack(made(llama), tmp_path / "p.toml")
    for other in (tiny("gpt2"), llama.random_copy(1)):
        with pytest.raises(ModelMismatchError, match="make one"):
            load_pack(path, other)


@pytest.mark.parametrize(("more", "error", "says"), [
    ({"presets": {"x": [Dose("lime")]}}, SteeringError, "no direction 'lime'"),
    ({"presets": {"x": []}}, SteeringError, "holds no edit"),
    ({"presets": {OFF: [Dose("line")]}}, SteeringError, "must be empty"),
    ({"presets": {"x": [Dose("line", "push")]}}, SteeringError, "add, clamp"),
    ({"presets": {"x": [Dose("line", unit="mile")]}}, SteeringError, "sigma, units"),
    ({"presets": {"x": [Dose("line", where="there")]}}, SteeringError, "there"),
    ({"presets": {"x": [Dose("line", strength=float("nan"))]}}, SteeringError, "finite"),
    ({"presets": {"x": [Dose("line", point="blocks.7.hook_resid_post")]}}, HookPointError,
     "blocks.7"),
    ({"thresholds": {"lime": 1.0}}, SteeringError, "no direction 'lime'"),
])
def test_a_preset_that_cannot_be_applied_is_refused(
    llama: HookedModel, more: dict[str, object], error: type[Exception], says: str
) -> None:
    """When the pack is made, not when somebody asks for it."""
    with pytest.raises(error, match=says):
        made(llama, **more)


def test_a_damaged_pair_is_refused(llama: HookedModel, tmp_path: Path) -> None:
    """Other tensors, other places, other keys, no file, no TOML: each is named."""
    path = save_pack(made(llama), tmp_path / "p.toml")
    text = path.read_text()

    def refused(says: str, edited: str) -> None:
        path.write_text(edited)
        with pytest.raises(StoreError, match=says):
            read_pack(path)

    refused("beside it", text.replace('"p.safetensors"', '"../p.safetensors"'))
    refused("missing", text.replace('"p.safetensors"', '"q.safetensors"'))
    refused("schema", text.replace("schema = 1", "schema = 2"))
    refused("colour", text + '\n[colour]\nx = 1\n')
    refused("scale", text.replace("scale = 2.0", "scale = 0.0"))
    refused("strength", text.replace("strength = -1.25", "strength = nan", 1))
    refused("not valid TOML", text + "=")
    refused("no vector 'lime'", text.replace('directions."line"', 'directions."lime"'))
    path.write_text(text)
    other = save_pack(made(llama, directions={"line": direction(llama, torch.ones(32))}),
                      tmp_path / "q.toml")
    shutil.copy(other.with_suffix(".safetensors"), tmp_path / "p.safetensors")
    with pytest.raises(StoreError, match="SHA-256"):
        read_pack(path)
    with pytest.raises(StoreError, match="cannot be read"):
        read_pack(tmp_path / "none.toml")
    with pytest.raises(SteeringError, match="toml"):
        save_pack(made(llama), tmp_path / "p.json")


def test_numbers_of_numpy_are_written_as_numbers(llama: HookedModel, tmp_path: Path) -> None:
    """A threshold from np.quantile, say."""
    pack = made(llama, thresholds={"line": np.quantile([0.25, 0.75], 0.5)})
    assert load_pack(save_pack(pack, tmp_path / "p.toml"), llama).threshold("line") == 0.5


def test_a_probe_of_the_same_name_is_not_overwritten(llama: HookedModel, tmp_path: Path) -> None:
    """The tensors would stand where it is; a pack's own are replaced."""
    probe = tmp_path / "p.safetensors"
    save_probe(Probe(direction(llama), 0.0, 8), probe)
    before = probe.read_bytes()
    with pytest.raises(SteeringError, match="overwritten"):
        save_pack(made(llama), tmp_path / "p.toml")
    assert probe.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["p.safetensors"]
    for _ in range(2):
        save_pack(made(llama), tmp_path / "q.toml")
