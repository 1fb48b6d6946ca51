"""The letters and array types that all floors share.

B users or segments, M targets of a segment, N history, L layers, D width, H heads, K picked, T tasks.
Flat (ragged) arrays use R for rows of history and live events, Q for targets, U for distinct items of a pass.
"""

import numpy as np
from numpy.typing import NDArray

I8 = NDArray[np.int8]
I16 = NDArray[np.int16]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Bool = NDArray[np.bool_]
