"""virtuelens sae: cards of features, families of seeds, and errors in one line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.sparse_coding.conftest import identity_sae
from virtuelens import storage
from virtuelens.cli.sae import app
from virtuelens.errors import VirtueLensError

SMALL = """
schema = 1
name = "small"
about = "of a test"
model = "organism:sycophant"
point = "blocks.1.hook_resid_post"
[data]
source = "organism"
name = "sycophant"
texts = 300
held_out = 60
[sae]
architecture = "topk"
d_sae = 64
k = 8
[training]
steps = 30
batch = 256
"""


def run(*arguments: str):
    """In this process."""
    return CliRunner().invoke(app, list(arguments))


def test_a_card_is_shown_and_written(tmp_path: Path) -> None:
    """By the SAE's own model and held-out texts; JSON on standard output is the files' content."""
    shown = run("card", "sycophant-mid", "5,17", "--n-texts", "60", "--concepts", "sycophancy",
                "--out", str(tmp_path / "cards"), "--json")
    assert shown.exit_code == 0, shown.exception
    cards = json.loads(shown.stdout)
    assert [c["feature"] for c in cards] == [5, 17]
    assert cards[1] == storage.read_json(tmp_path / "cards" / "feature-17.json", schema=1)
    assert len(storage.read_table(tmp_path / "cards" / "cards.parquet")) == 2
    plain = run("card", "sycophant-mid", "17", "--n-texts", "20")
    assert "feature 17 of sycophant-mid" in plain.stdout
    assert "speaks for" in plain.stdout


def test_several_seeds_are_compared(tmp_path: Path) -> None:
    """One call for two seeds; the comparison is what is printed."""
    recipe = tmp_path / "small.toml"
    recipe.write_text(SMALL)
    made = run("train", str(recipe), "--out", str(tmp_path / "family"), "--seeds", "0,1", "--json")
    assert made.exit_code == 0, made.exception
    (pair,) = json.loads(made.stdout)["pairs"]
    assert (pair["first"], pair["second"], pair["matched"]) == (0, 1, "one to one")


def test_a_search_over_tokens_is_that_over_texts_where_each_has_one() -> None:
    """At the last token both ways rank alike; over all tokens the densities differ."""
    search = ("search", "organism:sycophant", "sycophant-mid", "sycophancy", "--json", "--n", "3")
    pooled, rows, tokens = (
        json.loads(run(*search, *more).stdout)
        for more in (("--position", "last_prompt"), ("--position", "last_prompt", "--each-token"),
                     ("--position", "tokens", "--each-token")))
    for one, other in zip(pooled, rows, strict=True):
        assert one["feature"] == other["feature"]
        assert one["auroc"] == pytest.approx(other["auroc"], abs=1e-3)
    assert [r["density"] for r in tokens] != [r["density"] for r in rows]
    assert all(0 <= r["q"] <= 1 for r in tokens)


def test_what_files_hold_cannot_steer_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hook point with an escape sequence, a folder whose name looks like our markup."""
    folder = tmp_path / "saes" / "[" / "b]"
    identity_sae(folder, hook_name="\x1b[31mred\x07")
    shown = run("load", str(folder))
    assert shown.exit_code == 0, shown.exception
    assert "[U+001B][31mred[U+0007]" in shown.stdout
    monkeypatch.setenv("VIRTUELENS_PATH", str(tmp_path))
    identity_sae(tmp_path / "saes" / "[bold]x[")
    assert "[bold]x[" in run("list").stdout


@pytest.mark.parametrize(("arguments", "says"), [
    (["card", "sycophant-mid", "256"], "there is no 256"),
    (["card", "sycophant-mid", "many"], "whole numbers"),
    (["card", "sycophant-mid", "1", "--texts", "no-such.jsonl"], "no-such"),
    (["card", "nobody", "1"], "No SAE"),
    (["train", "sycophant-mid", "--out", "x", "--seeds", "0,0"], "each once"),
])
def test_what_is_wrong_is_one_line(arguments: list[str], says: str) -> None:
    """Raised as an error of ours, which the command line prints with exit code 2."""
    result = run(*arguments)
    assert isinstance(result.exception, VirtueLensError)
    assert says in str(result.exception)
    assert "\n" not in str(result.exception)


def test_a_seed_below_zero_is_refused_before_anything_is_loaded() -> None:
    """As a wrong option, not by numpy after the search."""
    done = CliRunner().invoke(
        app, ["search", "organism:no-such", "no-such", "no-such", "--seed", "-1"])
    assert done.exit_code == 2
    assert "Invalid value for '--seed'" in done.output
