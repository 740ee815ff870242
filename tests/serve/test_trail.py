"""The audit trail: who applied what, in which dose, before it is applied; not what was said."""

import json
import os
import stat
from pathlib import Path

import httpx
import pytest

from tests.serve.conftest import CHAT, Start
from virtuelens.errors import DiskError
from virtuelens.models import HookedModel
from virtuelens.serve.trail import Trail
from virtuelens.steering.pack import SteeringPack

NAME = "organism:sycophant"


def test_every_request_leaves_two_lines(
    start: Start, sycophant: HookedModel, pack: SteeringPack
) -> None:
    """Who, which model, which edits with their doses; then how it ended."""
    with start(sycophant, pack) as served:
        answer = served.client().chat.completions.create(
            model=f"{NAME}+honest", messages=CHAT, temperature=0, user="ward\n7", seed=3)
        served.ended(1)
        applied, ended = served.lines()
    d = pack.direction("sycophancy")
    assert applied["event"] == "applied"
    assert applied["id"] == ended["id"] == answer.id
    assert applied["who"] == {"key": None, "address": "127.0.0.1", "user": "ward\n7"}
    assert applied["fingerprint"] == sycophant.info.fingerprint
    assert (applied["pack"], applied["preset"], applied["seed"]) == ("candour", "honest", 3)
    (edit,) = applied["edits"]
    assert edit["dose"] == pytest.approx(-2 * d.scale)
    assert (edit["kind"], edit["direction"], edit["point"]) == ("add", "sycophancy", d.point)
    assert (ended["outcome"], ended["new_tokens"]) == ("stop", answer.usage.completion_tokens)
    assert ended["seconds"] > 0
    text = served.trail.read_text()
    assert len(text.splitlines()) == 2
    assert "lamp" not in text
    assert answer.choices[0].message.content.strip() not in text
    assert stat.S_IMODE(served.trail.stat().st_mode) == 0o600


def test_what_cannot_be_logged_is_not_applied(
    start: Start, sycophant: HookedModel, pack: SteeringPack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request is refused before its first token, without details."""
    ran = []
    with start(sycophant, pack) as served:
        def full(self: Trail, event: str, **what: object) -> None:
            raise DiskError("the disk is full")

        monkeypatch.setattr(Trail, "write", full)
        handle = sycophant.hf.register_forward_pre_hook(lambda *_: ran.append(1))
        answer = httpx.post(f"{served.url}/chat/completions",
                            json={"model": NAME, "messages": CHAT})
        handle.remove()
    assert answer.status_code == 503
    assert "disk" not in answer.text
    assert not ran


def test_half_a_line_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk was full for a moment."""
    trail, write = Trail(tmp_path / "trail.jsonl"), os.write
    monkeypatch.setattr(os, "write", lambda file, line: write(file, line[:9]))
    with pytest.raises(DiskError):
        trail.write("applied", id="x")
    monkeypatch.undo()
    for name in ("y", "z"):
        trail.write("applied", id=name)
    trail.close()
    half, *whole = (tmp_path / "trail.jsonl").read_text().splitlines()
    assert len(half) == 9
    assert [json.loads(line)["id"] for line in whole] == ["y", "z"]


def test_lines_are_only_ever_added(tmp_path: Path) -> None:
    """A second server goes on where the first stopped; a folder is no file."""
    for _ in range(2):
        trail = Trail(tmp_path / "a" / "trail.jsonl")
        trail.write("applied", id="x")
        trail.close()
    assert len((tmp_path / "a" / "trail.jsonl").read_text().splitlines()) == 2
    with pytest.raises(DiskError, match="--trail"):
        Trail(tmp_path / "a")
