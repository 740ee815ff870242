"""One thread that runs the model for many requests: a bounded queue, and a token of each in turn.

The thread is the one that calls `run`: best the one that loaded the model, since PyTorch keeps a
team of threads for every thread that computes, and two teams get in each other's way (a small model
on two cores: three times as slow).

1. `submit` puts a job into the queue, or refuses it when the queue is full.
2. The thread lets as many jobs run as the limits say, and steps them one after the other. A step is
   one run of the model with the edits of that job alone.
3. Between steps it drops what was cancelled or has run out of time.
4. Every job is told `Started` before its first step, and exactly one of `Done` and `Failed` last.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from virtuelens.errors import ModelLoadError, VirtueLensError
from virtuelens.models.chat import Encoded
from virtuelens.models.generate import Sampling
from virtuelens.serve.continuation import Continuation, Finish
from virtuelens.serve.limits import Limits
from virtuelens.serve.readings import Reading

if TYPE_CHECKING:
    from virtuelens.models import HookedModel
    from virtuelens.models.run import Edit


class QueueFullError(VirtueLensError, RuntimeError):
    """As many requests wait as may."""


class OutOfTimeError(VirtueLensError, TimeoutError):
    """A request took longer than it may."""


class CancelledError(VirtueLensError, RuntimeError):
    """Nobody waits for the answer any more."""


class StoppedError(VirtueLensError, RuntimeError):
    """The server is being stopped."""


class Started(NamedTuple):
    """The job's first step is next."""


class Piece(NamedTuple):
    """Text that was added."""

    text: str


class Done(NamedTuple):
    """The job ended of itself. `readings` by the monitor's name."""

    finish: Finish
    n_new: int
    readings: dict[str, Any]


class Failed(NamedTuple):
    """The job ended otherwise, `n_new` tokens after its start."""

    error: Exception
    n_new: int


Event = Started | Piece | Done | Failed
Deliver = Callable[[Event], None]
"""Takes events in the engine's thread. Raising at `Started` fails the job before it begins."""


@dataclass(frozen=True)
class Task:
    """What is to be generated: a prompt, its edits, and the directions to read."""

    prompt: Encoded
    how: Sampling
    edits: tuple["Edit", ...] = ()
    readings: tuple[Reading, ...] = ()
    per_token: bool = False


@dataclass(eq=False)
class Job:
    """A task in the queue or running."""

    task: Task
    deliver: Deliver
    deadline: float
    growing: Continuation | None = None
    _cancelled: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """End it before its next step; nothing where it has ended."""
        self._cancelled.set()

    @property
    def overdue(self) -> Exception | None:
        """Why it must not go on, if so."""
        if self._cancelled.is_set():
            return CancelledError("The client left.")
        if time.monotonic() > self.deadline:
            return OutOfTimeError("The request ran out of time: ask for fewer tokens, or try when "
                                  "fewer requests run.")
        return None


class Engine:
    """The queue and the jobs that run."""

    def __init__(self, model: "HookedModel", limits: Limits) -> None:
        """An engine that does not run yet.

        Raises: ModelLoadError: the model cannot go on from a kept past.
        """
        if not model.resumes:
            raise ModelLoadError(
                f"{model.info.name} ({model.info.architecture}) cannot go on from a kept past, so "
                "it cannot be served token by token: use virtuelens steer."
            )
        self._model = model
        self._limits = limits
        self._change = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._stopping = False

    def run(self) -> None:
        """Work until `stop` is called; then fail what waits or runs."""
        while self._next_round():
            for job in list(self._running):
                self._step(job)

    def stop(self) -> None:
        """Let `run` come to its end; may be called from any thread, and again."""
        with self._change:
            self._stopping = True
            self._change.notify_all()

    def submit(self, task: Task, deliver: Deliver) -> Job:
        """Put a task into the queue.

        Raises: QueueFullError: it is full. StoppedError: the engine stops.
        """
        job = Job(task, deliver, time.monotonic() + self._limits.timeout)
        with self._change:
            if self._stopping:
                raise StoppedError("The server is being stopped.")
            if len(self._waiting) + len(self._running) >= self._limits.running + self._limits.queue:
                raise QueueFullError(
                    f"The server is busy: {len(self._running)} requests run and "
                    f"{len(self._waiting)} wait. Try again later."
                )
            self._waiting.append(job)
            self._change.notify_all()
        return job

    @property
    def load(self) -> tuple[int, int]:
        """How many jobs run, and how many wait."""
        with self._change:
            return len(self._running), len(self._waiting)

    def _next_round(self) -> bool:
        """Wait for work, drop what is overdue, let in what may run; False when stopping."""
        with self._change:
            while not (self._stopping or self._waiting or self._running):
                self._change.wait()
            late = [(j, e) for j in (*self._running, *self._waiting) if (e := j.overdue)]
            stopping = self._stopping  # told later, the next round fails who is left
            if stopping:
                stopped = StoppedError("The server is being stopped.")
                late = [(j, stopped) for j in (*self._running, *self._waiting)]
        for job, error in late:
            self._end(job, _failed(job, error))
        with self._change:
            while self._waiting and len(self._running) < self._limits.running:
                self._running.append(self._waiting.popleft())
            return not stopping

    def _step(self, job: Job) -> None:
        try:
            if job.growing is None:
                job.deliver(Started())
                t = job.task
                job.growing = Continuation(self._model, t.prompt, t.how, t.edits, t.readings)
            news = job.growing.step()
        except Exception as error:  # of this job alone: the others go on
            self._end(job, _failed(job, error))
            return
        if news:
            _tell(job, Piece(news))
        if job.growing.finish is not None:
            readings = {r.name: r.report(per_token=job.task.per_token) for r in job.task.readings}
            self._end(job, Done(job.growing.finish, len(job.growing.ids), readings))

    def _end(self, job: Job, last: Event) -> None:
        with self._change:
            jobs: deque[Job] | list[Job] = (
                self._running if job in self._running else self._waiting)
            jobs.remove(job)
        job.growing = None  # its past need not wait for whoever holds the job
        _tell(job, last)


def _failed(job: Job, error: Exception) -> Failed:
    return Failed(error, len(job.growing.ids) if job.growing else 0)


def _tell(job: Job, event: Event) -> None:
    with contextlib.suppress(Exception):  # who listens may be gone; the work goes on
        job.deliver(event)
