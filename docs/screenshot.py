"""Take the picture of a report that the README shows, with Debian's chromium.

    python docs/screenshot.py runs/<run>/report.html docs/images/report.png

Options set the window (--width, --height), the colour scheme (--dark), and a part of the page
(--at concept-0) to scroll to.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--force-device-scale-factor=1",
)


def take(page: str, to: Path, *, width: int, height: int, at: str, dark: bool) -> None:
    """Open the page, wait for the figures in view, and save what the window shows."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    with tempfile.TemporaryDirectory() as profile:
        flags = (*FLAGS, f"--user-data-dir={profile}")
        for flag in flags:
            options.add_argument(flag)
        driver = webdriver.Chrome(
            options=options, service=webdriver.ChromeService("/usr/bin/chromedriver")
        )
        try:
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
                {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
                "width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})
            driver.get(page)
            if at:
                script = "document.documentElement.style.scrollBehavior = 'auto';" \
                    "arguments[0].scrollIntoView()"
                element = driver.find_element(By.CSS_SELECTOR, at)
                driver.execute_script(script, element)
            in_view = """return [...document.querySelectorAll('.plot')].every((p) => {
                const r = p.getBoundingClientRect();
                return r.bottom < 0 || r.top > innerHeight || p.classList.contains('drawn')})"""
            WebDriverWait(driver, 60).until(lambda d: d.execute_script(in_view))
            if at:
                driver.execute_script(script, element)
            to.parent.mkdir(parents=True, exist_ok=True)
            if not driver.save_screenshot(str(to)):
                sys.exit(f"could not write {to}")
        finally:
            driver.quit()


def main() -> None:
    """Read the command line and take one picture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("page", help="report.html, or a URL on this machine")
    parser.add_argument("to", type=Path)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=860)
    parser.add_argument("--at", default="", help="CSS selector of what to scroll to")
    parser.add_argument("--dark", action="store_true")
    asked = parser.parse_args()
    page = asked.page if "://" in asked.page else Path(asked.page).resolve().as_uri()
    take(page, asked.to, width=asked.width, height=asked.height, at=asked.at, dark=asked.dark)


if __name__ == "__main__":
    main()
