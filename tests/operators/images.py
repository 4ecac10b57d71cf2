"""Images, lines and volumes."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.nn.utils import parametrizations as P

from tests.operators.table import Entry, Table, entries, fn

__all__ = ["ROWS"]


def dynamic(x: Tensor, s: Any) -> Any:
    b = len(x)
    k = s.m[0](x.mean((2, 3))).softmax(-1)
    w = (k @ s.w.flatten(1)).view(b * 10, 12, 3, 3)
    return F.conv2d(x.reshape(1, b * 12, 8, 8), w, groups=b, padding=1).view(b, 10, 8, 8)


def scan(x: Tensor, s: Any) -> Any:
    # selective scan in plain Python
    b, d, t = x.shape
    B, C, dt = s.m[0](x.transpose(1, 2)).split([4, 4, d], -1)
    dt = F.softplus(dt)
    h = x.new_zeros(b, d, 4)
    out = []
    for i in range(t):
        h = h * torch.exp(-dt[:, i, :, None] * s.a) + dt[:, i, :, None] * B[:, i, None] * x[:, :, i, None]
        out.append((h * C[:, i, None]).sum(-1))
    return torch.stack(out, 2)


_MAPS: Table = {
    "Conv2d circular": ("free", lambda: nn.Conv2d(12, 10, 3, padding=1, padding_mode="circular")),
    "Conv2d reflect": ("free", lambda: nn.Conv2d(12, 10, 3, padding=1, padding_mode="reflect")),
    "Conv2d grouped": ("free", lambda: nn.Conv2d(12, 24, 3, groups=4)),
    "ConvTranspose2d grouped": ("free", lambda: nn.ConvTranspose2d(12, 8, 2, groups=4)),
    "Fold of Unfold": (
        "works with sizes of its own",
        fn(lambda x: F.fold(F.unfold(x, 2, stride=2), (8, 8), 2, stride=2)),
    ),
    "Unfold": ("free", lambda: nn.Sequential(nn.Unfold(2, stride=2), nn.Unflatten(2, (4, 4)))),
    "Unfold matmul": (
        "free",
        fn(lambda x, s: (s.w @ F.unfold(x, 3, padding=1)).view(len(x), -1, 8, 8), w=torch.randn(10, 108)),
    ),
    "MaxUnpool2d": ("free", fn(lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), [2, 2]))),
    "LPPool2d": ("free", lambda: nn.LPPool2d(2, 2)),
    "FractionalMaxPool2d random": ("free", lambda: nn.FractionalMaxPool2d(2, output_size=4)),
    "AdaptiveMaxPool2d": ("free", lambda: nn.AdaptiveMaxPool2d(3)),
    "ReflectionPad2d": ("free", lambda: nn.ReflectionPad2d(1)),
    "ConstantPad2d": ("free", lambda: nn.ConstantPad2d(1, 0.5)),
    "channel pad": ("free", fn(lambda x: F.pad(x, (0, 0, 0, 0, 0, 4)))),
    "negative pad": ("free", fn(lambda x: F.pad(x, (-1, -1, -1, -1)))),
    "BatchNorm2d untracked": ("free", lambda: nn.BatchNorm2d(12, track_running_stats=False)),
    "GroupNorm": ("norm", lambda: nn.GroupNorm(4, 12)),
    "GroupNorm plain": ("norm", lambda: nn.GroupNorm(4, 12, affine=False)),
    "InstanceNorm2d": ("free", lambda: nn.InstanceNorm2d(12)),
    "InstanceNorm2d tracked": ("free", lambda: nn.InstanceNorm2d(12, affine=True, track_running_stats=True)),
    "LocalResponseNorm": ("the dimension a window slides over", lambda: nn.LocalResponseNorm(3)),
    "CrossMapLRN2d": ("operator aten.resize_as_ has no rule", lambda: nn.CrossMapLRN2d(3)),
    "LayerNorm channels last": (
        "norm",
        fn(lambda x, s: s.m[0](x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), nn.LayerNorm(12)),
    ),
    "layer norm by hand": (
        "norm",
        fn(
            lambda x, s: (
                (x - x.mean(1, keepdim=True))
                / ((x - x.mean(1, keepdim=True)).pow(2).mean(1, keepdim=True) + 1e-06).sqrt()
                * s.w[:, None, None]
            ),
            w=torch.randn(12),
        ),
    ),
    "grn": (
        "norm",
        fn(
            lambda x, s: (
                s.w[:, None, None]
                * x
                * (
                    x.norm(p=2, dim=(2, 3), keepdim=True)
                    / (x.norm(p=2, dim=(2, 3), keepdim=True).mean(1, keepdim=True) + 1e-06)
                )
                + x
            ),
            w=torch.randn(12),
        ),
    ),
    "PixelShuffle": ("free", lambda: nn.PixelShuffle(2)),
    "PixelUnshuffle": ("free", lambda: nn.PixelUnshuffle(2)),
    "ChannelShuffle": ("free", lambda: nn.ChannelShuffle(3)),
    "channel_shuffle by hand": (
        "its size is written as 3",
        fn(lambda x: x.view(len(x), 3, x.shape[1] // 3, 8, 8).transpose(1, 2).reshape(len(x), -1, 8, 8)),
    ),
    "native_channel_shuffle": ("its size is written as 3", fn(lambda x: torch.native_channel_shuffle(x, 3))),
    "Upsample bicubic": ("free", lambda: nn.Upsample(size=12, mode="bicubic")),
    "interpolate area": ("free", fn(lambda x: F.interpolate(x, size=(4, 4), mode="area"))),
    "interpolate nearest-exact": ("free", fn(lambda x: F.interpolate(x, size=(5, 5), mode="nearest-exact"))),
    "interpolate antialias": (
        "free",
        fn(lambda x: F.interpolate(x, size=(5, 5), mode="bilinear", antialias=True)),
    ),
    "grid_sample": (
        "uses its size",
        fn(
            lambda x: F.grid_sample(
                x,
                F.affine_grid(
                    torch.eye(2, 3).to(x).expand(len(x), 2, 3),
                    [len(x), x.shape[1], 4, 4],
                    align_corners=False,
                ),
                align_corners=False,
            )
        ),
    ),
    "spatial transformer": (
        "uses its size",
        fn(
            lambda x, s: F.grid_sample(
                x,
                F.affine_grid(s.m[0](x.mean((2, 3))).view(-1, 2, 3), x.size(), align_corners=False),
                align_corners=False,
            ),
            nn.Linear(12, 6),
        ),
    ),
    "grid_sample grid predicted": (
        "free",
        fn(
            lambda x, s: F.grid_sample(x, s.m[0](x).permute(0, 2, 3, 1).tanh(), align_corners=False),
            nn.Conv2d(12, 2, 1),
        ),
    ),
    "PReLU": ("free", lambda: nn.PReLU(12)),
    "PReLU one": ("free", lambda: nn.PReLU()),
    "GLU": ("free", lambda: nn.GLU(1)),
    "SE": (
        "free",
        fn(
            lambda x, s: x * s.m[0](x.mean((2, 3), keepdim=True)).sigmoid(),
            nn.Sequential(nn.Conv2d(12, 4, 1), nn.ReLU(), nn.Conv2d(4, 12, 1)),
        ),
    ),
    "ECA": (
        "the dimension a kernel slides over",
        fn(
            lambda x, s: x * s.m[0](x.mean((2, 3))[:, None]).sigmoid()[:, 0, :, None, None],
            nn.Conv1d(1, 1, 3, padding=1),
        ),
    ),
    "CBAM": (
        "norm",
        fn(
            lambda x, s: (
                x * s.m[0](torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)).sigmoid()
            ),
            nn.Conv2d(2, 1, 3, padding=1),
        ),
    ),
    "weight_norm new": ("norm", lambda: P.weight_norm(nn.Conv2d(12, 10, 3))),
    "weight_norm old": ("norm", lambda: nn.utils.weight_norm(nn.Conv2d(12, 10, 3))),
    "weight_norm depthwise": ("norm", lambda: P.weight_norm(nn.Conv2d(12, 12, 3, groups=12))),
    "spectral_norm new": ("free", lambda: P.spectral_norm(nn.Conv2d(12, 10, 3))),
    "spectral_norm old": ("free", lambda: nn.utils.spectral_norm(nn.Conv2d(12, 10, 3))),
    "flip space": ("free", fn(lambda x: x.flip(3))),
    "roll space": ("free", fn(lambda x: x.roll((1, 1), (2, 3)))),
    "rot90": ("free", fn(lambda x: torch.rot90(x, 1, (2, 3)))),
    "rfft2": ("free", fn(lambda x: torch.fft.irfft2(torch.fft.rfft2(x)))),
    "fft space": ("free", fn(lambda x: torch.fft.fft(x, dim=-1).abs())),
    "global filter": (
        "free",
        fn(
            lambda x, s: torch.fft.irfft2(
                torch.fft.rfft2(x, norm="ortho")
                * torch.view_as_complex(s.w).to(
                    torch.complex128 if x.dtype == torch.float64 else torch.complex64
                ),
                s=(8, 8),
                norm="ortho",
            ),
            w=torch.randn(12, 8, 5, 2),
        ),
    ),
    "channel attention gram": (
        "norm",
        fn(lambda x: ((x.flatten(2) @ x.flatten(2).transpose(1, 2)).softmax(-1) @ x.flatten(2)).view_as(x)),
    ),
    "non-local": (
        "free",
        fn(
            lambda x, s: (
                x
                + (
                    (s.m[0](x).flatten(2).transpose(1, 2) @ s.m[1](x).flatten(2)).softmax(-1)
                    @ s.m[2](x).flatten(2).transpose(1, 2)
                )
                .transpose(1, 2)
                .reshape(len(x), -1, 8, 8)
            ),
            nn.Conv2d(12, 6, 1),
            nn.Conv2d(12, 6, 1),
            nn.Conv2d(12, 12, 1),
        ),
    ),
    "dynamic conv": (
        "its size is written as 12",
        fn(lambda x, s: dynamic(x, s), nn.Linear(12, 3), w=torch.randn(3, 10, 12, 3, 3)),
    ),
    "einsum axial": (
        "free",
        fn(
            lambda x, s: torch.einsum("bchw,oc,hg->bogw", x, s.w, s.v),
            w=torch.randn(10, 12),
            v=torch.randn(8, 8),
        ),
    ),
    "maxout": ("free", fn(lambda x: torch.stack(x.chunk(2, 1)).amax(0))),
    "crelu": ("free", fn(lambda x: torch.cat([x.relu(), (-x).relu()], 1))),
    "blurpool": (
        "free",
        fn(
            lambda x: F.conv2d(
                F.pad(x, (1, 1, 1, 1), mode="reflect"),
                torch.ones(1, 1, 3, 3).to(x).expand(x.shape[1], -1, -1, -1) / 9,
                stride=2,
                groups=x.shape[1],
            )
        ),
    ),
    "channels_last": ("free", fn(lambda x: x.contiguous(memory_format=torch.channels_last).relu())),
    "gather channels": ("looked up by index", fn(lambda x: x[:, torch.tensor([0, 3, 2, 5])])),
    "index_select": ("looked up by index", fn(lambda x: x.index_select(1, torch.tensor([0, 3, 2, 5])))),
    "index_select space": ("free", fn(lambda x: x.index_select(2, torch.tensor([0, 3, 2, 5])))),
    "checkpoint": (
        "free",
        fn(
            lambda x, s: torch.utils.checkpoint.checkpoint(s.m[0], x, use_reentrant=False),
            nn.Conv2d(12, 10, 1),
        ),
    ),
}


_LINES: Table = {
    "MaxPool1d odd": ("free", lambda: nn.MaxPool1d(3, 2, 1)),
    "MaxUnpool1d": ("free", fn(lambda x: F.max_unpool1d(*F.max_pool1d(x, 2, return_indices=True), [2]))),
    "ReflectionPad1d": ("free", lambda: nn.ReflectionPad1d(1)),
    "Upsample linear": ("free", lambda: nn.Upsample(scale_factor=2, mode="linear")),
    "causal conv": ("free", fn(lambda x, s: s.m[0](F.pad(x, (2, 0))), nn.Conv1d(12, 12, 3, groups=12))),
    "selective scan": ("free", fn(lambda x, s: scan(x, s), nn.Linear(12, 4 + 4 + 12), a=torch.rand(12, 4))),
    "cumsum time": ("free", fn(lambda x: x.cumsum(-1))),
    "cumsum channels": ("the order of its indices matters (cumsum)", fn(lambda x: x.cumsum(1))),
    "unfold time": ("free", fn(lambda x: x.unfold(2, 4, 2).mean(-1))),
    "rfft time": ("free", fn(lambda x: torch.fft.rfft(x).abs())),
    "rfft channels": ("a Fourier transform runs over it", fn(lambda x: torch.fft.rfft(x, dim=1).abs())),
    "fft conv": (
        "free",
        fn(
            lambda x, s: torch.fft.irfft(torch.fft.rfft(x, n=32) * torch.fft.rfft(s.w, n=32), n=32)[..., :16],
            w=torch.randn(12, 16),
        ),
    ),
    "wavenet gate": (
        "free",
        fn(
            lambda x, s: torch.tanh(s.m[0](x)) * torch.sigmoid(s.m[1](x)),
            nn.Conv1d(12, 12, 1),
            nn.Conv1d(12, 12, 1),
        ),
    ),
    "tcn weight_norm": (
        "norm",
        lambda: nn.Sequential(
            P.weight_norm(nn.Conv1d(12, 12, 3, padding=1)), nn.ReLU(), P.weight_norm(nn.Conv1d(12, 10, 3))
        ),
    ),
}


_VOLUMES: Table = {
    "Conv3d": ("free", lambda: nn.Conv3d(12, 10, 3)),
    "ConvTranspose3d": ("free", lambda: nn.ConvTranspose3d(12, 10, 2)),
    "LPPool3d": ("free", lambda: nn.LPPool3d(2, 2)),
    "MaxUnpool3d": (
        "free",
        fn(lambda x: F.max_unpool3d(*F.max_pool3d(x, 2, return_indices=True), [2, 2, 2])),
    ),
    "ReflectionPad3d": ("free", lambda: nn.ReflectionPad3d(1)),
    "ReplicationPad3d": ("free", lambda: nn.ReplicationPad3d(1)),
    "Upsample trilinear": ("free", lambda: nn.Upsample(scale_factor=2, mode="trilinear")),
    "grid_sample 3d": (
        "free",
        fn(lambda x: F.grid_sample(x, torch.zeros(len(x), 2, 2, 2, 3).to(x), align_corners=False)),
    ),
    "InstanceNorm3d": ("free", lambda: nn.InstanceNorm3d(12)),
}

ROWS: list[Entry] = [
    *entries(_MAPS, lambda: nn.Conv2d(3, 12, 3, padding=1), lambda: nn.LazyConv2d(6, 1), (2, 3, 8, 8)),
    *entries(_LINES, lambda: nn.Conv1d(3, 12, 3, padding=1), lambda: nn.LazyConv1d(6, 1), (2, 3, 16)),
    *entries(_VOLUMES, lambda: nn.Conv3d(3, 12, 3, padding=1), lambda: nn.LazyConv3d(6, 1), (2, 3, 4, 4, 4)),
]
