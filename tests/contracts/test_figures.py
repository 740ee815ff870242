"""Every figure of the table passes one contract, drawn from a run with planted truths."""

import json
import re
import shutil
from pathlib import Path

import plotly.io as pio
import pytest

from tests.reports.synthetic_run import MODEL, TWIN, write_run
from virtuelens import storage
from virtuelens.audits.run import TABLES, Run, open_run
from virtuelens.reports import writing_figures
from virtuelens.reports.figures import FIGURES

HOSTILE = "<script>alert(1)</script><b>x</b>\u202e%{z}"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A whole run with a twin."""
    return open_run(write_run(tmp_path_factory.mktemp("run")))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same run with markup in every name that comes from outside."""
    path = tmp_path_factory.mktemp("hostile")
    write_run(path, twin=False, rename={MODEL: HOSTILE, "sycophancy": HOSTILE})
    for table, columns in {
        "evidence": ("source", "method", "position"), "scores": ("source",),
        "steering": ("behaviour",), "features": ("sae",),
    }.items():
        frame = storage.read_table(path / f"{table}.parquet")
        for column in columns:
            frame[column] = frame[column].where(
                ~frame[column].isin(["length", "lda", "response_mean", "praising",
                                     "sycophant-mid"]), HOSTILE)
        storage.write_table(path / f"{table}.parquet", frame)
    return open_run(path)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_draws_model_and_twin(name: str, run: Run) -> None:
    """A row of FIGURES draws from a whole run, and is JSON without NaN for the page."""
    assert FIGURES[name].name == name
    for model in (MODEL, TWIN):
        figure = FIGURES[name].draw(run, model, "sycophancy")
        assert figure is not None and len(figure.data)
        value = json.loads(pio.to_json(figure, validate=True))
        assert "NaN" not in json.dumps(value)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_shows_the_rows_that_it_cites(name: str, run: Run, tmp_path: Path) -> None:
    """Of a run that holds these rows and no others the same is drawn; without them nothing is."""
    drawn = FIGURES[name].draw(run, MODEL, "sycophancy")
    for kept in (True, False):
        path = tmp_path / str(kept)
        shutil.copytree(run.path, path)
        cited = {cite.table: cite.where for cite in FIGURES[name].rows}
        for table in TABLES:
            frame = run.table(table)
            mine = frame.index == frame.index if table in cited else frame.index != frame.index
            for column, values in cited.get(table, {}).items():
                mine &= frame[column].isin(values).to_numpy()
            storage.write_table(path / f"{table}.parquet", frame[mine if kept else ~mine])
        again = FIGURES[name].draw(open_run(path), MODEL, "sycophancy")
        assert (again is not None and again.to_json() == drawn.to_json()) == kept
    for cite in FIGURES[name].rows:
        assert f"{cite.table}.parquet" in FIGURES[name].cites


@pytest.mark.parametrize("name", FIGURES)
def test_axes_have_units_and_titles_say_what_is_seen_and_n(name: str, run: Run) -> None:
    """Each direction has an axis title that ends with its unit; the note states n."""
    figure = FIGURES[name].draw(run, MODEL, "sycophancy")
    for axes in (list(figure.select_xaxes()), list(figure.select_yaxes())):
        titles = [a.title.text for a in axes if a.title.text]
        assert titles
        assert all(re.search(r"\(.+\)$", t) for t in titles), titles
    meta = figure.layout.meta
    assert "sycophancy" in meta["title"] and MODEL in meta["title"]
    assert re.search(r"\bn = \d+", meta["note"])
    assert FIGURES[name].heading and FIGURES[name].about.endswith(".")


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_escapes_text(name: str, hostile: Run) -> None:
    """No markup, directional character or hover macro from a name survives into a label."""
    figure = FIGURES[name].draw(hostile, HOSTILE, HOSTILE)
    figure.update_layout(meta=None)  # plain text, escaped by whoever shows it
    text = json.dumps(json.loads(pio.to_json(figure)), ensure_ascii=False)
    assert "alert" in text
    assert "<script" not in text and "<b>x" not in text and "\u202e" not in text
    assert not any("alert" in str(trace.hovertemplate) for trace in figure.data)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_none_without_data(name: str, run: Run, tmp_path: Path) -> None:
    """No rows, an unknown concept, or a run of run.json alone: None, never an empty plot."""
    assert FIGURES[name].draw(run, MODEL, "no such concept") is None
    storage.write_json(tmp_path / "run.json", run.about)
    assert FIGURES[name].draw(open_run(tmp_path), MODEL, "sycophancy") is None


def test_the_budget_line_is_the_budget_that_steering_keeps() -> None:
    """The figure's constant equals the one in steering, which is not imported for a line."""
    from virtuelens.steering.side_effects import KL_BUDGET

    assert writing_figures.KL_BUDGET == KL_BUDGET
