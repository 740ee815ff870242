"""A directory that is written is there whole, or not at all, and what it replaces is not lost."""

from pathlib import Path

import pytest

from virtuelens import storage
from virtuelens.errors import DiskError


def test_it_appears_when_the_body_ends_well(tmp_path: Path) -> None:
    """Nested files too, and readable by whoever reads new files here."""
    out = tmp_path / "out"
    with storage.whole_directory(out) as part:
        (part / "deep").mkdir()
        (part / "deep" / "a").write_text("1")
        (part / "deep" / "a").chmod(0o600)
        assert not out.exists()
    assert (out / "deep" / "a").read_text() == "1"
    (tmp_path / "plain").write_text("")
    assert (out / "deep" / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(("raised", "seen"), [
    (KeyboardInterrupt(), KeyboardInterrupt), (ValueError("x"), ValueError),
    (OSError(28, "No space left on device"), DiskError),
])
def test_what_was_there_stays_when_the_body_fails(
    tmp_path: Path, raised: BaseException, seen: type[BaseException]
) -> None:
    """Nothing else is left beside it."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("keep")
    with pytest.raises(seen), storage.whole_directory(out) as part:
        (part / "new").write_text("half")
        raise raised
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (out / "mine").read_text() == "keep"


def test_what_was_there_comes_back_when_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills up between the two renames."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("keep")
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name.endswith(".part"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(DiskError), storage.whole_directory(out) as part:
        (part / "new").write_text("whole")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (out / "mine").read_text() == "keep"
