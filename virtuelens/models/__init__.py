"""Language models from Hugging Face with TransformerLens hook points: load, read, edit, generate.

- `load`: from a name to a checked model; `sources`, `weights`, `verify` are its steps
- `points`: hook point names resolved to modules
- `run`: one forward pass, read and edited, stopped early
- `generate`: text under edits, through the KV cache
- `chat`: text to tokens, and where the response begins
- `traced`: the same reads and edits through nnsight, here or on a server
- `views`: the same weights as a TransformerBridge or an nnsight model
- `fresh`: new small models with a word tokenizer
"""

from virtuelens.models.chat import Encoded
from virtuelens.models.generate import Generation
from virtuelens.models.hooked import HookedModel
from virtuelens.models.load import hook, load_model
from virtuelens.models.run import Batch, Edit, Reads, Seen
from virtuelens.models.sources import at_revision
from virtuelens.models.verify import Check, Verification

__all__ = [
    "Batch", "Check", "Edit", "Encoded", "Generation", "HookedModel", "Reads", "Seen",
    "Verification", "at_revision", "hook", "load_model",
]  # fmt: skip
