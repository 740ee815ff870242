"""The whole audit on tiny models: every architecture, the files it leaves, and going on later."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open

import virtuelens as vl
from tests.audits.conftest import TINY, write_pack
from tests.tiny_models import ARCHITECTURES
from virtuelens import storage
from virtuelens.audits.audit import Step, audit
from virtuelens.audits.features import sae_of
from virtuelens.audits.run import TABLES, open_run
from virtuelens.errors import DiskError, ModelLoadError, PackError, ProbeError, StoreError

FINDING = {
    "model", "concept", "rung", "rung_name", "auroc", "surface_auroc", "layer", "position",
    "steering", "stopped_because", "not_tested",
}
"""Keys of a finding that other programs read."""


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_every_architecture_is_audited(
    tiny: Callable[[str], Path], pack: Path, tmp_path: Path, architecture: str
) -> None:
    """A random-weight directory goes through every step and leaves a whole run."""
    run = audit(str(tiny(architecture)), concepts=[str(pack)], out=tmp_path / "run", config=TINY)
    assert run.complete
    (finding,) = run.findings
    assert set(finding) >= FINDING
    assert finding["rung"] < 4, finding["stopped_because"]  # random weights use no concept
    assert finding["steering"]["n_random"] == TINY.n_random_directions
    page = vl.write_report(run.path)
    assert finding["stopped_because"][:20] in page.read_text(encoding="utf-8")


def test_what_a_run_leaves_is_as_designed(
    tiny: Callable[[str], Path], pack: Path, tmp_path: Path
) -> None:
    """report.json has the published shape, finite numbers, and every table its columns."""
    model = str(tiny("llama"))
    run = audit(model, twin=str(tiny("gpt2")), concepts=[str(pack)], out=tmp_path / "run",
                config=TINY)
    report = storage.read_json(run.path / "report.json", schema=1)
    assert set(report) == {"schema", "run", "model", "twin", "findings", "not_audited"}
    assert [f["model"] for f in report["findings"]] == list(run.models)
    assert {"fingerprint", "architecture", "name"} <= set(report["twin"])
    for f in report["findings"]:
        assert set(f["auroc"]) == {"value", "low", "high", "n", "null"}
        assert f["auroc"]["low"] <= f["auroc"]["value"] <= f["auroc"]["high"]
        assert {"slope", "low", "high", "random_p99", "kl_at_dose"} <= set(f["steering"])
    assert all(math.isfinite(x) for x in numbers(report))
    for name, columns in TABLES.items():
        assert list(run.table(name).columns) == list(columns)
    evidence = run.table("evidence")
    assert set(evidence["source"]) - {"control_task"} == {
        "probe", "bag_of_words", "length", "position", "embedding", "random_weights"}
    assert set(evidence["split"]) - {"neutral"} == {"cv", "test", "shifted", "transfer"}
    probes = sorted((run.path / "probes").glob("*.safetensors"))
    assert len(probes) == 2
    for probe, about in zip(probes, sorted(run.models), strict=True):
        with safe_open(probe, framework="pt") as f:
            assert "fingerprint" in json.dumps(f.metadata()), about


def numbers(value: object) -> list[float]:
    """Every number in a JSON value."""
    if isinstance(value, dict):
        return [x for v in value.values() for x in numbers(v)]
    if isinstance(value, list):
        return [x for v in value for x in numbers(v)]
    return [value] if isinstance(value, float) else []


def test_the_same_seed_gives_the_same_report(
    tiny: Callable[[str], Path], pack: Path, tmp_path: Path
) -> None:
    """Two runs find the same, to the last digit."""
    a, b = (audit(str(tiny("llama")), concepts=[str(pack)], out=tmp_path / x, config=TINY)
            for x in "ab")
    assert a.findings == b.findings
    for name in TABLES:
        assert a.table(name).equals(b.table(name))


def stop_at(concept: str) -> Callable[[Step], None]:
    """A progress display in which the user presses Ctrl-C at that concept."""
    def progress(step: Step) -> None:
        if step.concept == concept and step.stage.startswith("dose"):
            raise KeyboardInterrupt

    return progress


def test_interrupted_it_keeps_what_is_done_and_goes_on(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    """The finished concept is not measured again, and the end is that of an unbroken run."""
    packs = [str(write_pack(tmp_path / "packs", name)) for name in ("calm", "warm")]
    model, out = str(tiny("llama")), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        audit(model, concepts=packs, out=out, config=TINY, progress=stop_at("warm"))
    kept = open_run(out)
    assert not kept.complete
    assert [f["concept"] for f in kept.findings] == ["calm"]
    (part,) = (out / "parts").glob("*/part.json")
    written = part.stat().st_mtime_ns
    stages: list[tuple[str, str]] = []
    run = audit(model, concepts=packs, out=out, config=TINY,
                progress=lambda step: stages.append((step.concept, step.stage)))
    assert run.complete
    assert not any(concept == "calm" for concept, _ in stages)
    assert part.stat().st_mtime_ns == written
    whole = audit(model, concepts=packs, out=tmp_path / "whole", config=TINY)
    assert run.findings == whole.findings


def test_a_changed_pack_is_measured_again_elsewhere(
    tiny: Callable[[str], Path], pack: Path, tmp_path: Path
) -> None:
    """Parts belong to weights, pack and settings: a folder of another audit is refused."""
    model, out = str(tiny("llama")), tmp_path / "run"
    audit(model, concepts=[str(pack)], out=out, config=TINY)
    (pack / "concept.toml").write_text(
        (pack / "concept.toml").read_text().replace('version = "0.1.0"', 'version = "0.2.0"'))
    with pytest.raises(StoreError, match="another audit"):
        audit(model, concepts=[str(pack)], out=out, config=TINY)
    with pytest.raises(StoreError, match="another audit"):
        audit(str(tiny("gpt2")), concepts=[str(pack)], out=out, config=TINY)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep")
    with pytest.raises(StoreError, match="not a run directory"):
        audit(model, concepts=[str(pack)], out=tmp_path / "notes", config=TINY)


def test_a_run_of_another_schema_is_refused(tmp_path: Path) -> None:
    """The version that is there and the one that is read are named."""
    (tmp_path / "run.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(StoreError, match="99"):
        open_run(tmp_path)
    with pytest.raises(StoreError, match=r"no run\.json"):
        open_run(tmp_path / "nothing")


def test_a_full_disk_keeps_the_finished_concept(
    tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence; the run opens, says it is unfinished, and no file is half written."""
    packs = [str(write_pack(tmp_path / "packs", name)) for name in ("calm", "warm")]
    model, out = str(tiny("llama")), tmp_path / "run"
    import os

    sync, full = os.fsync, {"now": False}

    def fsync(fd: int) -> None:
        if full["now"]:
            raise OSError(28, "No space left on device")
        sync(fd)

    def progress(step: Step) -> None:
        full["now"] = step.concept == "warm"

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(DiskError, match="disk is full"):
        audit(model, concepts=packs, out=out, config=TINY, progress=progress)
    assert list(out.rglob("*.part")) == []
    assert [f["concept"] for f in open_run(out).findings] == ["calm"]
    full["now"] = False
    assert audit(model, concepts=packs, out=out, config=TINY).complete


def test_a_model_without_chat_template_or_pad_token_is_audited(
    tiny: Callable[[str], Path], pack: Path, tmp_path: Path
) -> None:
    """A base model: turns are rendered plainly."""
    import shutil

    from tests.tiny_models import tiny_tokenizer

    folder = tmp_path / "base"
    shutil.copytree(tiny("llama"), folder)
    for name in ("chat_template.jinja", "tokenizer_config.json", "tokenizer.json"):
        (folder / name).unlink(missing_ok=True)
    tiny_tokenizer(chat=False).save_pretrained(folder)
    assert audit(str(folder), concepts=[str(pack)], out=tmp_path / "run", config=TINY).complete


def test_a_real_story_model_is_audited(stories_folder: Path, tmp_path: Path) -> None:
    """A trained model of 260 thousand parameters, with the shipped English packs."""
    run = audit(str(stories_folder), concepts=["sycophancy"], out=tmp_path / "run", config=TINY)
    (finding,) = run.findings
    assert finding["rung"] <= 3, finding["stopped_because"]  # it tells stories and answers nobody


def test_a_concept_that_cannot_be_measured_leaves_the_others(
    tiny: Callable[[str], Path], pack: Path, tmp_path: Path
) -> None:
    """Its reason stands in the run, the report and the page; alone, the reason is raised."""
    bad = write_pack(tmp_path / "packs", "badly")
    items = bad / "behaviour" / "english.choice.jsonl"
    lines = [json.loads(line) for line in items.read_text("utf-8").splitlines()]
    items.write_text("".join(json.dumps(v | {"group": "one"}) + "\n" for v in lines), "utf-8")
    model = str(tiny("llama"))
    run = audit(model, concepts=[str(bad), str(pack)], out=tmp_path / "run", config=TINY)
    assert run.complete
    assert [f["concept"] for f in run.findings] == [pack.name]
    (left,) = run.not_audited
    assert left["concept"] == "badly"
    assert "group" in left["reason"]
    assert "was not audited" in vl.write_report(run.path).read_text("utf-8")
    with pytest.raises(ProbeError, match="group"):
        audit(model, concepts=[str(bad)], out=tmp_path / "alone", config=TINY)


def test_what_a_run_could_not_tell_apart_is_refused(
    tiny: Callable[[str], Path], pack: Path, tmp_path: Path
) -> None:
    """A pack twice, a model beside itself, no pack at all: nothing is written."""
    model, out = str(tiny("llama")), tmp_path / "run"
    with pytest.raises(PackError, match="each once"):
        audit(model, concepts=[str(pack), str(pack)], out=out, config=TINY)
    with pytest.raises(PackError, match="none"):
        audit(model, concepts=[], out=out, config=TINY)
    with pytest.raises(ModelLoadError, match="by name"):
        audit(model, twin=model, concepts=[str(pack)], out=out, config=TINY)
    assert not out.exists()


@pytest.mark.parametrize("text", ["[]", '{"metadata": []}', '{"metadata": {"virtuelens": 1}}', "{"])
def test_a_strange_sae_on_the_search_path_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """It is not this model's, whatever it is."""
    (tmp_path / "saes" / "a").mkdir(parents=True)
    (tmp_path / "saes" / "a" / "cfg.json").write_text(text)
    monkeypatch.setenv("VIRTUELENS_PATH", str(tmp_path))
    assert sae_of("f" * 64) is None
