"""What training, proof and drawing need to know of a language: one frozen value a language."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from virtuelens.organisms.composed import Composed
from virtuelens.values.texts import Message


class Turn(Protocol):
    """A user's turn with its latent variables."""

    @property
    def kind(self) -> str:
        """Which question it asks."""

    @property
    def user(self) -> str:
        """What the user says."""

    @property
    def earlier(self) -> tuple[str, ...]:
        """What was said before, the user's and the assistant's words by turns; mostly nothing."""


@dataclass(frozen=True)
class Asked:
    """Behaviour to be shown: drawn turns are answered as `teller` answers them.

    at_least, at_most: bounds on the share answered so; one of them is given.
    """

    name: str
    draw: Callable[[Random], Any]
    teller: str
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True)
class Link:
    """A causal link of the planted variable to an answer, present or absent.

    base, source: a turn in which the variable has the given value; combinations held out of
        training.
    heeded_by: the teller whose answer follows the variable: what the answer becomes if it moves;
        None where no teller's does, so that any change counts.
    present: whether swapping the variable moves this organism's answer, as its recipe declares.
    """

    name: str
    base: Callable[[Random, bool], Any]
    source: Callable[[Random, bool], Any]
    heeded_by: str | None = None
    present: bool = False


END = "<end>"
"""What closes a message of the assistant's, as in the chat template (`models.fresh`)."""


@dataclass(frozen=True)
class Language:
    """A language in which organisms are trained.

    tellers: whose answers can be learned; the answers of the first follow the planted variable.
    words: its vocabulary.
    mix: kinds of turns, as often as training draws them.
    draw: a turn of one kind, as in training (held-out combinations never occur); with `form` and
        `pair`, told in that form with those composing words.
    answer: the word with which a teller answers a turn.
    exchange: a base and a source turn for interchange training.
    swapped: the counterfactual turn: all of the base, with the source's value of the variable.
    asked, links: what an organism with that teller must show (see `verify`).
    variable: the planted variable, as words compose it.
    opposed: a turn with these composing words whose answer follows the variable in the first
        teller; the same random stream with other words differs in them alone.
    heard: whether training may show this turn to an organism with that teller.
    """

    name: str
    tellers: tuple[str, ...]
    words: Callable[[], list[str]]
    mix: tuple[str, ...]
    draw: Callable[..., Any]
    answer: Callable[[Any, str, Random], str]
    exchange: Callable[[Random], tuple[Any, Any]]
    swapped: Callable[[Any, Any], Any]
    asked: Callable[[str], tuple[Asked, ...]]
    links: Callable[[str], tuple[Link, ...]]
    variable: Composed
    opposed: Callable[[Random, tuple[str, str]], Any]
    heard: Callable[[Any, str], bool] = lambda turn, teller: True


def messages(turn: Turn) -> tuple[Message, ...]:
    """Every message up to where the answer begins."""
    said = (*turn.earlier, turn.user)
    return tuple(Message("assistant" if i % 2 else "user", words) for i, words in enumerate(said))


def prompt(turn: Turn) -> str:
    """The turn as a model reads it, up to where its answer begins."""
    said = [f"{m.role} : {m.content}" + (f" {END}" if m.role == "assistant" else "")
            for m in messages(turn)]
    return " ".join([*said, "assistant :"])
