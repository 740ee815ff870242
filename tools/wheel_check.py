"""Build the wheel, install it alone in an empty environment, and audit from there.

The working directory is a temporary folder away from the checkout, so nothing can be read from it.
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def step(*command: str | Path, cwd: Path) -> None:
    """Run one command and show it; a failure ends the check."""
    sys.stdout.write("$ " + " ".join(str(c) for c in command) + "\n")
    sys.stdout.flush()
    subprocess.run([str(c) for c in command], cwd=cwd, check=True)


def main() -> None:
    """Build, install, `--help`, and a short audit of the bundled organism."""
    with tempfile.TemporaryDirectory(prefix="virtuelens-wheel-") as folder:
        away = Path(folder)
        step(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", away / "dist",
             ROOT, cwd=away)
        (wheel,) = (away / "dist").glob("*.whl")
        venv.create(away / "env", with_pip=True)
        python = away / "env" / "bin" / "python"
        step(python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet",
             "--constraint", ROOT / "constraints.txt", wheel, cwd=away)
        virtuelens = away / "env" / "bin" / "virtuelens"
        step(virtuelens, "--help", cwd=away)
        step(virtuelens, "audit", "organism:sycophant", "--concepts", "sycophancy", "--quick",
             "--out", away / "run", cwd=away)
        if not (away / "run" / "report.html").is_file():
            sys.exit("the audit from the wheel wrote no report.html")
    sys.stdout.write("wheel: 1 passed, 0 failed\n")


if __name__ == "__main__":
    main()
