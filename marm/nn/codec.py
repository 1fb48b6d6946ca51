"""How states are stored: a codec turns rows of numbers into columns of a block, and back.

    block (any, K x C)      depth k of a row in the columns [(k - 1) C, k C), C = ``codec.columns(D)``

    float32, float16        C = D       every number by itself
    int8                    C = D + 2   numbers as multiples of the row's scale, then the scale, a bfloat16

What a codec gives again, it codes to the same bits: so a row is the same while live and once remembered. Of int8 this holds
because a scale of 8 bits times a number of 7 is exact in float32, and the largest number of a row is always 127.
"""

from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
import torch
from numba.extending import overload
from torch import Tensor

from marm.nn.machine import widen
from marm.types import U8

_MOST = 127


@dataclass(frozen=True)
class Codec:
    """Every number by itself, in ``kind``."""

    name: str
    kind: torch.dtype
    bits: torch.dtype
    """What compiled loops read a block as; ``decode_row`` goes by it."""

    def columns(self, width: int) -> int:
        """Columns of the block that a state of ``width`` takes (C)."""
        return width

    def bytes(self, width: int) -> int:
        """Bytes that a state of ``width`` takes."""
        return self.columns(width) * self.kind.itemsize

    def block(self, rows: U8) -> Tensor:
        """Rows of bytes (any, K x bytes) as a block (any, K x C), in place."""
        return torch.from_numpy(rows.reshape(-1)).view(self.kind).view(len(rows), rows.shape[1] // self.kind.itemsize)

    def encode(self, state: Tensor) -> Tensor:
        """(..., D) float32 to (..., C)."""
        return state.to(self.kind)

    def decode(self, coded: Tensor) -> Tensor:
        """(..., C) to (..., D) float32."""
        return coded.to(torch.float32)

    def rounded(self, state: Tensor) -> Tensor:
        """What decoding gives again of a state (..., D), which the gradient does not see."""
        kept = state.detach()
        return state + (self.decode(self.encode(kept)) - kept)


class _Scaled(Codec):
    """Whole multiples of a scale for each row."""

    def columns(self, width: int) -> int:
        return width + torch.bfloat16.itemsize

    def encode(self, state: Tensor) -> Tensor:
        least = torch.finfo(torch.bfloat16).tiny
        scale = (state.abs().amax(-1, keepdim=True) / _MOST).clamp(min=least).to(torch.bfloat16)
        codes = (state / scale).round().clamp(-_MOST, _MOST).to(self.kind)
        return torch.cat([codes, scale.view(self.kind)], -1)

    def decode(self, coded: Tensor) -> Tensor:
        codes, scale = coded.tensor_split([coded.shape[-1] - torch.bfloat16.itemsize], -1)
        return codes * scale.contiguous().view(torch.bfloat16).to(torch.float32)


_ALL = [
    Codec("float32", torch.float32, torch.float32),
    Codec("float16", torch.float16, torch.uint16),
    _Scaled("int8", torch.int8, torch.int8),
]
CODECS = {codec.name: codec for codec in _ALL}
"""By the names of ``memory.codec``."""
_BY_KIND = {codec.kind: codec for codec in _ALL}


def codec_of(block: Tensor) -> Codec:
    """The codec of a block's rows: its type of number says so."""
    return _BY_KIND[block.dtype]


def decode_row(block: Any, row: int, column: int, out: Any) -> None:
    """In compiled loops: decode the state at a row of the block, from a column on, into ``out`` (D,)."""
    raise NotImplementedError


@overload(decode_row, inline="always")
def _decode_by_bits(block: Any, row: int, column: int, out: Any) -> Any:
    # Places without a sign, so that the compiler knows that numbers lie side by side.
    if block.dtype == nb.types.uint16:

        def half(block: Any, row: int, column: int, out: Any) -> None:
            i, first = np.uint64(row), np.uint64(column)
            for d in range(np.uint64(len(out))):
                out[d] = widen(block[i, first + d])

        return half
    if block.dtype == nb.types.int8:

        def scaled(block: Any, row: int, column: int, out: Any) -> None:
            i, first, width = np.uint64(row), np.uint64(column), np.uint64(len(out))
            low = np.uint32(np.uint8(block[i, first + width]))
            high = np.uint32(np.uint8(block[i, first + width + np.uint64(1)]))
            scale = np.uint32(high << np.uint32(24) | low << np.uint32(16)).view(np.float32)
            for d in range(width):
                out[d] = np.float32(block[i, first + d]) * scale

        return scaled

    def full(block: Any, row: int, column: int, out: Any) -> None:
        i, first = np.uint64(row), np.uint64(column)
        for d in range(np.uint64(len(out))):
            out[d] = block[i, first + d]

    return full
