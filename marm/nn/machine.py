"""What compiled loops say to the machine beside Python: keep loops apart so that they vectorize, widen float16, count bits."""

from typing import Any

import numba as nb
from llvmlite import ir
from numba.extending import intrinsic


def _apart(typing: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.function.attributes.add("noinline")
        for argument in builder.function.args:
            if isinstance(argument.type, ir.PointerType):
                argument.add_attribute("noalias")
        return context.get_dummy_value()

    return nb.types.void(), code


def _widen(typing: Any, bits: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return nb.types.float32(nb.types.uint16), code


def _ones(typing: Any, bits: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return nb.types.uint64(nb.types.uint64), code


apart: Any = intrinsic(_apart)
"""``apart()``: compile the function that says so by itself, its arrays never overlapping (they must not).

Built into a large caller, a loop has more arrays around it than the compiler tells apart, and stays one number at a time.
"""

widen: Any = intrinsic(_widen)
"""``widen(bits)``: the float32 that a float16's 16 bits stand for, eight at a time where the machine can."""

ones: Any = intrinsic(_ones)
"""``ones(x)``: how many of a number's 64 bits are set."""
