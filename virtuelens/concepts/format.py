"""What a pack's files may hold, line by line; unknown keys are refused."""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    ValidationError,
    model_validator,
)

from virtuelens.values.texts import Message, Role, Text

BehaviourKind = Literal["target", "companion", "neighbour", "neutral"]
Name = Annotated[str, StringConstraints(strip_whitespace=False, min_length=1, pattern=r"\S")]
Latent = str | int | float | bool

_ROLES = get_args(Role)


def read_text(value: Any) -> Text:
    """A text as packs write it: a string, a list of messages, or {"raw", "continuation"}.

    Raises: ValueError: anything else; the message says what was expected.
    """
    if isinstance(value, str):
        return Text(raw=_said(value, "the text"))
    if isinstance(value, dict):
        if set(value) != {"raw", "continuation"}:
            raise ValueError(
                f"keys {sorted(value)}: an object of raw text has the keys raw and continuation"
            )
        raw, continuation = (_said(value[key], key) for key in ("raw", "continuation"))
        return Text(raw=raw, continuation=continuation)
    if not isinstance(value, list) or not value:
        raise ValueError("expected a string of raw text or a list of messages with at least one")
    return Text(messages=tuple(_message(m) for m in value))


def _message(value: Any) -> Message:
    if not isinstance(value, dict) or set(value) != {"role", "content"}:
        found = sorted(value) if isinstance(value, dict) else type(value).__name__
        raise ValueError(f"a message has the keys role and content, this one is {found}")
    if value["role"] not in _ROLES:
        raise ValueError(f"unknown role {value['role']!r}: expected one of {', '.join(_ROLES)}")
    return Message(value["role"], _said(value["content"], "the content of a message"))


def _said(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what} must be a string, found {type(value).__name__}")
    if not value.strip():
        raise ValueError(f"{what} is empty")
    return value


Side = Annotated[Text, PlainValidator(read_text)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)


class PairLine(_Strict):
    """A contrast pair: the concept is present in `positive` and absent from `negative`."""

    id: Name
    group: Name
    positive: Side
    negative: Side
    latents: dict[str, Latent] = {}

    @model_validator(mode="after")
    def _sides_differ(self) -> Self:
        if _squeezed(self.positive) == _squeezed(self.negative):
            begins = self.positive.words[:60]
            raise ValueError(f"the two sides are equal: {begins!r}. A pair needs a difference")
        return self


class SingleLine(_Strict):
    """One labelled example that has no partner."""

    id: Name
    group: Name
    text: Side
    label: Literal[0, 1]
    latents: dict[str, Latent] = {}


class ChoiceLine(_Strict):
    """A forced choice; `target` is the index of the choice that displays the behaviour."""

    id: Name
    group: Name
    prompt: Side
    choices: list[Name]
    target: int

    @model_validator(mode="after")
    def _choices_differ(self) -> Self:
        n = len(self.choices)
        if n < 2:
            raise ValueError(f"{n} choice: a forced choice needs at least 2")
        if len({c.strip() for c in self.choices}) < n:
            raise ValueError(f"two choices are equal: {self.choices}")
        if not 0 <= self.target < n:
            raise ValueError(f"target {self.target} is out of range: expected 0 to {n - 1}")
        if self.prompt.response is not None:
            raise ValueError(
                "the prompt already holds a response: it must end before the assistant speaks"
            )
        return self


class NeutralLine(_Strict):
    """A text of no particular concern: {"text": "raw"} or {"messages": [...]}."""

    text: Side | None = None
    messages: Side | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.text is None) == (self.messages is None):
            raise ValueError("expected either text or messages, and only one of them")
        return self


class BehaviourTable(_Strict):
    """`[dialects.<dialect>.behaviour.<set>]`: kind, and what the items measure, in words."""

    kind: BehaviourKind
    of: Name


class PromptsTable(_Strict):
    """`[dialects.<dialect>.prompts]`: system prompts that ask for the behaviour and against it."""

    toward: Name
    away: Name


class DialectTable(_Strict):
    """`[dialects.<dialect>]`: where to read in these texts, and which behaviour sets there are."""

    positions: list[Name] = Field(default=["last"], min_length=1)
    note: str = ""
    prompts: PromptsTable | None = None
    behaviour: dict[str, BehaviourTable] = {}


class ConceptTable(_Strict):
    """`concept.toml`.

    beside: the concept that this pack is a rival account of, or takes a part out of; an audit
        then uses it only where it is named.
    """

    schema_: Literal[1] = Field(alias="schema")
    name: Name
    version: Name
    title: Name
    beside: str = ""
    definition: Name
    is_not: list[Name] = Field(min_length=1)
    theory: str = ""
    author: Name
    licence: Name
    confounds: list[Name]
    dialects: dict[str, DialectTable] = Field(min_length=1)


def first_problem(error: ValidationError, form: type[BaseModel]) -> tuple[tuple[str, ...], str]:
    """Where the first violation is (keys from the outside in), and what to say about it."""
    first = error.errors()[0]
    keys = tuple(str(k) for k in first["loc"] if not isinstance(k, int))
    name = ".".join(keys)
    if first["type"] == "extra_forbidden":
        known = [f.alias or n for n, f in form.model_fields.items()] if len(keys) == 1 else []
        expected = f": expected {', '.join(known)}" if known else ""
        return keys, f"unknown key {name!r}{expected}"
    if first["type"] == "missing":
        return keys, f"key {name!r} is missing"
    said = first["msg"].removeprefix("Value error, ")
    if first["type"] in {"string_pattern_mismatch", "string_too_short"}:
        said = "is empty"
    return keys, f"{name}: {said}" if name else said


def _squeezed(text: Text) -> tuple[tuple[str, str], ...]:
    """The text with runs of white space made one: what does not differ here does not differ."""
    parts: list[tuple[str, str]] = [(m.role, m.content) for m in text.messages]
    parts += [("raw", text.raw or ""), ("continuation", text.continuation or "")]
    return tuple((role, " ".join(content.split())) for role, content in parts)
