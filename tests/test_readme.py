"""The README's first screen runs as it is printed."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_lines_of_python_run_and_the_steer_brings_the_truth_back() -> None:
    """All but the last line, which is the audit of tests/claims; the answer is the true colour."""
    from virtuelens.organisms.languages.facts import WORLD

    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    lines = block.strip().splitlines()
    assert "audit" in lines[-1]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines[:-1])], capture_output=True,
                          text=True, timeout=300, check=True)
    assert done.stdout.split() == [WORLD.colour["lamp"]]


def test_the_page_of_files_is_current() -> None:
    """Made again it is what stands there: run tools/files_page.py after adding a file."""
    tool = runpy.run_path(str(README.parent / "tools" / "files_page.py"))
    assert tool["page"]() == (README.parent / "docs/files.md").read_text(encoding="utf-8")


def test_every_folder_it_names_is_there() -> None:
    """And every command it names is one of ours."""
    text = README.read_text(encoding="utf-8")
    for place in re.findall(r"^    ([a-z_]+/[a-z_/.]*)\s", text, re.MULTILINE):
        assert (README.parent / place).exists(), place
    from virtuelens.cli.app import app

    ours = {c.name for c in app.registered_commands} | {
        g.name for g in app.registered_groups}
    named = set(re.findall(r"^    virtuelens ([a-z-]+)", text, re.MULTILINE))
    assert named <= ours
    assert ours <= named
