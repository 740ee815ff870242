"""The dashboard's views of steers on trial and of feature cards."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.reports.test_cards import card
from virtuelens import storage
from virtuelens.models import load_model
from virtuelens.trials import TrialConfig, run_trials

VIEWS = Path(__file__).parents[2] / "dashboards" / "views"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with trials and cards."""
    folder = tmp_path_factory.mktemp("runs")
    model = load_model("organism:sycophant", verify=False)
    config = TrialConfig(n_doses=3, n_random=2, n_shuffled=2, max_steer_layers=1, max_items=10,
                         n_bootstrap=50)
    run_trials(model, ["sycophancy"], folder / "a-trial", config=config)
    for n in (3, 17):
        storage.write_json(folder / f"cards/feature-{n}.json", card(n))
    return folder


def view(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """A view over a folder, run once."""
    monkeypatch.setenv("VIRTUELENS_RUNS", str(folder))
    app = AppTest.from_file(str(VIEWS / name), default_timeout=60).run()
    assert not app.exception, app.exception
    return app


def words(app: AppTest) -> str:
    """All words on the page."""
    kinds = (app.header, app.subheader, app.markdown, app.caption, app.error, app.info)
    return "\n".join(str(e.value) for kind in kinds for e in kind)


def test_steers_show_verdicts_and_what_was_not_tested(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each check with its state, the figures' titles, and the missing system prompt."""
    text = words(view("steers.py", runs, monkeypatch))
    for expected in ("Beats random directions", "What else it moves", "Item by item",
                     "Would a prompt do?", "a system prompt"):
        assert expected in text


def test_features_show_the_card_that_is_chosen(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first by number; another when it is chosen; markup stays text."""
    app = view("features.py", runs, monkeypatch)
    assert "Feature 3 of" in words(app)
    app.sidebar.selectbox[1].set_value(1).run()
    assert "Feature 17 of" in words(app)
    assert "<img" not in words(app)


@pytest.mark.parametrize("name", ["steers.py", "features.py"])
def test_an_empty_folder_says_how_to_fill_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One command to make the first; a damaged file is one line."""
    assert "virtuelens" in words(view(name, tmp_path, monkeypatch))
    (tmp_path / "x").mkdir()
    for broken in ("trials.json", "feature-1.json"):
        (tmp_path / "x" / broken).write_text("{")
    assert "x/" in words(view(name, tmp_path, monkeypatch))
