"""What is given to a model: chats or raw text, with the example's label and group beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Text:
    """Either a chat (`messages`) or raw text without any template (`raw`), never both.

    A chat whose last turn is the assistant's has that turn as its *response*; any other chat is
    a *prompt*, which models render up to where the assistant would begin to speak. Raw text has
    a response where a `continuation` follows it.
    """

    messages: tuple[Message, ...] = ()
    raw: str | None = None
    continuation: str | None = None

    def __post_init__(self) -> None:
        if bool(self.messages) == (self.raw is not None):
            raise ValueError("a Text holds either messages or raw text: give exactly one of them")
        if self.continuation is not None and self.raw is None:
            raise ValueError("only raw text has a continuation: a chat's response is its last turn")

    @property
    def prompt_messages(self) -> tuple[Message, ...]:
        """The chat without its response."""
        return self.messages[:-1] if self.response is not None else self.messages

    @property
    def response(self) -> str | None:
        """What the assistant says last (or what continues raw text), or None."""
        if self.messages and self.messages[-1].role == "assistant":
            return self.messages[-1].content
        return self.continuation

    def answered(self, response: str) -> "Text":
        """This prompt with `response` as what comes next."""
        if self.raw is not None:
            return Text(raw=self.raw, continuation=response)
        return Text(messages=(*self.messages, Message("assistant", response)))

    @property
    def words(self) -> str:
        """All text without roles or template: what a surface baseline may look at."""
        if self.raw is not None:
            return self.raw + (self.continuation or "")
        return "\n".join(m.content for m in self.messages)


Split = Literal["main", "shifted", "transfer"]


@dataclass(frozen=True, slots=True)
class Example:
    """One side of a contrast pair.

    label: 1 where the concept is present, 0 where it is not.
    group: the unit that splits may not cross (template, topic, source).
    pair: identifies the two sides of one pair.
    split: which set of the pack it belongs to (`main` is fitted on; the others never are).
    """

    id: str
    text: Text
    label: int
    group: str
    pair: str
    split: Split = "main"
    latents: Mapping[str, str | int | float | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChoiceItem:
    """A forced choice: which of `choices` does the model prefer to say next?

    target: index of the choice that displays the behaviour. Scored by log-probability, no judge.
    """

    id: str
    group: str
    prompt: Text
    choices: tuple[str, ...]
    target: int
