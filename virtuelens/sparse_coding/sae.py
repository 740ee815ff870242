"""A sparse autoencoder as a value: what it reads, what each of its features writes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens.errors import ModelMismatchError, SaeError

if TYPE_CHECKING:
    from sae_lens import SAE

    from virtuelens.models import HookedModel

FeatureEncoder = Callable[[Float[Tensor, "*batch d_in"]], Float[Tensor, "*batch"]]
FeaturesEncoder = Callable[[Float[Tensor, "*batch d_in"]], Float[Tensor, "*batch k"]]
BlockEncoder = Callable[[slice, slice], Float[Tensor, "rows features"]]

# these rescale each token by its own norm, so what a feature writes differs from token to token
_PER_TOKEN_NORMS = ("layer_norm", "constant_norm_rescale")


@dataclass(frozen=True, eq=False)
class Sae:
    """A trained sparse autoencoder.

    point: TransformerLens hook point that it reads, "" where its configuration names none.
    architecture: SAELens' name of the way it encodes ("jumprelu" for trained batch top-k).
    fingerprint: of the weights of the model it was trained on; None where it does not say.
    module: SAELens' own object, in eval mode and without gradients.
    writes: of a transcoder, the hook point whose activations it predicts ("elsewhere" where it does
        not say); "" for an autoencoder. A transcoder's features can be read; it is not evaluated,
        spliced in or edited with.
    """

    name: str
    point: str
    d_in: int
    d_sae: int
    architecture: str
    fingerprint: str | None
    module: "SAE[Any]"
    writes: str = ""

    def __repr__(self) -> str:
        return f"Sae({self.name!r}, {self.point!r}, {self.architecture} {self.d_in}->{self.d_sae})"

    @property
    def W_dec(self) -> Float[Tensor, "d_sae d_in"]:  # noqa: N802 (the field's name)
        """What one unit of each feature adds to the reconstruction.

        Raises: SaeError: the SAE rescales every token by its norm, so no such row exists; or it is
        a transcoder.
        """
        check_autoencoder(self)
        norm = self.module.cfg.normalize_activations
        if norm in _PER_TOKEN_NORMS:
            raise SaeError(
                f"{self.name} normalises each token ({norm}), so one unit of a feature adds a "
                "different vector at every token: its features can be read, but not edited."
            )
        rows: Tensor = self.module.W_dec.detach()
        if getattr(self.module.cfg, "rescale_acts_by_decoder_norm", False):
            rows = rows / rows.norm(dim=-1, keepdim=True)  # decode divides by the norm itself
        return rows

    def decoder_row(self, feature: int) -> Float[Tensor, " d_in"]:
        """Row of `W_dec`: the vector that the feature writes per unit of its activation."""
        check_feature(self, feature)
        return self.W_dec[feature].clone()


@torch.no_grad()
def encode(sae: Sae, acts: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_sae"]:
    """Feature activations, in the SAE's own precision."""
    _check_width(sae, acts)
    feature_acts: Tensor = sae.module.encode(acts.to(sae.module.device))
    return feature_acts


@torch.no_grad()
def reconstruct(sae: Sae, acts: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
    """What the SAE makes of the activations: encoded and decoded.

    Raises: SaeError: a transcoder, or activations of another width.
    """
    check_autoencoder(sae)
    reconstruction: Tensor = sae.module.decode(encode(sae, acts))
    return reconstruction


@torch.no_grad()
def decode(sae: Sae, feature_acts: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_in"]:
    """Activations from feature activations.

    Raises: SaeError: the SAE rescales every token, so features alone do not give activations;
    or it is a transcoder.
    """
    check_autoencoder(sae)
    norm = sae.module.cfg.normalize_activations
    if norm in _PER_TOKEN_NORMS:
        raise SaeError(
            f"{sae.name} normalises each token ({norm}), so features alone do not give "
            "activations: use reconstruct on the activations themselves."
        )
    decoded: Tensor = sae.module.decode(feature_acts)
    return decoded


def feature_encoder(sae: Sae, feature: int) -> FeatureEncoder:
    """A function from activations to one feature's activation.

    Architectures whose features do not compete (standard, jumprelu, gated) need one dot product;
    top-k ones encode all features, because the others decide whether this one is kept.
    """
    some = features_encoder(sae, [feature])
    return lambda acts: some(acts)[..., 0]


def features_encoder(sae: Sae, features: Sequence[int]) -> FeaturesEncoder:
    """A function from activations to these features' activations, in the order given.

    Only they are computed, where the architecture's features do not compete (`feature_encoder`).

    Raises: SaeError: no such feature, or none given.
    """
    if not features:
        raise SaeError(f"No feature of {sae.name} is named: give at least one.")
    for feature in features:
        check_feature(sae, feature)
    chosen = list(features)
    column = _COLUMNS.get(sae.architecture)
    if column is None:
        return lambda acts: encode(sae, acts)[..., chosen]
    few = _only(sae.module, chosen)

    @torch.no_grad()
    def some(acts: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch k"]:
        sae_in = sae.module.process_sae_in(acts.to(sae.module.device))
        _forget_norms(sae.module)
        return column(few, sae_in, slice(None))

    return some


def _only(module: Any, features: list[int]) -> SimpleNamespace:
    """The encoder's weights of these features, taken out once."""
    weights = {"W_enc": module.W_enc.detach()[:, features].contiguous()}
    for name in ("b_enc", "threshold", "r_mag", "b_mag", "b_gate"):
        whole = getattr(module, name, None)
        if whole is not None:
            weights[name] = whole.detach()[features]
    return SimpleNamespace(activation_fn=module.activation_fn, **weights)


def block_encoder(sae: Sae, acts: Float[Tensor, "n d_in"]) -> BlockEncoder | None:
    """A function from rows and features (slices) to those features' activations in those rows.

    None for architectures whose features compete: they must be encoded together.

    Raises: SaeError: activations of another width.
    """
    _check_width(sae, acts)
    columns = _COLUMNS.get(sae.architecture)
    if columns is None:
        return None
    with torch.no_grad():
        sae_in = sae.module.process_sae_in(acts.to(sae.module.device))
    _forget_norms(sae.module)

    @torch.no_grad()
    def block(rows: slice, features: slice) -> Float[Tensor, "rows features"]:
        return columns(sae.module, sae_in[rows], features)

    return block


def check_autoencoder(sae: Sae) -> None:
    """Raise for a transcoder: what it writes is not what it reads.

    Raises: SaeError.
    """
    if sae.writes:
        raise SaeError(
            f"{sae.name} is a transcoder: it reads {sae.point or 'one hook point'} and writes "
            f"{sae.writes}. Its features can be read and searched, but it is not evaluated or "
            "edited with: take an autoencoder for that."
        )


def check_feature(sae: Sae, feature: int) -> None:
    """Raise unless the SAE has such a feature.

    Raises: SaeError: outside 0..d_sae-1.
    """
    if not 0 <= feature < sae.d_sae:
        raise SaeError(f"{sae.name} has features 0-{sae.d_sae - 1}, there is no {feature}.")


def check_fits(sae: Sae, model: "HookedModel") -> None:
    """Raise unless the SAE belongs to this model.

    An SAE without a fingerprint (made elsewhere) is judged by its width and hook point alone.

    Raises: ModelMismatchError: trained on other weights. SaeError: other width, or no such point.
    """
    info = model.info
    if sae.fingerprint is not None and sae.fingerprint != info.fingerprint:
        raise ModelMismatchError(
            f"{sae.name} was trained on weights {sae.fingerprint[:12]}, {info.name} has "
            f"{info.fingerprint[:12]}: train one on this model with virtuelens sae train."
        )
    if sae.point not in model.hook_points():
        raise SaeError(
            f"{sae.name} reads {sae.point or 'a hook point that it does not name'}, which "
            f"{info.name} does not have. List its points with: virtuelens model {info.name} --hooks"
        )
    if sae.d_in != info.d_model:
        raise SaeError(
            f"{sae.name} reads {sae.d_in} dimensions, {info.name} has d_model {info.d_model}: "
            "it was trained on another model."
        )


def _check_width(sae: Sae, acts: Float[Tensor, "*batch d_in"]) -> None:
    if acts.shape[-1] != sae.d_in:
        raise SaeError(
            f"{sae.name} reads {sae.d_in} dimensions, these activations have {acts.shape[-1]}: "
            f"read them at {sae.point or 'the point it was trained on'} of its own model."
        )


def _standard_column(module: Any, sae_in: Tensor, i: slice) -> Tensor:
    pre = sae_in @ module.W_enc[:, i] + module.b_enc[i]
    return torch.as_tensor(module.activation_fn(pre))


def _jumprelu_column(module: Any, sae_in: Tensor, i: slice) -> Tensor:
    pre = sae_in @ module.W_enc[:, i] + module.b_enc[i]
    return torch.as_tensor(module.activation_fn(pre) * (pre > module.threshold[i]))


def _gated_column(module: Any, sae_in: Tensor, i: slice) -> Tensor:
    along = sae_in @ module.W_enc[:, i]
    magnitude = module.activation_fn(along * module.r_mag[i].exp() + module.b_mag[i])
    return torch.as_tensor((along + module.b_gate[i] > 0) * magnitude)


_COLUMNS: dict[str, Callable[[Any, Tensor, slice], Tensor]] = {
    "standard": _standard_column,
    "jumprelu": _jumprelu_column,
    "gated": _gated_column,
    "transcoder": _standard_column,
    "skip_transcoder": _standard_column,
    "jumprelu_transcoder": _jumprelu_column,
    "jumprelu_skip_transcoder": _jumprelu_column,
}


def _forget_norms(module: Any) -> None:
    """SAELens keeps the norms of the last encoded tokens on the module until it decodes them."""
    for name in ("x_norm_coeff", "ln_mu", "ln_std"):
        if hasattr(module, name):
            delattr(module, name)
