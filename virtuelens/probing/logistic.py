"""L2-regularised logistic regression for many labellings, folds and strengths at once.

The objective is scikit-learn's, on standardised features, with an intercept that is not penalised:

    sum of log losses + |w|² / (2 C)

1. Standardise (label-blind: mean and spread of all rows given). Where there are more features than
   rows, work on the Cholesky factor of the kernel matrix instead: `[n n]`, same solution.
2. Sketch the leading features of the matrix (randomised Nyström), once for all problems.
3. Go up the path of strengths, each started from the one before, or further on in the direction
   in which that one went, wherever the loss is smallest. At one strength all problems
   (labellings x folds) are solved together by L-BFGS that starts from the sketch's curvature, so
   that an iteration is two matrix products for all problems.

Everything runs on the device and in the precision of the activations. float32 is enough to choose a
strength; weights that are kept are fitted in float64 (`methods.logistic`).

Tried and left: truncated Newton with the same sketch (Lin, Weng and Keerthi 2008) needs twice the
products; all strengths at once, or an eigendecomposition in place of the sketch, take longer.

Source: L-BFGS, Liu and Nocedal 1989; the sketch as preconditioner, Frangella, Tropp and Udell 2021,
arXiv:2110.02820.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor
from torch.nn.functional import softplus

from virtuelens import stats
from virtuelens.errors import ProbeError
from virtuelens.probing.methods import STRENGTHS

SKETCH = 128  # leading features that are known to the solver before it starts
MEMORY = 8  # steps that L-BFGS remembers
LOOSER = 3.0  # times the tolerance, where a fit only helps to choose a strength
ITERATIONS = 2000  # at one strength; what has not converged by then is reported as such
PROBLEM_ELEMENTS = 1 << 25  # rows x problems solved together


@dataclass(frozen=True)
class LogisticPath:
    """Fitted weights on raw activations: `X @ weight + bias` is the log odds of label 1.

    converged: per strength and problem, whether the largest gradient (of the mean loss) fell below
        the tolerance; where it did not, rounding stopped it.
    """

    strengths: tuple[float, ...]
    weights: Float[Tensor, "s b d"]
    bias: Float[Tensor, "s b"]
    converged: Bool[Tensor, "s b"]


@dataclass(frozen=True)
class LayerFit:
    """One layer of a sweep, with the strength that group folds chose.

    fold_auroc: `[s k]` held-out AUROC per strength and fold; NaN where a fold holds one class.
    strength: the C with the largest mean of these (the smaller one where two are equal).
    weights, bias: fitted with that C on all rows; they act on raw activations.
    """

    strengths: tuple[float, ...]
    fold_auroc: Float[np.ndarray, "s k"]
    strength: float
    weights: Float[Tensor, " d"]
    bias: float


def logistic_path(
    X: Float[Tensor, "n d"],
    labelings: Num[Tensor, "b n"],
    strengths: Sequence[float] = STRENGTHS,
    *,
    rows: Bool[Tensor, "b n"] | None = None,
    tol: float = 1e-4,
    overwrite: bool = False,
) -> LogisticPath:
    """Weights of every labelling at every strength C.

    rows: which rows each problem is fitted on (all of them unless told); all are standardised.
    tol: largest gradient of the mean loss, as in scikit-learn.
    overwrite: let X be standardised in place, which saves a copy of it.
    """
    basis = _basis(X, overwrite=overwrite)
    problems = _problems(X, labelings, rows)
    at_once = max(1, PROBLEM_ELEMENTS // max(1, len(X)))
    parts = []
    for start in range(0, len(problems.y), at_once):
        part = problems.take(slice(start, start + at_once))
        solved = list(_path(basis, part, sorted(strengths), tol=tol))
        parts.append([torch.stack(x) for x in zip(*solved, strict=True)])
    u, bias, converged = (torch.cat(x, dim=1) for x in zip(*parts, strict=True))
    order = [sorted(strengths).index(c) for c in strengths]
    weights, bias = basis.raw(u[order], bias[order])
    return LogisticPath(tuple(strengths), weights, bias, converged[order])


def fit_layer(
    X: Float[Tensor, "n d"],
    labels: Int[np.ndarray, " n"],
    folds: Int[np.ndarray, " n"],
    strengths: Sequence[float] = STRENGTHS,
    *,
    tol: float = 1e-4,
    overwrite: bool = False,
) -> LayerFit:
    """Choose C by folds, and the weights that all rows give at it.

    folds: number of the fold in which a row is held out, from 0.
    tol: largest gradient of the mean loss, as in scikit-learn; the folds' fits, which only choose
        C, stop at `LOOSER` times that, which moves their AUROC by about 0.001.
    overwrite: let X be standardised in place, which saves a copy of it.

    Raises: ProbeError: no fold holds both classes.
    """
    n_folds = int(folds.max()) + 1
    inside = np.stack([folds != k for k in range(n_folds)] + [np.ones(len(folds), dtype=bool)])
    basis = _basis(X, overwrite=overwrite)
    y = torch.from_numpy(np.asarray(labels)).expand(n_folds + 1, -1)
    strengths = sorted(strengths)
    problems = _problems(X, y, torch.from_numpy(inside))
    steps = list(_path(basis, problems, strengths, tol=LOOSER * tol))
    auroc = np.full((len(strengths), n_folds), np.nan)
    scores = (torch.stack([step.u[:n_folds] for step in steps]) @ basis.along.T).cpu().numpy()
    for k in range(n_folds):
        held = np.flatnonzero(folds == k)
        if len(set(labels[held].tolist())) == 2:
            auroc[:, k] = stats.auroc_columns(scores[:, k, held].T, labels[held])
    judged = ~np.isnan(auroc).all(axis=0)
    if not judged.any():
        raise ProbeError(
            "No fold holds both classes, so no strength can be chosen: use fewer folds or groups "
            "that show both."
        )
    found = int(auroc[:, judged].mean(axis=1).argmax())
    x = torch.cat([steps[found].u, steps[found].bias[:, None]], dim=1)[-1:]
    whole, ridges = problems.take(slice(n_folds, None)), _ridges(x, strengths[found])
    x, _ = _solve(basis, whole, ridges, _start(basis, whole, ridges, x), tol=tol)
    weights, bias = basis.raw(x[:, :-1], x[:, -1])
    return LayerFit(tuple(strengths), auroc, strengths[found], weights[0], float(bias[0]))


def sweep_layers(
    layers: Iterable[Float[Tensor, "n d"]],
    labels: Int[np.ndarray, " n"],
    folds: Int[np.ndarray, " n"],
    strengths: Sequence[float] = STRENGTHS,
    *,
    tol: float = 1e-4,
) -> Iterator[LayerFit]:
    """`fit_layer` of one layer after the other.

    A layer is standardised in place, and let go before the next is asked for: give an iterator that
    reads them one at a time, and memory holds one layer's activations and working space of about
    half a layer (measured: benchmarks/probe_sweep.py --memory).
    """
    iterator = iter(layers)
    while (X := next(iterator, None)) is not None:
        fitted = fit_layer(X, labels, folds, strengths, tol=tol, overwrite=True)
        del X
        yield fitted


@dataclass(frozen=True)
class _Basis:
    """Standardised activations in the smaller of the two dimensions.

    along: the matrix. One copy serves the products with it and with its transpose: two of them
        would push each other out of the processor's cache.
    factor: Cholesky factor of the kernel matrix, where that is what `along` holds.
    leading, energy: its sketch; the rest has the mean energy `rest`.
    """

    along: Float[Tensor, "n r"]
    leading: Float[Tensor, "r k"]
    energy: Float[Tensor, " k"]
    rest: Float[Tensor, ""]
    center: Float[Tensor, " d"]
    scale: Float[Tensor, " d"]
    kernel: tuple[Float[Tensor, "n d"], Float[Tensor, "n n"]] | None

    def raw(
        self, u: Float[Tensor, "*b r"], bias: Float[Tensor, "*b"]
    ) -> tuple[Float[Tensor, "*b d"], Float[Tensor, "*b"]]:
        """Weights and bias on raw activations."""
        if self.kernel is not None:
            Z, factor = self.kernel
            flat = u.reshape(-1, u.shape[-1]).to(factor.dtype)
            dual = torch.linalg.solve_triangular(factor.T, flat.T, upper=True)  # [n b]
            u = (dual.T.to(Z.dtype) @ Z).reshape(*u.shape[:-1], -1)
        weights = u / self.scale
        return weights, bias - weights @ self.center


def _basis(X: Float[Tensor, "n d"], *, overwrite: bool = False) -> _Basis:
    n, d = X.shape
    center = X.mean(dim=0)
    flat = 1e-6 * torch.maximum(X.amax(), -X.amin()) + 1e-30  # rounding of its own magnitude
    Z = X.sub_(center) if overwrite else X - center
    square = torch.zeros_like(center)
    for rows in torch.tensor_split(Z, max(1, n // 1024)):
        square += (rows * rows).sum(dim=0)
    spread = (square / n).sqrt()
    scale = torch.where(spread > flat, spread, torch.inf)
    Z /= scale
    kernel = None
    along = Z
    if d > n:
        K = torch.zeros(n, n, dtype=torch.float64, device=X.device)
        for columns in torch.tensor_split(Z, max(1, d // 1024), dim=1):
            K.addmm_(columns.double(), columns.double().T)
        # centred rows are dependent: a feature per row, far below the others, makes it invertible
        K.diagonal().add_(1e-13 * K.diagonal().sum() + 1e-30)
        factor = torch.linalg.cholesky(K)
        along, kernel = factor.to(Z.dtype), (Z, factor)
    leading, energy, rest = _sketch(along, total=n * torch.isfinite(scale).sum())
    return _Basis(along, leading, energy, rest, center, scale, kernel)


def _sketch(
    along: Float[Tensor, "n r"], *, total: Int[Tensor, ""]
) -> tuple[Float[Tensor, "r k"], Float[Tensor, " k"], Float[Tensor, ""]]:
    """Leading right singular vectors with their energies, and the mean energy of the others."""
    r = along.shape[1]
    k = min(SKETCH, max(1, r // 4))
    start = torch.randn(k, r, generator=torch.Generator().manual_seed(0)).to(along)
    for _ in range(2):
        q = torch.linalg.qr(((start @ along.T) @ along).T).Q  # [r k]
        start = q.T.contiguous()
    image = start @ along.T  # [k n]
    energy, turn = torch.linalg.eigh(image @ image.T)
    energy = energy.clamp(min=0)
    rest = (total - energy.sum()).clamp(min=0) / max(1, r - k)
    return q @ turn, energy, rest


@dataclass(frozen=True)
class _Problems:
    y: Float[Tensor, "b n"]
    mask: Float[Tensor, "b n"]

    def take(self, chosen: slice | Tensor) -> "_Problems":
        return _Problems(self.y[chosen], self.mask[chosen])


class _Step(NamedTuple):
    u: Float[Tensor, "b r"]
    bias: Float[Tensor, " b"]
    converged: Bool[Tensor, " b"]


def _problems(
    X: Float[Tensor, "n d"], labelings: Num[Tensor, "b n"], rows: Bool[Tensor, "b n"] | None
) -> _Problems:
    y = labelings.to(X)
    return _Problems(y, torch.ones_like(y) if rows is None else rows.to(X))


def _path(
    basis: _Basis, problems: _Problems, strengths: Sequence[float], *, tol: float
) -> Iterator[_Step]:
    """Solutions up the path of strengths."""
    before = x = basis.along.new_zeros(len(problems.y), basis.along.shape[1] + 1)
    was = logits = torch.zeros_like(problems.y)
    for number, strength in enumerate(strengths):
        ridges = _ridges(x, strength)
        start = _start(basis, problems, ridges, x)
        was, logits = logits, start.logits
        if number > 1:
            start = _further(problems, ridges, start, x - before, logits - was)
        before = x
        x, converged = _solve(basis, problems, ridges, start, tol=tol)
        yield _Step(x[:, :-1], x[:, -1], converged)


def _ridges(x: Float[Tensor, "b r1"], strength: float) -> Float[Tensor, " r1"]:
    """The penalty of each weight; the intercept has none."""
    ridges = torch.full_like(x[0], 1 / strength)
    ridges[-1] = 0
    return ridges


class _Start(NamedTuple):
    x: Float[Tensor, "b r1"]
    logits: Float[Tensor, "b n"]
    loss: Float[Tensor, " b"]


def _start(
    basis: _Basis, problems: _Problems, ridges: Float[Tensor, " r1"], x: Float[Tensor, "b r1"]
) -> _Start:
    logits = _logits(basis, x)
    return _Start(x, logits, _loss(problems, ridges, x, logits))


def _further(
    problems: _Problems,
    ridges: Float[Tensor, " r1"],
    start: _Start,
    step: Float[Tensor, "b r1"],
    change: Float[Tensor, "b n"],
) -> _Start:
    """On in the direction in which the last strength went, as far as makes each loss smallest."""
    best = start
    for size in (0.5, 1.0, 1.5, 2.0):
        x, logits = start.x + size * step, start.logits + size * change
        loss = _loss(problems, ridges, x, logits)
        better = (loss < best.loss)[:, None]
        best = _Start(torch.where(better, x, best.x), torch.where(better, logits, best.logits),
                      torch.minimum(loss, best.loss))
    return best


def _solve(
    basis: _Basis,
    problems: _Problems,
    ridges: Float[Tensor, " r1"],
    start: _Start,
    *,
    tol: float,
) -> tuple[Float[Tensor, "b r1"], Bool[Tensor, " b"]]:
    """All problems at one strength, and which of them converged."""
    x, logits, loss = start
    out, converged = x.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)
    active, now = torch.arange(len(x), device=x.device), problems
    gradient = _gradient(basis, now, ridges, x, logits)
    model = _Curvature(_scaling(basis, float(ridges[0]), _weight(now, logits)), gradient)
    stuck = torch.zeros_like(converged)
    for _ in range(ITERATIONS):
        done = gradient.abs().amax(dim=1) <= tol * now.mask.sum(dim=1)
        if done.any():
            out[active[done]], converged[active[done]] = x[done], True
            left = ~converged[active]
            if not left.any():
                return out, converged
            # those that have converged are carried along until they are half of all: taking the
            # others out costs as much as a few of their iterations
            if 2 * left.sum() <= len(left):
                go = left.nonzero()[:, 0]
                active, now, model = active[go], now.take(go), model.take(go)
                x, logits, loss, gradient = x[go], logits[go], loss[go], gradient[go]
                stuck = stuck[go]
        step = -model.inverse_times_gradient()
        change = _logits(basis, step)
        slope = (gradient * step).sum(dim=1)
        size, loss = _line_search(now, ridges, _Line(x, step, logits, change, loss, slope))
        stuck, was_stuck = size == 0, stuck
        if (stuck & was_stuck | converged[active]).all():  # rounding leaves no way down
            break
        step *= size[:, None]
        x = x + step
        logits = torch.addcmul(logits, size[:, None], change)
        gradient = _gradient(basis, now, ridges, x, logits)
        model.learn(step, gradient)
        model.forget(stuck)  # a direction that does not go down was built on rounding
    left = ~converged[active]
    out[active[left]] = x[left]
    return out, converged


def _logits(basis: _Basis, x: Float[Tensor, "b r1"]) -> Float[Tensor, "b n"]:
    return torch.addmm(x[:, -1:], x[:, :-1], basis.along.T)


def _gradient(
    basis: _Basis,
    problems: _Problems,
    ridges: Float[Tensor, " r1"],
    x: Float[Tensor, "b r1"],
    logits: Float[Tensor, "b n"],
) -> Float[Tensor, "b r1"]:
    residual = problems.mask * (torch.sigmoid(logits) - problems.y)
    slope = torch.cat([residual @ basis.along, residual.sum(dim=1, keepdim=True)], dim=1)
    return torch.addcmul(slope, x, ridges)


def _weight(problems: _Problems, logits: Float[Tensor, "b n"]) -> Float[Tensor, " b"]:
    """The sum of p (1 - p)."""
    p = torch.sigmoid(logits)
    return (problems.mask * p * (1 - p)).sum(dim=1)


def _loss(
    problems: _Problems,
    ridges: Float[Tensor, " r1"],
    x: Float[Tensor, "b r1"],
    logits: Float[Tensor, "b n"],
) -> Float[Tensor, " b"]:
    """The objective, summed in float64."""
    fit = problems.mask * (softplus(logits) - problems.y * logits)
    return fit.sum(dim=1, dtype=torch.float64) + 0.5 * (ridges * x * x).sum(
        dim=1, dtype=torch.float64)


class _Line(NamedTuple):
    """Where each problem stands, and where it would go: with `step` its logits gain `change`."""

    x: Float[Tensor, "b r1"]
    step: Float[Tensor, "b r1"]
    logits: Float[Tensor, "b n"]
    change: Float[Tensor, "b n"]
    loss: Float[Tensor, " b"]
    slope: Float[Tensor, " b"]


def _line_search(
    problems: _Problems, ridges: Float[Tensor, " r1"], line: _Line
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """Per problem the first of 1, 1/2, 1/4, ... that lowers its loss enough (0: none), the loss."""
    x, step, logits, change, loss, slope = line
    rounding = 8 * torch.finfo(x.dtype).eps * loss.abs()
    size = torch.ones_like(slope)
    for _ in range(25):
        t = size[:, None]
        there = _loss(problems, ridges, torch.addcmul(x, t, step),
                      torch.addcmul(logits, t, change))
        worse = there > loss + 1e-4 * size * slope + rounding
        if not worse.any():
            return size, there
        size = torch.where(worse, size / 2, size)
    return torch.where(worse, 0.0, size), torch.where(worse, loss, there)


class _Scaling(NamedTuple):
    """An inverse of the curvature that knows only the sketch and the mean of p (1 - p)."""

    leading: Float[Tensor, "r k"]
    inside: Float[Tensor, "b k"]
    outside: Float[Tensor, "b 1"]
    bias: Float[Tensor, "b 1"]

    def times(self, v: Float[Tensor, "b r1"]) -> Float[Tensor, "b r1"]:
        w = v[:, :-1]
        w = torch.addmm(w * self.outside, (w @ self.leading) * self.inside, self.leading.T)
        return torch.cat([w, v[:, -1:] * self.bias], dim=1)


def _scaling(basis: _Basis, ridge: float, weight: Float[Tensor, " b"]) -> _Scaling:
    n = len(basis.along)
    weight = weight.clamp(min=1e-3)[:, None]
    outside = 1 / (weight / n * basis.rest + ridge)
    inside = 1 / (weight / n * basis.energy + ridge) - outside
    return _Scaling(basis.leading, inside, outside, 1 / weight)


class _Curvature:
    """The L-BFGS inverse of the curvature, in compact form, for all problems at once.

    Source: Byrd, Nocedal and Schnabel 1994, equation 3.1.
    """

    def __init__(self, scaling: _Scaling, gradient: Float[Tensor, "b r1"]) -> None:
        self.scaling, self.filled = scaling, 0
        self.gradient, self.scaled = gradient, scaling.times(gradient)
        # steps, changes of the gradient, and those scaled; oldest first
        shape = (3, len(gradient), 2 * MEMORY, gradient.shape[1])
        self.pairs = gradient.new_zeros(shape)

    def take(self, chosen: Tensor) -> "_Curvature":
        s, out = self.scaling, copy.copy(self)
        out.scaling = s._replace(inside=s.inside[chosen], outside=s.outside[chosen],
                                 bias=s.bias[chosen])
        out.gradient, out.scaled = self.gradient[chosen], self.scaled[chosen]
        out.pairs = self.pairs[:, chosen]
        return out

    def learn(self, step: Float[Tensor, "b r1"], gradient: Float[Tensor, "b r1"]) -> None:
        """The gradient after one more step."""
        if self.filled == 2 * MEMORY:
            self.filled = MEMORY - 1
            self.pairs[:, :, : self.filled] = self.pairs[:, :, -self.filled :].clone()
        scaled = self.scaling.times(gradient)
        bend = gradient - self.gradient
        good = (step * bend).sum(dim=1, keepdim=True) > torch.finfo(step.dtype).tiny
        for place, new in zip(self.pairs, (step, bend, scaled - self.scaled), strict=True):
            place[:, self.filled] = torch.where(good, new, 0.0)
        self.gradient, self.scaled, self.filled = gradient, scaled, self.filled + 1

    def forget(self, which: Bool[Tensor, " b"]) -> None:
        """Back to the scaling alone for these problems."""
        if which.any():
            self.pairs[:, which] = 0

    def inverse_times_gradient(self) -> Float[Tensor, "b r1"]:
        """Of the last gradient."""
        g, w = self.gradient, self.scaled
        if not self.filled:
            return w
        S, Y, scaled = self.pairs[:, :, max(0, self.filled - MEMORY) : self.filled]  # [b m r+1]
        products = S @ Y.mT  # [b m m]
        diagonal = products.diagonal(dim1=1, dim2=2)
        # an empty pair has only zeros: one on the diagonal leaves it without effect
        triangle = products.triu() + torch.diag_embed((diagonal == 0).to(g))
        a = torch.linalg.solve_triangular(triangle, S @ g[:, :, None], upper=True)  # [b m 1]
        known = scaled.mT @ a
        bent = diagonal[:, :, None] * a + Y @ (known - w[:, :, None])
        c = torch.linalg.solve_triangular(triangle.mT, bent, upper=False)
        return w + (S.mT @ c - known)[:, :, 0]
