"""Hugging Face datasets: saved on disk, as a folder of files, or on the hub.

Code that comes with a dataset is never run: there is no `trust_remote_code` here. A folder of files
is read by our own readers, so that errors name the line. Nothing is unpickled.
"""

import importlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from virtuelens.concepts.importing.columns import NAMES, from_records
from virtuelens.concepts.importing.drafts import Asked, Drafts, Place
from virtuelens.concepts.importing.files import (
    Record,
    read_csv,
    read_json_lines,
    read_parquet,
    visible,
)
from virtuelens.concepts.lines import shown
from virtuelens.errors import PackError

_READERS: dict[str, Callable[[str, Asked], list[Record]]] = {
    ".parquet": read_parquet, ".jsonl": read_json_lines, ".csv": read_csv,
}  # fmt: skip
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def read_datasets(paths: Sequence[str], asked: Asked) -> Drafts:
    """Columns as in the formats csv, jsonl and parquet; `--split` chooses one (else train)."""
    return from_records([r for path in paths for r in _records(path, asked)], asked)


def _records(path: str, asked: Asked) -> list[Record]:
    folder = Path(path)
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        datasets = _library()
        return _rows(path, _try(path, lambda: datasets.load_from_disk(path)), asked)
    if folder.is_dir():
        return _files(folder, asked)
    if folder.exists():
        raise PackError(f"{shown(folder)} is a file: use the format csv, jsonl or parquet.")
    if not _HUB_ID.fullmatch(path):
        raise PackError(
            f"{path} is neither a folder nor a dataset's hub id (OWNER/NAME): check the path."
        )
    datasets = _library()
    return _rows(path, _try(path, lambda: datasets.load_dataset(path)), asked)


def _library() -> Any:
    """The library `datasets` (sae-lens brings it), of a version that runs no code of datasets."""
    try:
        datasets = importlib.import_module("datasets")
    except ImportError as error:
        raise PackError("This needs the library datasets: pip install datasets.") from error
    if int(datasets.__version__.split(".")[0]) < 4:
        raise PackError(
            f"datasets {datasets.__version__} may run code that comes with a dataset: install "
            "version 4 or later."
        )
    return datasets


def _files(folder: Path, asked: Asked) -> list[Record]:
    """The folder's files, one split of them where their names say train, validation or test."""
    files = sorted(p for p in folder.rglob("*") if p.suffix in _READERS and p.is_file())
    root = folder.resolve()
    files = [p for p in files if p.resolve().is_relative_to(root)]
    if not files:
        raise PackError(f"{shown(folder)} holds no .parquet, .jsonl or .csv file.")
    split = asked.split or "train"
    chosen = [p for p in files if split in re.split(r"[^a-z0-9]+", p.stem.casefold())
              or split in p.relative_to(folder).parts]  # fmt: skip
    if asked.split and not chosen:
        names = ", ".join(p.name for p in files[:5])
        raise PackError(f"{shown(folder)} has no file of the split {split!r}: it has {names}.")
    return [r for p in chosen or files for r in _READERS[p.suffix](str(p), asked)]


def _rows(path: str, data: Any, asked: Asked) -> list[Record]:
    """The rows of a dataset, of the columns that an importer reads."""
    if isinstance(data, dict):
        split = asked.split or ("train" if "train" in data else next(iter(data), "train"))
        if split not in data:
            raise PackError(f"{path} has no split {split!r}: it has {', '.join(data)}.")
        data = data[split]
    elif asked.split:
        raise PackError(f"{path} has no splits: leave --split out.")
    wanted = {asked.columns.get(name, name) for name in NAMES}
    kept = [c for c in data.column_names if c in wanted]
    if not kept:
        raise PackError(visible(
            f"{path}: expected the columns text and label, or positive and negative; there are "
            f"{', '.join(data.column_names)}. Name yours with --column text=NAME."
        ))
    data = data.select_columns(kept).with_format(None)
    names = {c: getattr(data.features[c], "names", None) for c in kept}
    file = shown(Path(path)) if Path(path).exists() else path
    rows = _try(path, lambda: list(data))
    if not rows:
        raise PackError(f"{path} is empty: it holds no rows.")
    return [
        Record(Place(file, i), {c: _named(v, names[c], asked) for c, v in row.items()})
        for i, row in enumerate(rows, start=1)
    ]


def _named(value: Any, names: Sequence[str] | None, asked: Asked) -> Any:
    """A class label by its name where names are asked for; else the number, as it is stored.

    The library stores -1 where a class label is not known.
    """
    if names and value == -1:
        return None
    by_name = bool(names) and bool(set(asked.positive + asked.negative) & set(names or ()))
    if by_name and names and isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    return value


def _try(path: str, load: Callable[[], Any]) -> Any:
    """What `datasets` gives, its many kinds of errors as one line."""
    try:
        return load()
    except Exception as error:  # it documents none of what it raises for broken data
        said = visible(str(error)[:300])
        raise PackError(
            f"{path} cannot be loaded as a dataset ({type(error).__name__}: {said})."
        ) from error
