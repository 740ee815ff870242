"""From what a file says to label 1, label 0, or no label."""

from typing import Any

from virtuelens.concepts.importing.drafts import Asked
from virtuelens.concepts.importing.files import Record

_ONE = {"1", "1.0", "true", "yes"}
_ZERO = {"0", "0.0", "false", "no"}


def read_label(record: Record, value: Any, asked: Asked) -> int | None:
    """1, 0, or None where the row has no label or one that was not asked for.

    Without `--positive` and `--negative`: 1/0, true/false, yes/no. With `--positive` alone every
    other value is label 0; with `--negative` alone every other is label 1.

    Raises: PackError: a value whose label is not known.
    """
    said = "" if value is None else str(value).strip()
    if said in {"", "nan"}:
        return None
    if asked.positive or asked.negative:
        if said in asked.positive:
            return 1
        if said in asked.negative:
            return 0
        both = asked.positive and asked.negative
        return None if both else int(not asked.positive)
    if said.casefold() in _ONE:
        return 1
    if said.casefold() in _ZERO:
        return 0
    raise record.wrong(
        f"the label {said!r} is neither 1/0, true/false nor yes/no: say which value means label 1 "
        "with --positive VALUE."
    )


def meaning_of(asked: Asked) -> tuple[str, str]:
    """Label 1 and label 0 in words, by the values that were asked for."""
    column = asked.columns.get("label", "label")
    one = " or ".join(asked.positive) or ("any other" if asked.negative else "1")
    zero = " or ".join(asked.negative) or ("any other" if asked.positive else "0")
    return f"{column} is {one}", f"{column} is {zero}"
