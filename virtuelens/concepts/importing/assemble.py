"""From files of a published format to a concept pack on disk.

1. Read the files (`table`).  2. Swap labels if asked.  3. Leave out what also stands elsewhere,
repeats and contradictions (`cleaning`).  4. Group (`grouping`) and split (`splitting`).
5. Write the pack aside, load it, measure its surface, write the card, move it into place.
"""

import re
import shutil
import tempfile
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from virtuelens import catalog, storage
from virtuelens.concepts.check import check_concept
from virtuelens.concepts.importing import card
from virtuelens.concepts.importing.cleaning import cleaned, without
from virtuelens.concepts.importing.drafts import PLAIN, Asked, Drafts, Single, flipped
from virtuelens.concepts.importing.files import UnreadableError
from virtuelens.concepts.importing.grouping import grouped
from virtuelens.concepts.importing.imported import DIALECT, Imported, Source, Wish
from virtuelens.concepts.importing.splitting import parts
from virtuelens.concepts.importing.table import IMPORTERS, Importer, guess
from virtuelens.concepts.importing.writing import neutral_files, pack_files
from virtuelens.concepts.lines import Problems, shown
from virtuelens.concepts.pack import load_concept
from virtuelens.concepts.reading import MARKER, read_neutral
from virtuelens.errors import PackError


def import_pack(format: str, files: Sequence[str], wish: Wish) -> Imported:
    """Write the pack (or, for a format without labels, neutral texts) to `wish.out / wish.name`.

    Raises: PackError: an unknown format, a file that does not fit (with the line and the format
    that would), too few groups, or a target that is there already.
    """
    importer = _importer(format, files)
    target = _target(wish)
    drafts = _read(importer, files, wish.asked)
    if wish.flip:
        drafts = flipped(drafts)
    for other in wish.without:
        drafts, gone = without(drafts, other, wish.asked)
        drafts = drafts.with_notes(f"{gone} that also stand in {Path(other).name}: left out")
    source = Source.of(importer.name, files, wish)
    if drafts.neutral or not drafts.pairs:
        return _write_neutral(target, source, drafts, wish)
    return _write_pack(target, source, cleaned(drafts), wish, importer)


def _importer(format: str, files: Sequence[str]) -> Importer:
    if format in IMPORTERS:
        return IMPORTERS[format]
    fits = guess(files[0]) if files else []
    near = fits[:1] or get_close_matches(format, IMPORTERS, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise PackError(
        f"No format {format!r}.{hint} All of them: virtuelens concepts import --list."
    )


def _target(wish: Wish) -> Path:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", wish.name):
        raise PackError(
            f"{wish.name!r} cannot name a concept: use small letters, digits and _, a letter first."
        )
    target = wish.out.resolve() / wish.name
    if target.is_relative_to(catalog.shipped("probes").resolve()):
        raise PackError(
            f"{shown(target)} is where virtuelens keeps its own packs, which hold no third-party "
            "text: choose another --out."
        )
    if target.is_symlink() or (target.exists() and not wish.overwrite):
        raise PackError(
            f"{shown(target)} exists already: choose another name or --out, or add --overwrite."
        )
    if target.exists() and not _is_ours(target):
        raise PackError(
            f"{shown(target)} exists and is no pack: it is not overwritten. Choose another name."
        )
    return target


def _is_ours(folder: Path) -> bool:
    """A pack, or what an import of neutral texts leaves."""
    neutral = folder / f"{DIALECT}.jsonl"
    return (folder / MARKER).is_file() or (neutral.is_file() and (folder / "card.md").is_file())


def _read(importer: Importer, files: Sequence[str], asked: Asked) -> Drafts:
    """What the format reads; where it cannot, the error says which one would."""
    given = {
        "column": asked.columns, "positive": asked.positive, "negative": asked.negative,
        "split": asked.split, "encoding": asked.encoding != PLAIN.encoding,
    }  # fmt: skip
    for option, value in given.items():
        if value and option not in importer.takes:
            raise PackError(f"The format {importer.name} takes no --{option}.")
    if not files:
        raise PackError("Name at least one file: virtuelens concepts import FORMAT FILE --as NAME.")
    if len(set(files)) < len(files):
        raise PackError("The same file is named twice.")
    try:
        return importer.read(files, asked)
    except UnreadableError:
        raise  # no other format could read it
    except PackError as error:
        fits = guess(files[0])
        if fits and importer.name not in fits:
            raise PackError(f"{error} {files[0]} looks like the format {fits[0]}.") from error
        raise


def _write_neutral(target: Path, source: Source, drafts: Drafts, wish: Wish) -> Imported:
    if not drafts.neutral:
        raise PackError(f"Nothing is left of {', '.join(source.names)}: nothing was written.")
    done = Imported(target, source, None, len(drafts.neutral), "no groups", ("", ""),
                    drafts.notes, ())
    with storage.whole_directory(target) as part:
        for name, text in neutral_files(drafts.neutral, DIALECT).items():
            storage.write_text(part / name, text)
        problems = Problems()
        read_neutral(part / f"{DIALECT}.jsonl", problems)
        problems.raise_any()
        storage.write_text(part / "card.md", card.neutral(source, drafts, wish.name))
    return done


def _write_pack(
    target: Path, source: Source, drafts: Drafts, wish: Wish, importer: Importer
) -> Imported:
    if not drafts.pairs:
        raise PackError(f"Nothing is left of {', '.join(source.names)}: nothing was written.")
    if len({p.label for p in drafts.pairs if isinstance(p, Single)}) == 1 and all(
        isinstance(p, Single) for p in drafts.pairs
    ):
        only = next(p.label for p in drafts.pairs if isinstance(p, Single))
        raise PackError(
            f"{', '.join(source.names)}: all texts have label {only}: a concept needs both."
        )
    groups = grouped(drafts.pairs, drafts.choices)
    part_of = parts(drafts.pairs, groups.pairs, items=bool(drafts.choices), seed=wish.seed)
    drafts = drafts.with_notes(*groups.notes)
    if drafts.choices and "behaviour" not in part_of.values():
        drafts = drafts.with_notes("too few groups to keep some for behaviour items: none written")
    how = f"{importer.grouped_by}{groups.how}"
    files = pack_files(
        drafts, groups, part_of, source=source, wish=wish, dialect=DIALECT
    )
    with tempfile.TemporaryDirectory() as aside:
        pack = Path(aside) / wish.name  # a pack's folder has to have its name
        for name, text in files.items():
            storage.write_text(pack / name, text)
        concept = load_concept(pack, dialect=DIALECT)
        checks = tuple(check_concept(concept))
        labels = (drafts.label_0, drafts.label_1)
        done = Imported(target, source, concept, 0, how, labels, drafts.notes, checks)
        storage.write_text(pack / "card.md", card.pack(done, drafts, part_of))
        with storage.whole_directory(target) as whole:
            shutil.copytree(pack, whole, dirs_exist_ok=True)
    return done
