"""The command line: help without torch, results on standard output, errors in one line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


def virtuelens(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    code = "from virtuelens.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True,
                          text=True, timeout=300, check=False)


def test_help_needs_no_torch() -> None:
    """`import virtuelens` and the command line load neither torch nor transformers."""
    code = (
        "import sys, virtuelens, virtuelens.cli.app; "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert "audit" in virtuelens("--help").stdout


@pytest.mark.parametrize(("arguments", "says"), [
    (["audit", "organism:nobody"], "nobody"),
    (["audit", "no/such-model"], "no/such-model"),
    (["audit", "organism:sycophant", "--concepts", "courage"], "courage"),
    (["concepts", "show", "courage"], "courage"),
    (["organism", "verify", "nobody"], "nobody"),
    (["organism", "show", "nobody"], "nobody"),
    (["organism", "train", "--out", "x"], "--all"),
    (["report", "no-such-run"], "no-such-run"),
    (["dashboard", "no-such-folder"], "no-such-folder"),
    (["steer", "organism:sycophant", "hello"], "--add"),
    (["store", "check", "no-such-store"], "no-such-store"),
    (["harvest", "--resume", "no-such-store"], "no-such-store"),
])
def test_a_users_error_is_one_line_and_code_2(arguments: list[str], says: str) -> None:
    """No traceback, nothing on standard output, the wrong thing named."""
    done = virtuelens(*arguments)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert says in done.stderr.strip().splitlines()[-1]


def test_a_directory_without_weights_is_refused(tmp_path: Path) -> None:
    """The missing piece is named."""
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    done = virtuelens("model", str(tmp_path))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_every_command_has_json() -> None:
    """But the dashboard, which has nothing to say."""
    from typer.main import get_command

    from virtuelens.cli.app import app

    def walk(command, name: str):  # type: ignore[no-untyped-def]
        for child, inner in getattr(command, "commands", {"": None}).items():
            if inner is None:
                yield name, {o for p in command.params for o in p.opts}
            else:
                yield from walk(inner, f"{name} {child}".strip())

    lacking = {name for name, options in walk(get_command(app), "") if "--json" not in options}
    assert lacking == {"dashboard"}


def test_json_is_alone_on_standard_output() -> None:
    """Other programs can read it."""
    assert {p["name"] for p in json.loads(virtuelens("concepts", "list", "--json").stdout)} >= {
        "sycophancy", "honesty", "valence", "self_representation"
    }
    assert json.loads(virtuelens("model", "organism:blank", "--json").stdout)["model"][
        "dialect"] == "facts"
