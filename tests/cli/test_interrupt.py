"""Ctrl-C in the middle of an audit, as a user presses it."""

import signal
import subprocess
import sys
from pathlib import Path

from virtuelens.audits.run import open_run


def interrupted(out: Path) -> tuple[int, list[str], str]:
    """Exit code, lines of stderr, and stdout of an audit that is interrupted at its second part."""
    code = "from virtuelens.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "audit", "organism:blank", "--quick", "--out", str(out)],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if "[2/2]" in line:
                process.send_signal(signal.SIGINT)
        return process.wait(60), said, process.stdout.read()


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(tmp_path: Path) -> None:
    """Exit code 130, no traceback, the finished concept kept, and the command to resume."""
    out = tmp_path / "run"
    status, said, printed = interrupted(out)
    assert status == 130
    assert printed == ""
    words = "".join(said)
    assert "Traceback" not in words
    assert f"--out {out}" in said[-1]
    run = open_run(out)
    assert not run.complete
    assert len(run.findings) == 1


def test_a_press_that_python_drops_is_found_at_the_next_step() -> None:
    """An exception in a finaliser is ignored; the next look raises."""
    code = """
import os, signal
from virtuelens.cli import interrupt
interrupt.watch()
interrupt.look()
class Finalised:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        sum(range(1000))
Finalised()
try:
    interrupt.look()
except KeyboardInterrupt:
    print("found")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "found"
    assert "Exception ignored" in done.stderr
