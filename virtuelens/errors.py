"""Errors a user can cause: one line that says what was wrong, what was expected, what to do.

The command line prints the message and exits with code 2; a traceback is for our own bugs.
"""


class VirtueLensError(Exception):
    """Base of every error that virtuelens raises on purpose."""


class ModelLoadError(VirtueLensError, OSError):
    """A model could not be found, read, or is of a kind that is not supported."""


class HookPointError(VirtueLensError, KeyError):
    """A hook point name is not known for this model."""

    def __str__(self) -> str:  # KeyError would print the message in quotes
        return str(self.args[0]) if self.args else ""


class ModelMismatchError(VirtueLensError, ValueError):
    """An artefact was made on another model (or revision) than the one it is used on."""


class PackError(VirtueLensError, ValueError):
    """A concept pack is missing, malformed or unusable; the message names file and line."""


class TextError(VirtueLensError, ValueError):
    """A text cannot be given to this model: it is empty, or its chat template refuses it."""


class PositionError(VirtueLensError, ValueError):
    """A reading position is unknown, or a text has no such place."""


class TextTooLongError(VirtueLensError, ValueError):
    """A text needs more tokens than the model's context holds; nothing is cut silently."""


class NotFiniteError(VirtueLensError, ArithmeticError):
    """NaN or infinity in weights or activations; the message names the place."""


class StoreError(VirtueLensError, ValueError):
    """A store or run directory is damaged, of another schema, or does not match what is asked."""


class RemoteError(VirtueLensError, RuntimeError):
    """A server that runs a model for us refused, failed or cannot be reached."""


class ClusterError(VirtueLensError, RuntimeError):
    """Workers of a cluster cannot be had, or cannot do what this process could."""


class ProbeError(VirtueLensError, ValueError):
    """A probe cannot be fitted or used as asked."""


class SaeError(VirtueLensError, ValueError):
    """A sparse autoencoder cannot be loaded, trained or used as asked."""


class SteeringError(VirtueLensError, ValueError):
    """An edit cannot be applied as asked."""


class ServeError(VirtueLensError, ValueError):
    """The server cannot be started as asked, or a request to it cannot be met."""


class AttributionError(VirtueLensError, ValueError):
    """Effects cannot be attributed as asked: texts or answers that do not go together."""


class OrganismError(VirtueLensError, ValueError):
    """An organism is unknown, or its recipe or proof is not usable."""


class DiskError(VirtueLensError, OSError):
    """A file could not be written (disk full, no permission); what was whole before still is."""
