"""virtuelens probe: one family, all of them, what is saved, and what is refused."""

import json
from pathlib import Path

import pytest

from virtuelens.cli.probe import command
from virtuelens.errors import ModelMismatchError, ProbeError

QUICK = {"splits": 2, "permutations": 10}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Part of the sycophancy pack read from the bundled organism: last token and all tokens."""
    from virtuelens.activations.harvest import harvest
    from virtuelens.concepts.pack import load_concept
    from virtuelens.models import load_model

    folder = tmp_path_factory.mktemp("store") / "s"
    model = load_model("organism:sycophant")
    concept = load_concept("sycophancy", dialect=model.info.dialect)
    harvest(model, concept.in_split("main")[:96], points=["blocks.1.hook_resid_post"],
            positions=["last_prompt", "tokens"], out=folder)
    return folder


def test_all_families_side_by_side(store: Path, capsys, monkeypatch) -> None:
    """One row a family with AUROC, interval, null and spread; an SAE at hand is found."""
    from virtuelens.probing.comparison import FAMILIES

    command(store, "all", **QUICK, json=True)
    told = json.loads(capsys.readouterr().out)
    assert [r["method"] for r in told["methods"]] == list(FAMILIES)
    assert told["left_out"] == {}
    for row in told["methods"]:
        assert row["auroc"]["low"] <= row["auroc"]["value"] <= row["auroc"]["high"]
        assert 0 <= row["auroc"]["null"] <= 1
        assert row["over_splits"]["n"] == 2
    monkeypatch.setenv("COLUMNS", "80")
    command(store, "all", **QUICK)
    shown = capsys.readouterr().out
    assert all(f"\n{family} " in shown for family in FAMILIES)
    assert "…" not in shown


@pytest.mark.parametrize("family", ["k_sparse", "max", "ccs"])
def test_what_is_saved_can_be_used(store: Path, tmp_path: Path, family: str, capsys) -> None:
    """Each kind comes back from its file with where it reads, for its own model only."""
    from virtuelens.activations.store import open_store
    from virtuelens.probing.probes import load_probe
    from virtuelens.probing.scorers.scorer import load_scorer

    path, fingerprint = tmp_path / "p.safetensors", open_store(store).load().info.fingerprint
    command(store, family, to=path, **QUICK)
    assert capsys.readouterr().out.startswith(f"{family} at blocks.1.hook_resid_post")
    if family == "ccs":
        assert load_probe(path, fingerprint=fingerprint).direction.method == "ccs"
        return
    scorer = load_scorer(path, fingerprint=fingerprint)
    assert (scorer.position, scorer.sae) == (
        "tokens", "sycophant-mid" if family == "k_sparse" else "")
    with pytest.raises(ModelMismatchError):
        load_scorer(path, fingerprint="0" * 64)


def test_unknown_methods_are_refused(store: Path) -> None:
    """All families are named."""
    with pytest.raises(ProbeError, match=r"'magic': choose from diff_means, .*, k_sparse\."):
        command(store, "magic")
