"""Canonical time warping: streams of unlike channels, aligned by what they have in common.

In turn, canonical correlation analysis gives both streams common channels, by the frames that lie together, and DTW
puts frames together by these channels, until the path stays. Zhou & De la Torre 2009.

Axes: t frame of the first, u frame of the second, k cell of the path, c channel of a stream, d common channel.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from polymodal.alignment.arrays import squared_euclidean, stream
from polymodal.alignment.bands import Band
from polymodal.alignment.dtw import warp
from polymodal.errors import InputError, is_whole


class CanonicalWarping(NamedTuple):
    """path: (K, 2) int64. cost: the mean over its cells of the squared distance of the common channels. a, b: those
    channels of both streams, (T, D) and (U, D), of mean 0 and variance 1 over the path. correlations: (D,), the largest
    first. rounds: how many paths were sought. converged: whether the last one was the one before."""

    path: Tensor
    cost: float
    a: Tensor
    b: Tensor
    correlations: Tensor
    rounds: int
    converged: bool


def canonical_warping(
    a: Any, b: Any, *, dims: int = 1, ridge: float = 1e-6, band: Band | None = None, rounds: int = 50
) -> CanonicalWarping:
    """The alignment of (T, C) with (U, E) by `dims` channels that are linear in each, as like as can be.

    It begins with both streams stretched evenly, and finds a local optimum. ridge: what is added to each covariance, as
    a share of its mean variance. Raises InputError for streams that are empty, not finite or of fewer channels than
    dims, and as `dtw`.
    """
    if not is_whole(rounds, 0):
        raise InputError(f"rounds={rounds!r} must be a whole number from 0")
    x_tc, y_uc = stream(a, "a"), stream(b, "b")
    dtype = torch.promote_types(x_tc.dtype, y_uc.dtype)
    x_tc, y_uc = x_tc.to(dtype), y_uc.to(x_tc.device, dtype)
    if not is_whole(dims, 1) or dims > min(x_tc.shape[1], y_uc.shape[1]):
        raise InputError(f"dims={dims!r} for {x_tc.shape[1]} and {y_uc.shape[1]} channels; give 1 to the fewer of both")
    path_k2, converged, number = _even(len(x_tc), len(y_uc), x_tc), False, 0
    while number < rounds and not converged:
        x_td, y_ud, _ = canonical(x_tc, y_uc, path_k2, dims, ridge)
        new = warp(squared_euclidean(x_td, y_ud), band=band).path.to(path_k2.device)
        converged, path_k2, number = torch.equal(new, path_k2), new, number + 1
    x_td, y_ud, correlations = canonical(x_tc, y_uc, path_k2, dims, ridge)
    cost = (x_td[path_k2[:, 0]] - y_ud[path_k2[:, 1]]).square().sum(1).mean()
    return CanonicalWarping(path_k2, float(cost), x_td, y_ud, correlations, number, converged)


def canonical(x_tc: Tensor, y_uc: Tensor, path_k2: Tensor, dims: int, ridge: float) -> tuple[Tensor, Tensor, Tensor]:
    """Canonical correlation analysis of frames that lie together: both streams in the common channels, of mean 0 and
    variance 1 (with the ridge) over the path, and the correlations. Hotelling 1936."""
    sides, roots = [], []
    for z, at in ((x_tc, path_k2[:, 0]), (y_uc, path_k2[:, 1])):
        z = z - z[at].mean(0)
        cov = z[at].T @ z[at] / len(at)
        cov = cov + torch.eye(len(cov)).to(cov) * (ridge * cov.trace() / len(cov)).clamp(min=torch.finfo(z.dtype).tiny)
        values, vectors = torch.linalg.eigh(cov)
        roots.append(vectors * values.clamp(min=torch.finfo(z.dtype).tiny).rsqrt() @ vectors.T)
        sides.append(z)
    cross = sides[0][path_k2[:, 0]].T @ sides[1][path_k2[:, 1]] / len(path_k2)
    u, correlations, vh = torch.linalg.svd(roots[0] @ cross @ roots[1])
    return sides[0] @ roots[0] @ u[:, :dims], sides[1] @ roots[1] @ vh[:dims].T, correlations[:dims]


def _even(t: int, u: int, like: Tensor) -> Tensor:
    """(max(T, U), 2): both streams stretched to the longer one's length."""
    k = max(t, u)
    return torch.stack([torch.linspace(0, n - 1, k).round().long() for n in (t, u)], dim=1).to(like.device)
