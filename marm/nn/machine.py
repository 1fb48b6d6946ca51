"""What compiled loops say to the machine beside Python: keep loops apart so that they vectorize, widen, turn, count bits."""

from typing import Any

import numba as nb
from llvmlite import ir
from numba.core.codegen import JITCodeLibrary
from numba.core.registry import cpu_target
from numba.extending import intrinsic


class _OwnCopies(JITCodeLibrary):
    """A compiled loop with what it calls as its own, so that its bits do not depend on what was compiled or loaded before it.

    A loop carries a copy of each function that it calls, and a copy optimized once more may add in another order. Left
    open, all callers of a process share the copy that came first: one copy where a process compiles, another where it
    reads loops from their cache, and a run resumed elsewhere ends with other last bits.
    """

    def _optimize_final_module(self) -> None:
        super()._optimize_final_module()  # type: ignore[no-untyped-call]
        for function in self._final_module.functions:
            if function.linkage.name == "linkonce_odr" and function.name.startswith("_ZN4marm"):
                function.linkage = "internal"


cpu_target.target_context.codegen()._library_class = _OwnCopies


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

LANES = 16
"""Numbers of a vector: rows are turned so many at a time."""


def _turn_square(typing: Any, rows: Any, row: Any, row_step: Any, out: Any, place: Any, step: Any) -> Any:
    """Sixteen rows of sixteen numbers, each ``row_step`` after the one before, to ``out`` with rows as columns."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector, number, i64 = ir.VectorType(ir.FloatType(), LANES), ir.IntType(32), ir.IntType(64)

        def at(array: int, i: int) -> Any:
            data = context.make_array(signature.args[array])(context, builder, args[array]).data
            place = builder.add(args[array + 1], builder.mul(args[array + 2], i64(i)))
            return builder.bitcast(builder.gep(data, [place]), vector.as_pointer())

        half = LANES // 2
        zips = [
            ir.Constant(ir.VectorType(number, LANES), [x for j in range(low, low + half) for x in (j, LANES + j)])
            for low in (0, half)
        ]
        rows = [builder.load(at(0, i), align=4) for i in range(LANES)]
        # Zipped with the row half a square further, four times: then every row is a column.
        for _ in range(LANES.bit_length() - 1):
            rows = [builder.shuffle_vector(rows[i], rows[i + half], zipped) for i in range(half) for zipped in zips]
        for i in range(LANES):
            builder.store(rows[i], at(3, i), align=4)
        return context.get_dummy_value()

    return nb.types.void(rows, nb.types.int64, nb.types.int64, out, nb.types.int64, nb.types.int64), code


_turn_block: Any = intrinsic(_turn_square)


@nb.njit(cache=True, nogil=True)
def turn(rows: Any, to: Any, x: Any) -> None:
    """Write ``LANES`` rows (LANES, D) as columns of ``x`` (D, N), from ``to`` on."""
    apart()
    width, whole = rows.shape[1], rows.shape[1] // LANES * LANES
    for d in range(0, whole, LANES):
        _turn_block(rows.reshape(-1), d, width, x.reshape(-1), d * x.shape[1] + to, x.shape[1])
    for d in range(whole, width):
        for i in range(LANES):
            x[d, to + i] = rows[i, d]


@nb.njit(cache=True, nogil=True)
def turn_back(x: Any, at: Any, rows: Any) -> None:
    """Write ``LANES`` columns of ``x`` (D, N), from ``at`` on, as rows (LANES, D)."""
    apart()
    width, whole = rows.shape[1], rows.shape[1] // LANES * LANES
    for d in range(0, whole, LANES):
        _turn_block(x.reshape(-1), d * x.shape[1] + at, x.shape[1], rows.reshape(-1), d, width)
    for d in range(whole, width):
        for i in range(LANES):
            rows[i, d] = x[d, at + i]
