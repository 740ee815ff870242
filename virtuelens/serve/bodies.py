"""What a request may hold: OpenAI's fields that mean something here, and one of our own.

A field that would change the answer and is not served is refused, never dropped silently.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from virtuelens.steering.pack import Dose

Name = Annotated[str, Field(min_length=1, max_length=200)]


def _whole(text: str) -> str:
    """Refuse half a surrogate pair, which JSON may hold and no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("not valid Unicode") from None
    return text


Said = Annotated[str, AfterValidator(_whole)]
StopString = Annotated[Said, Field(min_length=1, max_length=200)]
Nothing = Annotated[float, Field(ge=0, le=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class SteerBody(_Strict):
    """One edit, as a steering pack's presets hold them."""

    direction: Name
    kind: Name = "add"
    strength: float = 0.0
    unit: Name = "sigma"
    where: Name = "all"
    point: Name | None = None

    def dose(self) -> Dose:
        """The same as a value."""
        return Dose(**self.model_dump())


class Extension(_Strict):
    """The field `virtuelens`: how to steer this request, and what to read while it runs.

    preset: a preset of the server's steering pack; the server's own choice where none is given.
    steer: edits after those of the preset.
    monitor: directions to read.
    per_token: give a reading for every token, beside the summary.
    """

    preset: Name | None = None
    steer: Annotated[list[SteerBody], Field(max_length=32)] = []
    monitor: Annotated[list[Name], Field(max_length=32)] = []
    per_token: bool = False


class StreamOptions(_Strict):
    """What a stream tells besides text."""

    include_usage: bool = False
    include_obfuscation: bool = False


class _Common(_Strict):
    model: Name
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: StopString | Annotated[list[StopString], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Annotated[str, Field(max_length=200)] | None = None
    metadata: dict[str, Any] | None = None
    n: Literal[1] | None = None
    presence_penalty: Nothing | None = None
    frequency_penalty: Nothing | None = None
    virtuelens: Extension = Extension()

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class Part(_Strict):
    """A piece of a message; text is all that is served."""

    type: Literal["text"]
    text: Said


class ChatMessage(_Strict):
    """A turn of a chat; an answer's message may be given back as it came, with its empty fields."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Said | list[Part]
    name: str | None = None
    refusal: None = None
    annotations: None = None
    audio: None = None
    function_call: None = None
    tool_calls: None = None

    @property
    def said(self) -> str:
        """The content as one text."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class ChatBody(_Common):
    """POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1000)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: Literal[False] | None = None

    @property
    def most(self) -> int | None:
        """How many tokens are asked for at most."""
        return self.max_completion_tokens or self.max_tokens


class CompletionBody(_Common):
    """POST /v1/completions."""

    prompt: Said | Annotated[list[Said], Field(min_length=1, max_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    echo: Literal[False] | None = None
    best_of: Literal[1] | None = None
    logprobs: None = None

    @property
    def most(self) -> int | None:
        """How many tokens are asked for at most."""
        return self.max_tokens or 16  # OpenAI's

    @property
    def text(self) -> str:
        """The prompt."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]
