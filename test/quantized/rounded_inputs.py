"""Inputs of linear layers as plans round them, in torch: the formulas of QuantizeRowsArgs and Fp8RowsArgs in kernels_templates/abi.h."""

import torch

INT8_GROUPS = (128, 64, 32)  # on x86, the first that divides a layer's columns
DP4A_GROUP = 32


def in_groups(x, columns, greatest, code_of):
    """Each `columns` of a row (the last of them may be fewer) to codes of at most `greatest`, and back."""
    width = x.shape[-1]
    groups = torch.nn.functional.pad(x, (0, -width % columns)).unflatten(-1, (-1, columns))
    scale = groups.abs().amax(-1, keepdim=True) / greatest
    return (torch.where(scale > 0, code_of(groups / scale), 0) * scale).flatten(-2)[..., :width]


def int8(x):
    return in_groups(x, next(group for group in INT8_GROUPS if x.shape[-1] % group == 0), 127, torch.round)


def dp4a(x):
    return in_groups(x, DP4A_GROUP, 127, torch.round)


def e4m3(x, columns=None):
    """A scale for each row, or for so many columns of it."""
    return in_groups(x, columns or x.shape[-1], 448, lambda v: v.to(torch.float8_e4m3fn).double())
