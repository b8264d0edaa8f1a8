"""Networks of published EM pipelines, written anew after their descriptions, by name.

Each takes (batch, channels, *window) and gives scores (batch, heads, *window) before softmax; `build` is
what the description of an exported model names.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.training.recipe import SEEDS


def build(kind: str, channels: int, heads: int, features: Sequence[int]) -> Any:
    """An untrained network.

    Parameters
    ----------
    kind : {'unet2d', 'unet3d', 'resunet', 'pyramid'}
        'unet2d' and 'unet3d': plain U-Nets with batch normalisation, bilinear upsampling in 2D and
        transposed convolutions in 3D. 'resunet': residual blocks, strides instead of pooling [1]_; with
        voxels four times as large it sees four times the context. 'pyramid': a 2D U-Net whose scores and
        features a small 3D pyramid refines, with 3 x 3 x 3 convolutions in the finest 2D stages [2]_; in
        training it also gives the scores of single planes.
    channels, heads : int
    features : sequence of int
        Channels of every stage.

    References
    ----------
    .. [1] Machireddy et al., Frontiers in Bioinformatics 3, 2023, doi:10.3389/fbinf.2023.1308708
    .. [2] Guay et al., Scientific Reports 11, 2021, doi:10.1038/s41598-021-81590-0
    """
    if kind not in SEEDS:
        raise ConfigError(f"no network {kind!r}; there are {list(SEEDS)}")
    if kind == "pyramid":
        return _pyramid(channels, heads, list(features))
    return _unet(kind, channels, heads, list(features))


def _unet(kind: str, channels: int, heads: int, features: list[int]) -> Any:
    import torch
    from torch import nn

    flat = kind != "unet3d"
    conv: Any = nn.Conv2d if flat else nn.Conv3d
    norm: Any = nn.BatchNorm2d if flat else nn.BatchNorm3d
    upward: Any = nn.ConvTranspose2d if flat else nn.ConvTranspose3d
    pool: Any = nn.MaxPool2d if flat else nn.MaxPool3d

    def plain(a: int, b: int, first: int | None = None) -> Any:
        middle = first or b
        return nn.Sequential(
            *(conv(a, middle, 3, padding=1, bias=False), norm(middle), nn.ReLU(inplace=True)),
            *(conv(middle, b, 3, padding=1, bias=False), norm(b), nn.ReLU(inplace=True)),
        )

    class Residual(nn.Module):  # type: ignore[misc]
        """Two convolutions, each after normalisation, beside a shortcut."""

        def __init__(self, a: int, b: int, stride: int = 1) -> None:
            super().__init__()
            self.path = nn.Sequential(
                *(norm(a), nn.ReLU(), conv(a, b, 3, stride=stride, padding=1)),
                *(norm(b), nn.ReLU(), conv(b, b, 3, padding=1)),
            )
            self.shortcut = nn.Sequential(conv(a, b, 1, stride=stride), norm(b))

        def forward(self, x: Any) -> Any:
            return self.path(x) + self.shortcut(x)

    residual = kind == "resunet"

    class UNet(nn.Module):  # type: ignore[misc]
        """Encoder, decoder with skips, and a 1 x 1 convolution."""

        def __init__(self) -> None:
            super().__init__()
            first = (
                Residual(channels, features[0])
                if residual
                # The 3D network widens at the end of each stage, as its authors have it.
                else plain(channels, features[0], None if flat else max(1, features[0] // 2))
            )
            down = [first]
            for a, b in itertools.pairwise(features):
                down.append(
                    Residual(a, b, 2)
                    if residual
                    else nn.Sequential(pool(2), plain(a, b, None if flat else a))
                )
            self.down = nn.ModuleList(down)
            pairs = list(itertools.pairwise(features[::-1]))
            self.up = nn.ModuleList(
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
                if kind == "unet2d"
                else upward(a, b, 2, stride=2)
                for a, b in pairs
            )
            joined = [(a + b if kind == "unet2d" else 2 * b, b) for a, b in pairs]
            self.join = nn.ModuleList(Residual(*ab) if residual else plain(*ab) for ab in joined)
            self.head = conv(features[0], heads, 1)

        def forward(self, x: Any) -> Any:
            seen = []
            for stage in self.down:
                x = stage(x)
                seen.append(x)
            seen.pop()
            for up, join in zip(self.up, self.join, strict=True):
                x = join(torch.cat([seen.pop(), up(x)], 1))
            return self.head(x)

    return UNet()


def _pyramid(channels: int, heads: int, features: list[int]) -> Any:
    import torch
    from torch import nn

    flat, flat_pad = (1, 3, 3), (0, 1, 1)

    class Block(nn.Module):  # type: ignore[misc]
        """An optional 3 x 3 x 3 convolution with half the kernels, then two within planes."""

        def __init__(self, a: int, b: int, deep: bool) -> None:
            super().__init__()
            half = max(1, b // 2)
            first = [nn.Conv3d(a, half, 3, padding=1), nn.ReLU()] if deep else []
            self.path = nn.Sequential(
                *first,
                *(nn.Conv3d(half if deep else a, b, flat, padding=flat_pad), nn.ReLU()),
                *(nn.Conv3d(b, b, flat, padding=flat_pad), nn.ReLU()),
            )

        def forward(self, x: Any) -> Any:
            return self.path(x)

    class Pyramid(nn.Module):  # type: ignore[misc]
        """A U-Net within planes, and a spatial pyramid in 3D on its scores and features."""

        def __init__(self) -> None:
            super().__init__()
            ends = [channels, *features]
            self.down = nn.ModuleList(
                Block(a, b, i < 2) for i, (a, b) in enumerate(zip(ends, features, strict=False))
            )
            self.pool = nn.MaxPool3d((1, 2, 2))
            pairs = list(itertools.pairwise(features[::-1]))
            self.up = nn.ModuleList(nn.ConvTranspose3d(a, b, (1, 2, 2), stride=(1, 2, 2)) for a, b in pairs)
            self.join = nn.ModuleList(Block(2 * b, b, len(pairs) - i <= 2) for i, (_, b) in enumerate(pairs))
            self.planes = nn.Conv3d(features[0], heads, 1)
            width = features[0]
            self.fine = self._level(features[0] + heads, width, 3)
            self.coarse = self._level(features[0] + heads, 2 * width, 5)
            self.match = nn.Conv3d(2 * width, width, 1)
            self.head = nn.Conv3d(width, heads, 1)

        @staticmethod
        def _level(a: int, b: int, count: int) -> Any:
            layers: list[Any] = []
            for i in range(count):
                layers += [nn.Conv3d(a if i == 0 else b, b, 3, padding=1), nn.ReLU()]
            return nn.Sequential(*layers)

        def forward(self, x: Any) -> Any:
            seen = []
            for i, stage in enumerate(self.down):
                x = stage(x if i == 0 else self.pool(x))
                seen.append(x)
            seen.pop()
            for up, join in zip(self.up, self.join, strict=True):
                x = join(torch.cat([seen.pop(), up(x)], 1))
            planes = self.planes(x)
            both = torch.cat([planes, x], 1)
            depth = 2 if both.shape[2] >= 2 else 1
            coarse = self.match(self.coarse(nn.functional.max_pool3d(both, (depth, 2, 2))))
            coarse = nn.functional.interpolate(coarse, both.shape[2:], mode="nearest")
            scores = self.head(self.fine(both) + coarse)
            return [scores, planes] if self.training else scores

    network = Pyramid()
    for part in network.modules():
        if isinstance(part, nn.Conv3d):
            # Without normalisation torch's own start lets what 20 layers say die away.
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            nn.init.zeros_(part.bias)
    return network
