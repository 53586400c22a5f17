"""A multilayer perceptron on sparse rows: what linear estimators read, counts of words among it, with products of them.

    (N, D) sparse --sum of the rows of W for what is there--> relu -> linear -> relu -> linear -> relu -> linear

scikit-learn's own was 2 to 3 points of R2 behind it on prices by product names, and took over twice as long: its steps
update the weights of all columns, these only of those that are in the batch, and its rate does not come down.

b row of a batch, d column, h hidden.
"""

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import softmax
from sklearn.base import BaseEstimator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding_bag, mse_loss

from polymodal.learners.matrix import Matrix

STEPS, EPOCHS = 320, (3, 60)  # steps, in so many epochs at least and at most
BATCH, RATE = 64, 2e-3
FIRST, LATER = 128, 64  # widths of the first and of later layers
SPREAD = 0.05  # of the first weights


class Perceptron(BaseEstimator):
    """Three hidden layers, trained by Adam (Kingma & Ba 2015) with a rate that falls to 0; weights of the first layer
    by its lazy form, which leaves columns alone that a batch does not have.

    After `fit`: weights_, a matrix and a vector of each layer.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def _fit(self, x: Matrix, targets: Tensor, outputs: int, loss: Any, weight: NDArray[Any] | None) -> Self:
        """loss: of (b, outputs) answers and the targets of b rows, one number each."""
        rows = sparse.csr_matrix(x, dtype=np.float32)
        weight_n = torch.ones(len(targets)) if weight is None else torch.as_tensor(weight, dtype=torch.float32)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            w_dh = torch.randn(rows.shape[1], FIRST) * SPREAD
            later = nn.Sequential(
                nn.ReLU(), nn.Linear(FIRST, LATER), nn.ReLU(), nn.Linear(LATER, LATER), nn.ReLU(),
                nn.Linear(LATER, outputs),
            )  # fmt: skip
        bias = nn.Parameter(torch.zeros(FIRST))
        optimizer, lazy = torch.optim.Adam([bias, *later.parameters()], lr=RATE), Lazy(w_dh)
        rng, each = np.random.default_rng(self.seed), -(-len(targets) // BATCH)
        steps = each * int(np.clip(-(-STEPS // each), *EPOCHS))
        for step in range(steps):
            if step % each == 0:
                order = rng.permutation(len(targets))
            at = order[step % each * BATCH :][:BATCH]
            part = rows[at]
            columns, places = np.unique(part.indices, return_inverse=True)
            own = w_dh[columns].requires_grad_()
            bags = torch.from_numpy(places), own, torch.from_numpy(part.indptr[:-1].astype(np.int64))
            answers = later(embedding_bag(*bags, mode="sum", per_sample_weights=torch.from_numpy(part.data)) + bias)
            each_b = loss(answers, targets[at], reduction="none") * weight_n[at]
            value = each_b.sum() / weight_n[at].sum().clamp(min=1e-9)
            optimizer.zero_grad()
            value.backward()
            rate = optimizer.param_groups[0]["lr"] = RATE * (1 - step / steps)
            optimizer.step()
            lazy.step(torch.from_numpy(columns), own, step + 1, rate)
        layers = [m for m in later if isinstance(m, nn.Linear)]
        pairs = [(w_dh, bias), *((m.weight.T, m.bias) for m in layers)]
        self.weights_ = [(w.detach().numpy().copy(), b.detach().numpy().copy()) for w, b in pairs]
        return self

    def _answers(self, x: Matrix) -> NDArray[np.float32]:
        """(N, outputs)."""
        y = sparse.csr_matrix(x, dtype=np.float32)
        for i, (w, b) in enumerate(self.weights_):
            y = np.asarray((y if i == 0 else np.maximum(y, 0)) @ w) + b
        return np.asarray(y, dtype=np.float32)


class Lazy:
    """Adam for some rows of a matrix at a time; the others, and what is known of their gradients, stay as they are."""

    def __init__(self, w: Tensor) -> None:
        self.w, self.mean, self.square = w, torch.zeros_like(w), torch.zeros_like(w)

    def step(self, at: Tensor, own: Tensor, count: int, rate: float) -> None:
        """own: a copy of the rows `at`, with a gradient. count: of this step, from 1."""
        assert own.grad is not None
        self.mean[at] = mean = self.mean[at].lerp_(own.grad, 0.1)
        self.square[at] = square = self.square[at].lerp_(own.grad.square(), 0.001)
        size = (square / (1 - 0.999**count)).sqrt_().add_(1e-8)
        self.w[at] = own.detach().addcdiv(mean, size, value=-rate / (1 - 0.9**count))


class PerceptronRegressor(Perceptron):
    """Of one number, by squared error."""

    def fit(self, x: Matrix, y: NDArray[Any], sample_weight: NDArray[Any] | None = None) -> Self:
        """x: (N, D). y: (N,). sample_weight: (N,)."""
        self.center_, self.scale_ = float(np.mean(y)), float(np.std(y)) or 1.0
        z = torch.as_tensor((y - self.center_) / self.scale_, dtype=torch.float32)[:, None]
        return self._fit(x, z, 1, lambda a, b, reduction: mse_loss(a, b, reduction=reduction)[:, 0], sample_weight)

    def predict(self, x: Matrix) -> NDArray[Any]:
        """(N,)."""
        return self._answers(x)[:, 0] * self.scale_ + self.center_


class PerceptronClassifier(Perceptron):
    """Of classes, by cross-entropy. After `fit`: classes_."""

    def fit(self, x: Matrix, y: NDArray[Any], sample_weight: NDArray[Any] | None = None) -> Self:
        """x: (N, D). y: (N,) classes. sample_weight: (N,)."""
        self.classes_, places = np.unique(y, return_inverse=True)
        return self._fit(x, torch.from_numpy(places), len(self.classes_), cross_entropy, sample_weight)

    def predict_proba(self, x: Matrix) -> Any:
        """(N, classes)."""
        return softmax(self._answers(x), axis=1)
