"""Errors in OpenAI's format: what a client is told, and with which status.

Only our own messages go out; of an unexpected error a client learns that there was one.
"""

import logging
from dataclasses import dataclass, field
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from virtuelens.errors import DiskError, NotFiniteError, TextTooLongError, VirtueLensError
from virtuelens.serve.engine import CancelledError, OutOfTimeError, QueueFullError, StoppedError
from virtuelens.serve.wanted import UnknownModelError

LOG = logging.getLogger("virtuelens.serve")


@dataclass(frozen=True)
class Problem:
    """An error as a client sees it."""

    status: int
    kind: str
    code: str | None
    message: str
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The body of the answer."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param,
                          "code": self.code}}


_ROWS: list[tuple[type[Exception], int, str, str | None, dict[str, str]]] = [
    (UnknownModelError, 404, "invalid_request_error", "model_not_found", {}),
    (TextTooLongError, 400, "invalid_request_error", "context_length_exceeded", {}),
    (NotFiniteError, 400, "invalid_request_error", "steer_too_strong", {}),
    (QueueFullError, 429, "rate_limit_error", "queue_full", {"Retry-After": "1"}),
    (OutOfTimeError, 504, "timeout_error", "timeout", {}),
    (StoppedError, 503, "server_error", "stopping", {}),
    (CancelledError, 499, "invalid_request_error", "client_left", {}),
    (DiskError, 503, "server_error", "not_logged", {}),
    (VirtueLensError, 400, "invalid_request_error", None, {}),
]
"""Error, status, type, code, headers; the first row that fits."""

_HIDDEN = {503: "The server cannot take requests at the moment."}


def problem(error: Exception) -> Problem:
    """What a client is told of an error."""
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        return Problem(error.status_code, "invalid_request_error", None, str(error.detail))
    for kind, status, name, code, headers in _ROWS:
        if isinstance(error, kind):
            if status in _HIDDEN:
                LOG.error("%s", error)
            return Problem(status, name, code, _HIDDEN.get(status, str(error)), None, headers)
    LOG.error("a request failed", exc_info=error)
    return Problem(500, "server_error", "internal_error",
                   "The server failed on this request; its log says why.")


WRONG_KEY = Problem(401, "invalid_request_error", "invalid_api_key",
                    "A valid API key is required: send it as 'Authorization: Bearer KEY'.",
                    headers={"WWW-Authenticate": "Bearer"})
WRONG_HOST = Problem(403, "invalid_request_error", "host_not_allowed",
                     "This server answers to requests for its own address only.")
NOT_JSON = Problem(415, "invalid_request_error", "not_json",
                   "Send the request as JSON, with 'Content-Type: application/json'.")
TOO_LARGE = Problem(413, "invalid_request_error", "request_too_large",
                    "The request is larger than this server takes.")
TOO_SLOW = Problem(408, "timeout_error", "request_timeout",
                   "The request's body did not arrive in time.")


def _invalid(error: RequestValidationError) -> Problem:
    first = max(error.errors(), key=lambda e: len(e["loc"]))  # of a union, the nearest branch
    places = [str(part) for part in first["loc"] if part != "body"]
    param = ".".join(places)[:200] or None
    if first["type"] == "json_invalid":
        return Problem(400, "invalid_request_error", "invalid_json", "The body is not valid JSON.")
    says = f"{param}: {first['msg']}" if param else str(first["msg"])
    if first["type"] == "extra_forbidden":
        says = f"Unrecognized request argument supplied: {param}"
        return Problem(400, "invalid_request_error", "unknown_parameter", says, param)
    return Problem(400, "invalid_request_error", "invalid_value", says, param)
