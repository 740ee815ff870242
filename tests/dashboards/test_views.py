"""Every view of the dashboard, run by Streamlit's own test runner on synthetic runs."""

import json
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from tests.reports.synthetic_run import MODEL, TWIN, write_run
from virtuelens import storage
from virtuelens.reports.figures import FIGURES

APP = Path(__file__).parents[2] / "dashboards"
HOSTILE = "<script>alert(1)</script>\u202e**x**"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run, an interrupted one with hostile names, and two that cannot be read."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "20260301-whole")
    write_run(folder / "20260302-hostile", complete=False, twin=False, rename={
        MODEL: HOSTILE, "sycophancy": "<img src=x onerror=alert(1)>"})
    (folder / "20260303-foreign").mkdir()
    (folder / "20260303-foreign" / "run.json").write_text(json.dumps({"schema": 99}))
    (folder / "20260304-broken").mkdir()
    (folder / "20260304-broken" / "run.json").write_text("{")
    (folder / "not-a-run").mkdir()
    return folder


@pytest.fixture(autouse=True)
def environment(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher names the folder in the environment."""
    monkeypatch.setenv("VIRTUELENS_RUNS", str(runs))


def view(name: str, run: str = "") -> AppTest:
    """A view, run once, on the run of that name."""
    app = AppTest.from_file(str(APP / name), default_timeout=60)
    if run:
        app.query_params["run"] = run
    app.run()
    assert not app.exception, app.exception
    return app


def text_of(app: AppTest) -> str:
    """All words on the page."""
    kinds = (app.title, app.header, app.subheader, app.markdown, app.caption, app.warning,
             app.error, app.info)
    return "\n".join(str(e.value) for kind in kinds for e in kind)


def test_the_app_opens_on_the_list_of_runs() -> None:
    """The app itself is navigation, and its first page is the list."""
    assert "Runs" in [t.value for t in view("app.py").title]


def test_the_list_names_every_run_and_says_why_one_cannot_be_read() -> None:
    """Whole, interrupted, foreign and broken runs are all listed; none crashes the page."""
    app = view("views/runs.py")
    words = text_of(app)
    assert "4 of 4 runs" in words
    assert "sycophancy: 5 specific, 3 general (twin)" in words
    assert "schema 99" in words
    assert "not valid JSON" in words
    assert words.count("· complete") == 1 and words.count("· interrupted") == 1
    assert {b.key for b in app.button} == {"open-20260301-whole", "open-20260302-hostile"}


def test_the_filter_keeps_the_runs_that_hold_every_word() -> None:
    """A word of the twin's name leaves one run."""
    app = view("views/runs.py")
    app.text_input[0].input("candid organism").run()
    assert "1 of 4 runs" in text_of(app)


def test_an_empty_or_missing_folder_is_said_not_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both views stay up and say what to do."""
    monkeypatch.setenv("VIRTUELENS_RUNS", str(tmp_path))
    assert "no runs" in text_of(view("views/runs.py"))
    assert "no readable run" in text_of(view("views/findings.py"))
    monkeypatch.setenv("VIRTUELENS_RUNS", str(tmp_path / "gone"))
    assert "is not a folder of runs" in text_of(view("views/runs.py"))
    assert "is not a folder of runs" in text_of(view("views/findings.py"))


def test_findings_show_every_figure_for_model_and_twin() -> None:
    """The view draws what the report draws: each row of FIGURES, side by side."""
    app = view("views/findings.py", "20260301-whole")
    assert len(app.get("plotly_chart")) == 2 * len(FIGURES)
    words = text_of(app)
    assert "5 · specific" in words and "3 · general" in words
    assert "Why it stops here" in words
    assert [r.heading in words for r in FIGURES.values()] == [True] * len(FIGURES)


def test_choosing_a_concept_and_a_model_changes_what_is_shown() -> None:
    """Honesty in the twin alone: one column, its rung, half the figures."""
    app = view("views/findings.py", "20260301-whole")
    app.sidebar.selectbox[1].select("honesty").run()
    app.sidebar.multiselect[0].set_value([TWIN]).run()
    assert not app.exception
    assert len(app.get("plotly_chart")) == len(FIGURES)
    assert app.header[0].value == "Honesty"
    assert "1 · decodable" in text_of(app)


def test_hostile_names_are_shown_and_do_nothing() -> None:
    """Markup and directional characters in names arrive escaped, in an interrupted run too."""
    words = text_of(view("views/findings.py", "20260302-hostile"))
    assert "interrupted" in words
    assert "<script>" not in words and "<img" not in words and "\u202e" not in words
    assert "[U+202E" in words.replace("\\", "")


def test_a_run_name_cannot_reach_outside_the_folder(runs: Path) -> None:
    """A path in the address is not followed; the newest run is shown and the reader told."""
    app = view("views/findings.py", f"../{runs.name}/20260301-whole")
    assert "no readable run" in text_of(app)


def test_a_damaged_table_or_finding_is_said_not_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A truncated table, one without a column, and a finding without a key: one line each."""
    monkeypatch.setenv("VIRTUELENS_RUNS", str(tmp_path))
    run = write_run(tmp_path / "run", twin=False)
    scores, report = (run / "scores.parquet"), (run / "report.json")
    whole = scores.read_bytes()
    scores.write_bytes(whole[: len(whole) // 2])
    assert "damaged" in text_of(view("views/findings.py", "run"))
    storage.write_table(scores, pd.DataFrame({"model": [MODEL], "concept": ["sycophancy"]}))
    assert "lacks the column" in text_of(view("views/findings.py", "run"))
    scores.write_bytes(whole)
    value = storage.read_json(report)
    del value["findings"][0]["auroc"]
    storage.write_json(report, value)
    assert "lacks 'auroc'" in text_of(view("views/findings.py", "run")).replace("\\", "")


def test_the_rungs_are_explained_with_what_each_must_beat() -> None:
    """All six rungs are on the page."""
    app = view("views/rungs.py")
    assert len(app.subheader) == 6
    assert "random directions" in text_of(app)
