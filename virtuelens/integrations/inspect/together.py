"""Samples that wait for the same model, run as one batch in a thread of their own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import anyio
import anyio.to_thread

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")

GATHER_S = 0.005
"""How long the first to ask waits for others, seconds."""


@dataclass(eq=False)
class _Waiting(Generic[Ask, Answer]):
    ask: Ask
    answer: Answer | None = None
    error: Exception | None = None
    done: bool = False


class Together(Generic[Ask, Answer]):
    """Answers what several tasks of one event loop ask, at most `at_most` at a time.

    work: all that is asked -> the answers, in that order. Never called twice at once. Where it
        raises on several, each is worked on alone, so that one bad sample fails by itself.
    """

    def __init__(self, work: Callable[[Sequence[Ask]], Sequence[Answer]], *, at_most: int) -> None:
        self._work = work
        self._at_most = at_most
        self._queue: list[_Waiting[Ask, Answer]] = []
        self._lock = anyio.Lock()

    async def ask(self, what: Ask) -> Answer:
        """The answer, as soon as a batch with it has been worked on."""
        mine: _Waiting[Ask, Answer] = _Waiting(what)
        self._queue.append(mine)
        try:
            async with self._lock:
                while not mine.done:
                    await anyio.sleep(GATHER_S)
                    part = self._queue[: self._at_most]
                    await anyio.to_thread.run_sync(self._answer, part)
                    # by what was answered, not by how many: who gave up is out of it already
                    self._queue = [w for w in self._queue if w not in part]
        except BaseException:
            if mine in self._queue:
                self._queue.remove(mine)
            raise
        if mine.error is not None:
            raise mine.error
        assert mine.answer is not None
        return mine.answer

    def _answer(self, part: Sequence[_Waiting[Ask, Answer]]) -> None:
        try:
            answers = self._work([w.ask for w in part])
        except Exception as error:
            if len(part) > 1:
                for w in part:
                    self._answer([w])
                return
            part[0].error, part[0].done = error, True
            return
        for w, answer in zip(part, answers, strict=True):
            w.answer, w.done = answer, True
