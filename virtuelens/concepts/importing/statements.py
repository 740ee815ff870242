"""`statement,label` tables: Truth is Universal, geometry of truth. Further columns are ignored.

Row i of `neg_X.csv` negates row i of `X.csv`, so where both files are given the two rows become one
pair: the true one of them against the false one. A file alone gives single texts.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from virtuelens.concepts.importing.drafts import Asked, Drafts, Pair, Place, Single, left_out
from virtuelens.concepts.importing.files import read_csv
from virtuelens.concepts.importing.labels import meaning_of, read_label
from virtuelens.concepts.surface import words_of
from virtuelens.errors import PackError
from virtuelens.values.texts import Text


class Row(NamedTuple):
    """A labelled statement."""

    at: Place
    said: str
    label: int


def read_statements(paths: Sequence[str], asked: Asked) -> Drafts:
    """True statements (or the values asked for) are label 1; X.csv with neg_X.csv gives pairs."""
    files: dict[str, list[Row]] = {}
    unlabelled = 0
    for path in paths:
        records = read_csv(path, asked)
        labels = [read_label(r, r.get("label"), asked) for r in records]
        unlabelled += labels.count(None)
        files[path] = [
            Row(r.at, r.said("statement"), label)
            for r, label in zip(records, labels, strict=True) if label is not None
        ]
    rows = [row for of_file in files.values() for row in of_file]
    if not rows:
        raise PackError(f"{paths[0]}: no row has a label, so it cannot make a pack.")
    subject = _subjects([row.said for row in rows])
    pairs: list[Pair | Single] = []
    alone, unpaired = dict(files), 0
    for path, negated in _couples(files):
        found = aligned(files[path], files[negated])
        unpaired += len(files[path]) + len(files[negated]) - 2 * len(found)
        pairs += [_pair(a, b, subject[a.said]) for a, b in found]
        alone.pop(path), alone.pop(negated)
    pairs += [
        Single(r.at, subject[r.said], Text(raw=r.said), r.label)
        for of_file in alone.values() for r in of_file
    ]
    true, false = (
        meaning_of(asked) if asked.positive or asked.negative
        else ("a true statement (or an honest reply)", "a false statement (or a lie)")
    )
    drafts = Drafts(true, false, pairs=tuple(pairs))
    return drafts.with_notes(
        left_out(unlabelled, "rows without a label"),
        left_out(unpaired, "statements without a counterpart in the other file"),
    )


def aligned(rows: Sequence[Row], negated: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Rows with their negations, row by row; where one file is longer, its best places are passed.

    Of all ways to pass over as many rows as the files differ by, the one whose pairs share the most
    words. Two rows with the same label are no pair.
    """
    slack = abs(len(rows) - len(negated))
    if len(rows) < len(negated):
        return [(a, b) for b, a in aligned(negated, rows)]
    # best[s]: total likeness so far with s rows passed; before[j][s]: passed before row j, then
    best = [0.0] * (slack + 1)
    before: list[list[int]] = []
    for j, b in enumerate(negated):
        came = [k for _, k in accumulate(zip(best, range(slack + 1), strict=True), max)]
        best = [best[came[s]] + _likeness(rows[j + s], b) for s in range(slack + 1)]
        before.append(came)
    s = max(range(slack + 1), key=lambda k: best[k])
    out = []
    for j in range(len(negated) - 1, -1, -1):
        if rows[j + s].label != negated[j].label:
            out.append((rows[j + s], negated[j]))
        s = before[j][s]
    return out[::-1]


def _pair(a: Row, b: Row, topic: str) -> Pair:
    true, false = (a, b) if a.label else (b, a)
    return Pair(a.at, topic, Text(raw=true.said), Text(raw=false.said),
                latents={"negated": "negative" if true is a else "positive"})


def _couples(files: Mapping[str, object]) -> list[tuple[str, str]]:
    by_place = {(Path(p).parent, Path(p).stem): p for p in files}
    return [
        (path, by_place[folder, f"neg_{stem}"])
        for (folder, stem), path in by_place.items() if (folder, f"neg_{stem}") in by_place
    ]


def _subjects(statements: Sequence[str]) -> dict[str, str]:
    """What each statement is about: its first uncommon word, or its scenario before the reply."""
    words = {s: words_of(s) for s in statements}
    n_with = Counter(w for s in words.values() for w in set(s))
    uncommon = max(2, len(statements) // 50)
    out = {}
    for s, of_s in words.items():
        scenario = re.split(r"\bAI: ", s)
        first = next((w for w in of_s if n_with[w] <= uncommon), None)
        rarest = min(of_s, key=lambda w: n_with[w]) if of_s else s
        out[s] = scenario[0].strip() if len(scenario) > 1 else first or rarest
    return out


def _likeness(a: Row, b: Row) -> float:
    """Share of common words (Jaccard); none where the labels are the same."""
    left, right = set(words_of(a.said)), set(words_of(b.said))
    return (a.label != b.label) * len(left & right) / max(1, len(left | right))
