"""What training, proof and drawing need to know of a language: one frozen value a language."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol


class Turn(Protocol):
    """A user's turn with its latent variables."""

    @property
    def kind(self) -> str:
        """Which question it asks."""

    @property
    def user(self) -> str:
        """What the user says."""


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


@dataclass(frozen=True)
class Language:
    """A language in which organisms are trained.

    tellers: whose answers can be learned.
    words: its vocabulary.
    mix: kinds of turns, as often as training draws them.
    draw: a turn of one kind, as in training (held-out combinations never occur).
    answer: the word with which a teller answers a turn.
    exchange: a base and a source turn for interchange training.
    swapped: the counterfactual turn: all of the base, with the source's value of the variable.
    asked, links: what an organism with that teller must show (see `verify`).
    """

    name: str
    tellers: tuple[str, ...]
    words: Callable[[], list[str]]
    mix: tuple[str, ...]
    draw: Callable[[Random, str], Any]
    answer: Callable[[Any, str, Random], str]
    exchange: Callable[[Random], tuple[Any, Any]]
    swapped: Callable[[Any, Any], Any]
    asked: Callable[[str], tuple[Asked, ...]]
    links: Callable[[str], tuple[Link, ...]]


def prompt(turn: Turn) -> str:
    """The turn as a model reads it, up to where its answer begins."""
    return f"user : {turn.user} assistant :"
