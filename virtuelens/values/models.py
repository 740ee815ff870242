"""Which model something was read from: enough to refuse it on any other."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class ModelInfo:
    """Identity and shape of a loaded model.

    fingerprint: SHA-256 over the names, shapes and bytes of all weights.
    dialect: the language its packs must speak ("english" unless the model declares another).
    """

    name: str
    fingerprint: str
    architecture: str
    n_layers: int
    d_model: int
    d_vocab: int
    n_ctx: int
    dtype: str
    device: str
    dialect: str
    tokenizer_hash: str
    chat_template_hash: str

    def to_json(self) -> dict[str, str | int]:
        """The fields as plain JSON values."""
        return asdict(self)
