"""A formula over tasks for the final order, as ``click * (1 + 2 * long_view)``: parsed and checked, never run as code."""

import ast
import operator
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.Pow: operator.pow,
}  # fmt: skip
_UNARY: dict[type, Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
_FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "min": (2, np.minimum), "max": (2, np.maximum), "log1p": (1, np.log1p),
}  # fmt: skip
_LONGEST = 500
_KNOWN = "numbers, names of tasks, + - * / **, min(a, b), max(a, b), log1p(a) and brackets"


class Formula:
    """Numbers, names, four operations and powers, and three functions; everything else is refused with a ``ValueError``."""

    def __init__(self, text: str, names: Collection[str]) -> None:
        self.text = text
        if len(text) > _LONGEST:
            raise ValueError(f"a formula of {len(text)} characters: at most {_LONGEST}")
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise ValueError(f"{text!r} is no formula: write it of {_KNOWN}") from None
        self._run = _compiled(tree, names)

    def __call__(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """The formula's value for each candidate, in float64; what is no finite number counts as the lowest."""
        with np.errstate(all="ignore"):
            found = self._run({name: value.astype(np.float64) for name, value in values.items()})
        size = len(next(iter(values.values())))
        score = np.broadcast_to(np.asarray(found, np.float64), size)
        return np.where(np.isfinite(score), score, -np.finfo(np.float64).max)


def order_by(score: str | None, tasks: list[str]) -> Callable[[np.ndarray], np.ndarray]:
    """What candidates are put in order by, highest first: of predictions (n, T), ``score`` or the first task, float64 (n,)."""
    if not score:
        return lambda predicted: predicted[:, 0].astype(np.float64)
    formula = Formula(score, tasks)
    return lambda predicted: formula({name: predicted[:, t] for t, name in enumerate(tasks)})


def _compiled(node: ast.AST, names: Collection[str]) -> Callable[[Mapping[str, np.ndarray]], Any]:
    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float() as number):
            value = float(number)
            return lambda _: value
        case ast.Name(id=name) if name in names:
            return lambda values: values[name]
        case ast.Name(id=name):
            raise ValueError(f"no task {name}; the tasks are {', '.join(names)}")
        case ast.UnaryOp(op=op, operand=inner) if type(op) in _UNARY:
            one, run = _UNARY[type(op)], _compiled(inner, names)
            return lambda values: one(run(values))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            two, first, second = _BINARY[type(op)], _compiled(left, names), _compiled(right, names)
            return lambda values: two(_array(first(values)), second(values))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            count, function = _FUNCTIONS[name]
            if len(args) != count:
                raise ValueError(f"{name} takes {count} of {_KNOWN}; it is given {len(args)}")
            parts = [_compiled(arg, names) for arg in args]
            return lambda values: function(*(part(values) for part in parts))
    raise ValueError(f"{ast.unparse(node)} is none of {_KNOWN}")


def _array(value: Any) -> Any:
    """Numbers as numpy has them: a power or quotient that is none is NaN or infinite, not an error."""
    return np.asarray(value, np.float64)
