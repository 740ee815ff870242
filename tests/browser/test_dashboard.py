"""The dashboard and the report in a real browser: they open, answer to clicks and draw."""

import os
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reports.synthetic_run import MODEL, write_run
from virtuelens.reports.dashboard import streamlit_command
from virtuelens.reports.figures import FIGURES
from virtuelens.reports.html import write_report

selenium = pytest.importorskip("selenium", reason="selenium is not installed: pip install selenium")
from selenium import webdriver  # noqa: E402 (after the skip)
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.remote.webdriver import WebDriver  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--window-size=1400,1000",
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (CHROMIUM.exists() and DRIVER.exists()),
        reason="needs Debian's browser: apt-get install chromium chromium-driver",
    ),
]
WAIT = 60


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a whole run, its report, and a foreign folder."""
    folder = tmp_path_factory.mktemp("runs")
    write_report(write_run(folder / "20260301-whole"))
    (folder / "foreign").mkdir()
    (folder / "foreign" / "run.json").write_text('{"schema": 99}')
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    """Headless Chromium with a fresh profile; its console is kept."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def dashboard(runs: Path) -> Iterator[str]:
    """The address of a dashboard over the runs, started as the command line starts it."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = subprocess.Popen(
        streamlit_command(runs, port), env=os.environ | {"VIRTUELENS_RUNS": str(runs)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _until_healthy(server, f"{address}/_stcore/health")
        yield address
    finally:
        server.terminate()
        server.wait(20)


def _until_healthy(server: "subprocess.Popen[bytes]", address: str) -> None:
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        assert server.poll() is None, "streamlit ended at once"
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"the dashboard did not answer within {WAIT} s")


def shoot(driver: WebDriver, tmp_path: Path, name: str) -> Path:
    """Save what the window shows, into $VIRTUELENS_SCREENSHOTS where it is set."""
    folder = Path(os.environ.get("VIRTUELENS_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    assert driver.save_screenshot(str(folder / f"{name}.png"))
    return folder / f"{name}.png"


def words(driver: WebDriver) -> str:
    """The text a reader sees."""
    return driver.find_element(By.TAG_NAME, "body").text


def test_a_reader_opens_a_run_and_sees_its_figures(
    browser: WebDriver, dashboard: str, tmp_path: Path
) -> None:
    """A click in the list opens the run; verdict and drawn figures are there; so are the rungs."""
    wait = WebDriverWait(browser, WAIT)
    browser.get(dashboard)
    wait.until(lambda d: "2 of 2 runs" in words(d))
    assert "schema 99" in words(browser)
    assert MODEL in words(browser)
    shoot(browser, tmp_path, "dashboard-runs")

    browser.find_element(By.XPATH, "//button[.//p[text()='Open']]").click()
    wait.until(lambda d: "Why it stops here" in words(d))
    wait.until(lambda d: len(d.find_elements(By.CSS_SELECTOR, ".js-plotly-plot")) == 2 * len(
        FIGURES))
    assert "run=20260301-whole" in browser.current_url
    cells = browser.find_elements(By.CSS_SELECTOR, ".js-plotly-plot .heatmaplayer image")
    assert cells, "the layer map drew no cells"
    shoot(browser, tmp_path, "dashboard-findings")
    browser.execute_script("arguments[0].scrollIntoView()", cells[0])
    time.sleep(0.5)
    shoot(browser, tmp_path, "dashboard-figures")
    assert "Traceback" not in words(browser)

    browser.find_element(By.PARTIAL_LINK_TEXT, "rungs mean").click()
    wait.until(lambda d: "Must beat" in words(d))
    assert shoot(browser, tmp_path, "dashboard-rungs").stat().st_size > 10_000


def test_the_report_draws_everything_from_its_own_file(
    browser: WebDriver, runs: Path, tmp_path: Path
) -> None:
    """Opened as a file, every figure is drawn, nothing is fetched, and nothing goes wrong."""
    browser.get((runs / "20260301-whole" / "report.html").as_uri())
    for plot in browser.find_elements(By.CSS_SELECTOR, ".plot"):
        browser.execute_script("arguments[0].scrollIntoView()", plot)
        WebDriverWait(browser, WAIT).until(
            lambda d, p=plot: "drawn" in p.get_attribute("class")
        )
    drawn = browser.find_elements(By.CSS_SELECTOR, ".plot.drawn")
    assert len(drawn) == 3 * 2 * len(FIGURES)  # concepts, models
    fetched = browser.execute_script(
        "return performance.getEntriesByType('resource').map((e) => e.name)"
    )
    assert [f for f in fetched if re.match(r"https?:", f)] == []
    severe = [e["message"] for e in browser.get_log("browser") if e["level"] == "SEVERE"
              and "report.html" in e["message"]]
    assert severe == []
    browser.execute_script("window.scrollTo(0, 0)")
    shoot(browser, tmp_path, "report")


def test_the_report_fits_a_narrow_screen(browser: WebDriver, runs: Path, tmp_path: Path) -> None:
    """On a telephone's width nothing needs scrolling sideways."""
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True})
    try:
        browser.get((runs / "20260301-whole" / "report.html").as_uri())
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        shoot(browser, tmp_path, "report-narrow")
        assert wide <= 390
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

