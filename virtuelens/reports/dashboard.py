"""How the Streamlit app is started: on this machine only, silent towards the world."""

import sys
from pathlib import Path

from virtuelens import catalog
from virtuelens.errors import VirtueLensError

PRIMARY_COLOR = "#135a91"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def app_path() -> Path:
    """The app's file, in the wheel or in the checkout."""
    return catalog.shipped("dashboards") / "app.py"


def streamlit_command(runs: Path, port: int, host: str = "127.0.0.1") -> list[str]:
    """The command that serves the dashboard over the runs in a folder.

    The folder is also read from VIRTUELENS_RUNS, which the caller sets. The app shows whatever
    the runs hold to whoever reaches it and knows no users, so only this machine may.

    Raises: VirtueLensError: `host` is reachable from outside.
    """
    if host not in LOOPBACK:
        raise VirtueLensError(
            f"The dashboard has no authentication and would be open at {host!r}: serve it on "
            "127.0.0.1 and forward the port, for example with: ssh -L 8501:127.0.0.1:8501 HOST"
        )
    return [
        sys.executable, "-m", "streamlit", "run", str(app_path()),
        "--server.address", host,
        "--server.port", str(port),
        "--server.headless", "true",
        "--server.fileWatcherType", "none",
        "--browser.gatherUsageStats", "false",
        "--client.showErrorDetails", "none",
        "--client.toolbarMode", "viewer",
        "--theme.primaryColor", PRIMARY_COLOR,
        "--", str(runs),
    ]
