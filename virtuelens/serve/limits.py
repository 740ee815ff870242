"""How much a server takes on: one frozen value."""

from dataclasses import dataclass

from virtuelens.errors import ServeError


@dataclass(frozen=True)
class Limits:
    """What a server takes on.

    running: requests that are generated at the same time, a token of each in turn.
    queue: requests that wait beside them; the next one is refused (429).
    max_new_tokens: the most that a request may ask for.
    timeout: seconds a request may take, its waiting included.
    body_bytes: size of a request.
    body_timeout: seconds in which a request's body must have arrived.
    """

    running: int = 16
    queue: int = 64
    max_new_tokens: int = 1024
    timeout: float = 300.0
    body_bytes: int = 1 << 20
    body_timeout: float = 30.0

    def __post_init__(self) -> None:
        for name in ("running", "max_new_tokens", "timeout", "body_bytes", "body_timeout"):
            if not getattr(self, name) > 0:
                raise ServeError(f"{name} is {getattr(self, name)}: expected more than 0.")
        if self.queue < 0:
            raise ServeError(f"queue is {self.queue}: expected 0 or more.")
