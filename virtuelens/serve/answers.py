"""What a client is answered: OpenAI's objects, with one field of our own beside theirs.

The field `virtuelens` says what was applied and read: the preset, every edit with its dose, the
seed, and the monitors' readings. In a stream it stands in the chunk that has the finish reason.
"""

import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from virtuelens.serve.engine import Done
from virtuelens.serve.wanted import Wanted


@dataclass(frozen=True)
class Reply:
    """The answers to one request: whole, or in chunks.

    chat: as /v1/chat/completions gives it, not /v1/completions.
    model: the name that the request called it by.
    """

    wanted: Wanted
    model: str
    fingerprint: str
    chat: bool
    id: str = ""
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, text: str, done: Done) -> dict[str, Any]:
        """The one answer."""
        said: dict[str, Any] = {"text": text}
        if self.chat:
            said = {"message": {"role": "assistant", "content": text, "refusal": None}}
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": done.finish}
        kind = "chat.completion" if self.chat else "text_completion"
        return self._object(kind, [choice]) | {"usage": self.usage(done)} | self._own(done)

    def begin(self) -> dict[str, Any]:
        """The first chunk of a chat: who speaks."""
        return self._chunk({"delta": {"role": "assistant", "content": ""}}, None)

    def piece(self, text: str) -> dict[str, Any]:
        """A chunk with more text."""
        return self._chunk({"delta": {"content": text}} if self.chat else {"text": text}, None)

    def end(self, done: Done) -> dict[str, Any]:
        """The chunk that says why it ended."""
        return self._chunk({"delta": {}} if self.chat else {"text": ""}, done.finish) | self._own(
            done)

    def last(self, done: Done) -> dict[str, Any]:
        """The chunk with the usage, for who asked for it."""
        return self._object(self._chunk_kind, []) | {"usage": self.usage(done)}

    def usage(self, done: Done) -> dict[str, int]:
        """Tokens in and out."""
        n = len(self.wanted.task.prompt.ids)
        return {"prompt_tokens": n, "completion_tokens": done.n_new,
                "total_tokens": n + done.n_new}

    def _own(self, done: Done) -> dict[str, Any]:
        w = self.wanted
        return {"virtuelens": {"preset": w.preset, "applied": list(w.applied),
                               "seed": w.task.how.seed, "monitor": done.readings}}

    def _chunk(self, said: dict[str, Any], finish: str | None) -> dict[str, Any]:
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": finish}
        return self._object(self._chunk_kind, [choice])

    @property
    def _chunk_kind(self) -> str:
        return "chat.completion.chunk" if self.chat else "text_completion"

    def _object(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model,
                "system_fingerprint": self.fingerprint[:12], "choices": choices}


def new_id(*, chat: bool) -> str:
    """A name for a request, in the answer and in the audit trail."""
    return f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}"


def sse(value: dict[str, Any]) -> str:
    """A value as a server-sent event."""
    return f"data: {json.dumps(value, ensure_ascii=False, allow_nan=False)}\n\n"


END_OF_STREAM = "data: [DONE]\n\n"
