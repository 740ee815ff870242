"""A finished Inspect log as rows of behavioural evidence, whatever task and provider made it.

1. Every scorer's value becomes numbers: correct is 1, incorrect 0; a dictionary, one number a key.
2. The mean has a cluster bootstrap over the samples' `group`, or else over sample ids, so that
   epochs of one sample are no independent evidence.
3. Chance is one over the number of choices, where the samples have choices and the values are
   shares.
"""

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from virtuelens import stats, storage
from virtuelens.audits.outside import Outside
from virtuelens.errors import StoreError

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalSample


def read_log(path: Path) -> tuple[Outside, ...]:
    """The numbers of a log (`.eval` or `.json`), one row per scorer and key.

    Raises: StoreError: it cannot be read, is not finished, or holds no score that is a number.
    """
    from inspect_ai.log import read_eval_log

    if not path.is_file():
        raise StoreError(f"There is no Inspect log {path}.")
    try:
        log = read_eval_log(str(path))
    except Exception as error:
        raise StoreError(f"{path} cannot be read as an Inspect log "
                         f"({type(error).__name__}): expected a file that inspect eval wrote.") \
            from error
    if log.status != "success":
        raise StoreError(f"The Inspect log {path} has the status {log.status!r}: only a finished "
                         "one is evidence. Finish it with: inspect eval-retry")
    rows = [_row(log, path, scorer, key, scored)
            for (scorer, key), scored in _numbers(log.samples or []).items()]
    if not rows:
        raise StoreError(f"The Inspect log {path} holds no score that is a number.")
    return tuple(rows)


def _numbers(samples: "list[EvalSample]") -> dict[tuple[str, str], list[tuple[Any, float]]]:
    """(scorer, key) -> samples with their number; key is `score` where the value is only one."""
    from inspect_ai.scorer import value_to_float

    to_float = value_to_float()
    found: dict[tuple[str, str], list[tuple[Any, float]]] = defaultdict(list)
    for sample in samples:
        for scorer, score in (sample.scores or {}).items():
            values = score.value if isinstance(score.value, dict) else {"score": score.value}
            for key, value in values.items():
                if isinstance(value, list | dict) or value is None:
                    continue  # unscored, or nothing that has a mean
                if isinstance(value, str) and value not in {"C", "I", "P", "N"}:
                    continue
                number = float(to_float(value))
                if np.isfinite(number):
                    found[scorer, key].append((sample, number))
    return dict(found)


def _row(
    log: "EvalLog", path: Path, scorer: str, key: str, scored: list[tuple[Any, float]]
) -> Outside:
    values = np.array([number for _, number in scored])
    groups = [str((s.metadata or {}).get("group", s.id)) for s, _ in scored]
    told = [(s.output.metadata or {}) if s.output else {} for s, _ in scored]
    about = log.eval.metadata or {}
    unit, null = "the scorer's own", None
    if key == "margin" and scorer.startswith("prefers_target"):
        unit, null = "nats", 0.0
    elif ((values >= 0) & (values <= 1)).all():
        unit, null = "share of 1", _chance([s for s, _ in scored])
    provider, _, name = log.eval.model.partition("/")
    return Outside(
        model=name or provider, weights=_one(told, "weights", path), harness="inspect-ai",
        task=log.eval.task, concept=str(about.get("concept", "")),
        behaviour=str(about.get("behaviour", "")), kind=str(about.get("kind", "")),
        scorer=scorer, metric=key, unit=unit,
        estimate=stats.bootstrap(lambda rows: float(values[rows].mean()), groups, null=null),
        edits=tuple(told[0].get("edits", ())), where=str(told[0].get("where", "")),
        source=path.name, digest=storage.sha256_file(path), created=str(log.eval.created),
    )


def _chance(samples: list[Any]) -> float | None:
    """What guessing among the choices gives, or None where a sample has none."""
    if not all(s.choices for s in samples):
        return None
    return float(np.mean([1 / len(s.choices) for s in samples]))


def _one(told: list[dict[str, Any]], name: str, path: Path) -> str:
    """What all samples say alike.

    Raises: StoreError: they do not.
    """
    found = {str(t.get(name, "")) for t in told}
    if len(found) != 1:
        raise StoreError(f"The samples of {path} differ in their {name}: expected one model.")
    return found.pop()
