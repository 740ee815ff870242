"""The report: one file, whole, safe, and drawn from what the run holds."""

import html.parser
import json
import re
from pathlib import Path

import pytest

from tests.reports.synthetic_run import MODEL, SENTENCE, TWIN, write_run
from virtuelens import storage
from virtuelens.audits.run import open_run
from virtuelens.errors import StoreError
from virtuelens.reports.figures import FIGURES
from virtuelens.reports.html import render, write_report

HOSTILE = "</script><script>alert('x')</script>\u202e"


class Elements(html.parser.HTMLParser):
    """Counts elements and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


@pytest.fixture(scope="module")
def run_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run with a twin."""
    return write_run(tmp_path_factory.mktemp("run"))


def without_plotly(page: str) -> str:
    """The page without the longest script, which is plotly's."""
    return page.replace(max(re.findall(r"<script>.*?</script>", page, re.S), key=len), "")


def test_the_report_is_one_file_that_needs_no_network(run_path: Path) -> None:
    """plotly.js is inside once, nothing is linked, a policy forbids fetching, size is bounded."""
    page = write_report(run_path).read_text("utf-8")
    assert page.count("plotly.js v") == 1
    assert len(page) < 8_000_000
    ours = Elements(without_plotly(page))
    outside = [v for k, v in ours.attributes if k in {"src", "href"} and v
               and not v.startswith(("#", "data:"))]
    assert outside == []
    assert "default-src 'none'" in page
    assert len([t for t in ours.tags if t == "h1"]) == 1


def test_a_report_goes_where_it_is_asked_for(run_path: Path, tmp_path: Path) -> None:
    """From an opened run as from its folder."""
    page = write_report(open_run(run_path), tmp_path / "elsewhere" / "page.html")
    assert page.read_text("utf-8") == write_report(run_path).read_text("utf-8")


def test_the_first_screen_has_every_verdict_with_its_null(run_path: Path) -> None:
    """The verdict table precedes all figures and names rung, AUROC, slope and both nulls."""
    page = render(open_run(run_path))
    table = page[page.index('<table class="verdict">'):page.index("</table>")]
    for f in open_run(run_path).findings:
        assert f"{f['rung']} · {f['rung_name']}" in table
        assert f"shuffled labels {f['auroc']['null']:.2f}" in table
        assert f"random p99 {f['steering']['random_p99']:.2f}" in table
    assert MODEL in table and TWIN in table
    assert page.index("</table>") < page.index('class="plot"')


def test_every_figure_and_every_reason_is_on_the_page(run_path: Path) -> None:
    """Each row of FIGURES for each concept and model; each finding's reason and gaps."""
    page = render(open_run(run_path))
    plots = [v for v in Elements(without_plotly(page)).attributes if v == ("class", "plot")]
    assert len(plots) == 3 * 2 * len(FIGURES)
    for f in open_run(run_path).findings:
        assert f["stopped_because"][1:60].replace("'", "&#39;") in page
        assert all(t in page for t in f["not_tested"])


def test_text_from_outside_cannot_become_markup(tmp_path: Path) -> None:
    """Names and tokens that close scripts arrive as text: the page has only its own elements."""
    plain = render(open_run(write_run(tmp_path / "plain", twin=False)))
    nasty = render(open_run(write_run(
        tmp_path / "nasty", twin=False, rename={MODEL: HOSTILE, "sycophancy": HOSTILE},
        passage=[HOSTILE] * (len(SENTENCE.split()) + 1),
    )))
    safe, ours = Elements(without_plotly(plain)), Elements(without_plotly(nasty))
    assert "alert(" in nasty
    assert {t: ours.tags.count(t) for t in set(ours.tags)} == {
        t: safe.tags.count(t) for t in set(safe.tags)}
    assert "\u202e" not in nasty
    assert not [k for k, _ in ours.attributes if k.startswith("on")]


def test_an_interrupted_run_says_so_and_an_empty_one_still_opens(
    run_path: Path, tmp_path: Path
) -> None:
    """Incomplete is the first thing said; a run without findings is a page without figures."""
    assert "was interrupted" not in render(open_run(run_path))
    about = open_run(run_path).about | {"complete": False}
    storage.write_json(tmp_path / "run.json", about)
    page = write_report(tmp_path).read_text("utf-8")
    assert "was interrupted" in page and "No concept was finished" in page
    assert "plotly.js v" not in page


def test_a_minimal_report_json_is_enough(run_path: Path, tmp_path: Path) -> None:
    """Only the keys that other programs may rely on, no tables, no steering: it renders."""
    whole = storage.read_json(run_path / "report.json")
    keys = ("model", "concept", "rung", "rung_name", "auroc", "surface_auroc", "layer", "position",
            "stopped_because", "not_tested")
    whole["findings"] = [{k: f[k] for k in keys} | {"steering": None} for f in whole["findings"]]
    whole["findings"][0]["auroc"] = {"value": 0.7, "low": None, "high": None, "n": 4, "null": None}
    storage.write_json(tmp_path / "report.json", whole)
    storage.write_json(tmp_path / "run.json", open_run(run_path).about)
    assert "0.70 [no interval]" in render(open_run(tmp_path))


def test_a_minimal_run_json_and_broken_generations_are_enough(
    run_path: Path, tmp_path: Path
) -> None:
    """What a run must hold, without twin, versions or times; half a line of what a model said."""
    for name in ("report.json", "evidence.parquet"):
        (tmp_path / name).write_bytes((run_path / name).read_bytes())
    about = open_run(run_path).about
    storage.write_json(tmp_path / "run.json", {
        k: about[k] for k in ("schema", "model", "config", "complete")})
    said = {"model": MODEL, "concept": "sycophancy", "dose": 1.0}
    whole = said | {"prompt": "asked", "text": "answered"}
    storage.write_text(tmp_path / "generations.jsonl",
                       "\n".join(map(json.dumps, (said, whole, [1]))))
    page = render(open_run(tmp_path))
    assert "(1 samples, not judged)" in page and "answered" in page


def test_what_is_not_a_run_is_refused(tmp_path: Path) -> None:
    """No report.html appears in a folder that is not a run."""
    with pytest.raises(StoreError, match="not a run directory"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []
