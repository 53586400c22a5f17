"""The captioner that tutorials teach, in plain PyTorch: the baseline of `captioning`. It is timed, never judged.

photo (B, 3, 299, 299) --Inception-ResNet-v2, frozen, in every step--> (B, 64, 1536) --Dense--> (B, 64, 512)
words (B, 64) --Embedding--> GRU --attention to the photo--> add --> LayerNorm --> Dense(20,000)

Captions are padded to 64 words, and the loss is a mean over all 64. A caption is drawn a word at a time, and the list
of all words is made anew for each of them.

Axes: b batch, c channel, h height, w width, s place of the photo, t word, d width of a token.
"""

import sys
from collections import defaultdict

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.asked import serve

WORDS, LENGTH, DIM, BATCH, SIDE = 20_000, 64, 512, 32, 299
PLACES, CHANNELS = 64, 1536  # what the image network gives
BEGIN = 1


class Conv(nn.Sequential):
    """Convolution, batch norm, ReLU. padding "same" or "valid", as the paper says "V" for."""

    def __init__(self, inputs: int, outputs: int, size: int | tuple[int, int], stride: int = 1, padding: str = "same"):
        sizes = (size, size) if isinstance(size, int) else size
        pad = tuple(n // 2 if padding == "same" else 0 for n in sizes)
        convolution = nn.Conv2d(inputs, outputs, sizes, stride, pad, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(outputs, eps=1e-3), nn.ReLU(inplace=True))


class Branches(nn.Module):
    """Several ways side by side, their channels joined."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x_bchw: Tensor) -> Tensor:
        return torch.cat([b(x_bchw) for b in self.branches], 1)


class Residual(nn.Module):
    """x + scale * (a 1x1 convolution of the branches), then ReLU."""

    def __init__(self, width: int, inside: int, scale: float, *branches: nn.Module, last: bool = False) -> None:
        super().__init__()
        self.branches, self.up = Branches(*branches), nn.Conv2d(inside, width, 1)
        self.scale, self.after = scale, nn.Identity() if last else nn.ReLU(inplace=True)

    def forward(self, x_bchw: Tensor) -> Tensor:
        return self.after(x_bchw + self.scale * self.up(self.branches(x_bchw)))


def inception_resnet() -> nn.Sequential:
    """(B, 3, 299, 299) -> (B, 1536, 8, 8). Szegedy et al. 2016, with the stem and widths of the released weights."""

    def chain(width: int, *layers: tuple) -> nn.Sequential:
        made = []
        for outputs, size, *more in layers:
            made.append(Conv(width, outputs, size, *more))
            width = outputs
        return nn.Sequential(*made)

    halved = (2, "valid")
    return nn.Sequential(
        chain(3, (32, 3, *halved), (32, 3, 1, "valid"), (64, 3)),
        nn.MaxPool2d(3, 2),
        chain(64, (80, 1), (192, 3, 1, "valid")),
        nn.MaxPool2d(3, 2),
        Branches(
            chain(192, (96, 1)),
            chain(192, (48, 1), (64, 5)),
            chain(192, (64, 1), (96, 3), (96, 3)),
            nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), Conv(192, 64, 1)),
        ),
        *(
            Residual(320, 128, 0.17, chain(320, (32, 1)), chain(320, (32, 1), (32, 3)),
                     chain(320, (32, 1), (48, 3), (64, 3)))
            for _ in range(10)
        ),
        Branches(chain(320, (384, 3, *halved)), chain(320, (256, 1), (256, 3), (384, 3, *halved)), nn.MaxPool2d(3, 2)),
        *(
            Residual(1088, 384, 0.1, chain(1088, (192, 1)), chain(1088, (128, 1), (160, (1, 7)), (192, (7, 1))))
            for _ in range(20)
        ),
        Branches(
            chain(1088, (256, 1), (384, 3, *halved)),
            chain(1088, (256, 1), (288, 3, *halved)),
            chain(1088, (256, 1), (288, 3), (320, 3, *halved)),
            nn.MaxPool2d(3, 2),
        ),
        *(
            Residual(2080, 448, 0.2 if i < 9 else 1.0, chain(2080, (192, 1)),
                     chain(2080, (192, 1), (224, (1, 3)), (256, (3, 1))), last=i == 9)
            for i in range(10)
        ),
        Conv(2080, CHANNELS, 1),
    )  # fmt: skip


class Captioner(nn.Module):
    """The decoder, with the Dense layer that brings the photo to its width."""

    def __init__(self) -> None:
        super().__init__()
        self.photo, self.embedding = nn.Linear(CHANNELS, DIM), nn.Embedding(WORDS, DIM)
        self.gru, self.norm, self.out = nn.GRU(DIM, DIM, batch_first=True), nn.LayerNorm(DIM), nn.Linear(DIM, WORDS)

    def look(self, features_bsc: Tensor) -> Tensor:
        """(B, 64, 1536) -> (B, 64, 512)."""
        return self.photo(features_bsc).relu()

    def forward(self, ids_bt: Tensor, photo_bsd: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, T) words -> (B, T, WORDS) logits, and the state after them."""
        y_btd, state = self.gru(self.embedding(ids_bt), state)
        seen_btd = (y_btd @ photo_bsd.mT).softmax(-1) @ photo_bsd
        return self.out(self.norm(y_btd + seen_btd)), state


class Training:
    """One step after another: photos or their features, and (B, 64) captions, of which each word is to be told."""

    def __init__(self, image: nn.Module, captioner: Captioner) -> None:
        self.image, self.captioner = image, captioner
        self.optimizer = torch.optim.Adam(captioner.parameters(), foreach=False, fused=False)

    def photos(self, photos_bchw: Tensor, ids_bt: Tensor) -> float:
        """The loss of a step that runs the frozen network."""
        return self.features(features(self.image, photos_bchw), ids_bt)

    def features(self, features_bsc: Tensor, ids_bt: Tensor) -> float:
        """The loss of a step on features. No place is left out of it, for the mask is made and does nothing."""
        following = torch.cat([ids_bt[:, 1:], torch.zeros_like(ids_bt[:, :1])], 1)
        logits, _ = self.captioner(ids_bt, self.captioner.look(features_bsc))
        loss = cross_entropy(logits.flatten(0, 1), following.flatten())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


@torch.no_grad()
def features(image: nn.Module, photos_bchw: Tensor) -> Tensor:
    """(B, 64, 1536) of the frozen network."""
    return image(photos_bchw).flatten(2).mT


class Lookup:
    """A table of words as a string lookup layer keeps it: bytes, all of which are read out for the list."""

    def __init__(self, words: list[str]) -> None:
        self.table = {w.encode(): i for i, w in enumerate(words)}

    def get_vocabulary(self) -> list[str]:
        found = defaultdict(lambda: "[UNK]", {i: w.decode() for w, i in self.table.items()})
        return [found[i] for i in range(len(self.table))]


@torch.no_grad()
def caption(captioner: Captioner, lookup: Lookup, features_sc: Tensor, length: int) -> str:
    """`length` words for one photo, each drawn from the ten likeliest."""
    photo, state, word, said = captioner.look(features_sc[None]), None, BEGIN, []
    for _ in range(length):
        logits, state = captioner(torch.tensor([[word]]), photo, state)
        best = logits[0, 0].topk(10)
        word = int(best.indices[torch.distributions.Categorical(logits=best.values).sample()])
        said.append(lookup.get_vocabulary()[word])
    return " ".join(said)


def captions(count: int, generator: np.random.Generator) -> list[np.ndarray]:
    """Ids of words, some far more common than others: 6 to 25 a caption, 10.8 on average, as Flickr8k's are."""
    lengths = generator.gamma(8.0, 1.35, count).round().clip(6, 25).astype(int)
    return [np.minimum(generator.zipf(1.2, n) + 2, WORDS - 1) for n in lengths]


def main(threads: int, length: int) -> None:
    """Answer what `captioning` asks."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    image, captioner = inception_resnet().eval(), Captioner()
    training, lookup = Training(image, captioner), Lookup([f"word{i}" for i in range(WORDS)])
    photos_bchw, seen_bsc = torch.rand(BATCH, 3, SIDE, SIDE), torch.randn(BATCH, PLACES, CHANNELS)
    ids_bt = torch.zeros(BATCH, LENGTH, dtype=torch.int64)
    for row, words in zip(ids_bt, captions(BATCH, np.random.default_rng(0)), strict=True):
        row[: len(words) + 2] = torch.tensor([BEGIN, *words, BEGIN + 1])
    serve(
        {
            "photos": lambda: training.photos(photos_bchw, ids_bt),
            "features": lambda: training.features(seen_bsc, ids_bt),
            "caption": lambda: caption(captioner, lookup, seen_bsc[0], length),
            "image": lambda: features(image, photos_bchw[:1]),
        }
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
