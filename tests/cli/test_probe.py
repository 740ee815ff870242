"""virtuelens probe: one family, all of them, what is saved, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import typer

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


def test_an_sae_that_nothing_reads_is_refused(store: Path, tmp_path: Path) -> None:
    """Only k_sparse reads one: an option that would do nothing is an error."""
    with pytest.raises(typer.BadParameter, match="k_sparse"):
        command(store, "lda", sae="sycophant-mid", **QUICK)


def test_names_from_a_store_are_shown_as_they_are(capsys) -> None:
    """A store is a file from somewhere: brackets in it are no markup."""
    from virtuelens.cli.probe import _show, _show_all
    from virtuelens.probing.comparison import Compared, Comparison
    from virtuelens.probing.data import Site
    from virtuelens.values.estimates import Estimate

    e = Estimate(0.5, 0.4, 0.6, 10, 0.5)
    row = Compared("lda", Site("blocks.1.[red]", "[/last]"), e, 0.5, e)
    _show(row, json=False)
    _show_all(Comparison((row,), {}), "[/calm]", 2, json=False)
    shown = capsys.readouterr().out
    assert "at blocks.1.[red], [/last]" in shown
    assert "[/calm], groups" in shown
    _show(replace(row, test=replace(e, null=None)), json=False)
    assert "no null was drawn" in " ".join(capsys.readouterr().out.split())
