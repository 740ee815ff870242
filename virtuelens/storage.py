"""Files that are either whole or absent: safetensors and JSON, written aside and renamed.

Nothing here or elsewhere in virtuelens unpickles.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from virtuelens.errors import DiskError, StoreError

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

_REASONS = {
    errno.ENOSPC: "the disk is full: free some space, or choose another folder",
    errno.EDQUOT: "the disk quota is used up: free some space, or choose another folder",
    errno.EACCES: "permission denied: choose a folder you may write to",
    errno.EROFS: "the file system is read-only: choose another folder",
}


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, sync it, and rename it into place.

    At any instant `path` is absent, its old self, or its new self; never half of one.

    Raises: DiskError: it could not be written; the temporary file is removed.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        share(part)
        with part.open("rb+") as f:
            os.fsync(f.fileno())
        part.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        reason = _disk_reason(error)
        if reason:
            raise DiskError(f"Could not write {path}: {reason}.") from error
        raise


def share(path: Path) -> None:
    """Give a file the mode that new files have here: safetensors makes them private."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


@contextlib.contextmanager
def whole_directory(out: Path) -> Iterator[Path]:
    """A temporary directory that becomes `out` when the body ends well, and is gone otherwise.

    What was in `out` is replaced then; whether it may be is for the caller to ask first.

    Raises: DiskError: it could not be written.
    """
    out = Path(out)
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    old = out.with_name(f".{out.name}.{os.getpid()}.old")
    try:
        part.mkdir(parents=True)
        yield part
        for file in part.rglob("*"):
            if file.is_file():
                share(file)
        if out.exists():
            out.rename(old)
        part.rename(out)
    except Exception as error:
        reason = _disk_reason(error)
        if reason:
            raise DiskError(f"Could not write {out}: {reason}.") from error
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if old.exists() and not out.exists():
            old.rename(out)  # the new one did not come into place: what was there comes back
        shutil.rmtree(old, ignore_errors=True)


def _disk_reason(error: BaseException) -> str | None:
    if isinstance(error, OSError) and error.errno in _REASONS:
        return _REASONS[error.errno]
    # safetensors reports the operating system's error as text only
    text = str(error)
    if "os error 28" in text or "No space left" in text:
        return _REASONS[errno.ENOSPC]
    return None


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes, whole or not at all."""

    def write(part: Path) -> None:
        part.write_bytes(content)

    write_whole(path, write)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON (no NaN: they are not JSON), whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, *, schema: int | None = None) -> Any:
    """The JSON value in `path`.

    Raises: StoreError: missing, not JSON, or its "schema" is not the one asked for.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StoreError(f"{path} is missing: is this the right folder?") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} is not valid JSON ({error}).") from error
    if schema is not None:
        found = value.get("schema") if isinstance(value, dict) else None
        if found != schema:
            raise StoreError(
                f"{path} has schema {found!r}, this version of virtuelens reads schema {schema}: "
                "make it anew, or open it with the version that wrote it."
            )
    return value


def write_tensors(path: Path, tensors: Mapping[str, "Tensor"], about: Mapping[str, Any]) -> None:
    """Write tensors with a JSON description in the safetensors header, whole or not at all."""
    from safetensors.torch import save_file

    plain = {k: v.detach().contiguous().cpu() for k, v in tensors.items()}
    header = tensors_header(about)
    write_whole(path, lambda part: save_file(plain, str(part), metadata=header))


def tensors_header(about: Mapping[str, Any]) -> dict[str, str]:
    """What safetensors keeps beside the tensors."""
    return {"virtuelens": json.dumps(about, ensure_ascii=False, allow_nan=False)}


def read_tensors(path: Path) -> tuple[dict[str, "Tensor"], dict[str, Any]]:
    """The tensors and the description that `write_tensors` stored.

    Raises: StoreError: missing, truncated, or not written by virtuelens.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as f:
            tensors = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118 (not a dict)
            about = (f.metadata() or {}).get("virtuelens")
    except FileNotFoundError as error:
        raise StoreError(f"{path} is missing.") from error
    except (SafetensorError, OSError) as error:
        raise StoreError(f"{path} is damaged or not a safetensors file ({error}).") from error
    if about is None:
        raise StoreError(f"{path} was not written by virtuelens: its header has no description.")
    try:
        told = json.loads(about)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise StoreError(f"{path} is damaged: the description in its header is no JSON object.")
    return tensors, told


def write_table(path: Path, table: "pd.DataFrame") -> None:
    """Write a data frame as Parquet, whole or not at all."""
    write_whole(path, lambda part: table.to_parquet(part, index=False))


def read_table(path: Path) -> "pd.DataFrame":
    """The data frame in a Parquet file.

    Raises: StoreError: missing or damaged.
    """
    import pandas as pd
    import pyarrow as pa

    try:
        return pd.read_parquet(path)
    except FileNotFoundError as error:
        raise StoreError(f"{path} is missing.") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise StoreError(f"{path} is damaged or not a Parquet file ({error}).") from error


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    return _digested(path, hashlib.sha256())


def xxh3_file(path: Path) -> str:
    """Hex XXH3 (128 bit) of a file's bytes: finds damage at memory speed, proves no authorship."""
    return _digested(path, xxhash.xxh3_128())


def _digested(path: Path, digest: Any) -> str:
    with path.open("rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return str(digest.hexdigest())


def sha256_lines(lines: Iterable[str]) -> str:
    """`sha256_text` of the lines joined by line feeds, without joining them."""
    digest = hashlib.sha256()
    for number, line in enumerate(lines):
        digest.update(("\n" + line if number else line).encode())
    return digest.hexdigest()


def sha256_text(text: str) -> str:
    """Hex SHA-256 of UTF-8 text."""
    return hashlib.sha256(text.encode()).hexdigest()
