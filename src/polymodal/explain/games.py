"""Shapley values and interactions of games that are tables of numbers: v[n, u] is what coalition u gets in game n.

    phi_i = sum over S without i of |S|! (M - |S| - 1)! / M! * (v(S + i) - v(S))                      Shapley 1953
    I_ij = sum over S without i, j of |S|! (M - |S| - 2)! / (M - 1)! * (v(S+i+j) - v(S+i) - v(S+j) + v(S))
                                                                                        Grabisch & Roubens 1999

Axes: n game, m player, u coalition, r random order.
"""

from itertools import pairwise
from math import comb
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


class Values(NamedTuple):
    """Shapley values (N, M), interactions (N, M, M) with 0 on the diagonal, and the standard errors of both."""

    shapley: Floats
    error: Floats
    interaction: Floats
    interaction_error: Floats


def coalitions(players: int) -> Bools:
    """(2 ** M, M) who is in coalition u: player i, where bit i of u is 1.

    >>> coalitions(2).astype(int).tolist()
    [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    u = np.arange(1 << players)
    return (u[:, None] >> np.arange(players) & 1).astype(bool)


def exact(v_nu: Floats, players: int) -> Values:
    """Values of games whose 2 ** M coalitions are all known, in the order of `coalitions`."""
    phi, pair = shapley(v_nu, players), interaction(v_nu, players)
    return Values(phi, np.zeros_like(phi), pair, np.zeros_like(pair))


def shapley(v_nu: Floats, players: int) -> Floats:
    """(N, 2 ** M) -> (N, M). A player that changes nothing gets exactly 0; they add up to v(all) - v(nobody)."""
    inside = coalitions(players)
    out = np.zeros((len(v_nu), players))
    for i in range(players):
        u = np.flatnonzero(~inside[:, i])
        size = inside[u].sum(1)
        weight = 1 / (players * np.array([comb(players - 1, s) for s in size], dtype=np.float64))
        out[:, i] = (v_nu[:, u | 1 << i] - v_nu[:, u]) @ weight
    return out


def interaction(v_nu: Floats, players: int) -> Floats:
    """(N, 2 ** M) -> (N, M, M), symmetric: what two players get together beyond what each brings alone."""
    inside = coalitions(players)
    out = np.zeros((len(v_nu), players, players))
    for i in range(players):
        for j in range(i):
            u = np.flatnonzero(~inside[:, i] & ~inside[:, j])
            size = inside[u].sum(1)
            weight = 1 / ((players - 1) * np.array([comb(players - 2, s) for s in size], dtype=np.float64))
            both = v_nu[:, u | 1 << i | 1 << j] - v_nu[:, u | 1 << i] - v_nu[:, u | 1 << j] + v_nu[:, u]
            out[:, i, j] = out[:, j, i] = both @ weight
    return out


class Orders(NamedTuple):
    """Random orders of the players, each followed by its reverse, and the coalitions that they ask for.

    orders: (R, M). coalitions: (U, M), each once. prefix: (R, M + 1) the place among them of an order's first k
    players. skipped: (R, M - 1) that of the first k and the one after the next.
    """

    orders: Ints
    coalitions: Bools
    prefix: Ints
    skipped: Ints


def orders(players: int, count: int, seed: int) -> Orders:
    """Draw `count` orders, and take their reverses too: what is early in one is late in the other."""
    rng = np.random.default_rng(seed)
    forward = np.array([rng.permutation(players) for _ in range(count)])
    permutations = np.stack([forward, forward[:, ::-1]], axis=1).reshape(-1, players)
    rank = np.argsort(permutations, axis=1)[:, None, :]  # (R, 1, M) the place of each player
    k = np.arange(players + 1)[None, :, None]
    first = rank < k
    other = (rank < k[:, :-2]) | (rank == k[:, :-2] + 1)
    subsets = np.concatenate([first.reshape(-1, players), other.reshape(-1, players)])
    distinct, at = np.unique(subsets, axis=0, return_inverse=True)
    at = at.reshape(-1)
    split = first.shape[0] * first.shape[1]
    return Orders(permutations, distinct, at[:split].reshape(first.shape[:2]), at[split:].reshape(other.shape[:2]))


def estimate(v_nu: Floats, orders: Orders) -> Values:
    """Means over random orders, with standard errors over pairs of an order and its reverse.

    Shapley: what a player adds to those before it; for each order these add up to v(all) - v(nobody). Interaction: of
    two players next to each other, over those before both; the size of what stands before is uniform, as in the
    definition. NaN for a pair that no order has side by side.
    """
    n, (count, m) = len(v_nu), orders.orders.shape
    adds = np.zeros((count, n, m))
    pairs = np.full((count, n, m, m), np.nan)
    for r, order in enumerate(orders.orders):
        first, without = v_nu[:, orders.prefix[r]], v_nu[:, orders.skipped[r]]
        adds[r][:, order] = np.diff(first, axis=1)
        for k, (i, j) in enumerate(pairwise(order)):
            pairs[r, :, i, j] = pairs[r, :, j, i] = first[:, k + 2] - first[:, k + 1] - without[:, k] + first[:, k]
    phi, error = _mean(adds.reshape(count // 2, 2, n, m).mean(1))
    # an order and its reverse have the same neighbours, so a pair is known of both or of neither
    pair, pair_error = _mean(pairs.reshape(count // 2, 2, n, m, m).mean(1))
    i = np.arange(m)
    pair[:, i, i] = pair_error[:, i, i] = 0
    return Values(phi, error, pair, pair_error)


def _mean(x_r: Floats) -> tuple[Floats, Floats]:
    """Mean over the first axis and its standard error, of the draws that are known; NaN where none is, or only one."""
    valid = ~np.isnan(x_r)
    count = valid.sum(0)
    values = np.where(valid, x_r, 0)
    mean = np.where(count > 0, values.sum(0) / np.maximum(count, 1), np.nan)
    square = np.where(valid, (x_r - np.where(count > 0, mean, 0)) ** 2, 0).sum(0)
    error = np.where(count > 1, np.sqrt(square / np.maximum(count - 1, 1) / np.maximum(count, 1)), np.nan)
    return mean, error
