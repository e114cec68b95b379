"""Eight floats as one value of a compiled function, in one register of the processor: numba has no such type."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

EIGHT_LANES = 8
_VECTOR = ir.VectorType(ir.FloatType(), EIGHT_LANES)
_FUSED = ("contract",)  # a product and a sum may become one instruction


class _Lanes(types.Type):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(name="Lanes")


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


_lanes = _Lanes()


@intrinsic  # type: ignore[untyped-decorator]
def nothing(typing: Any) -> Any:
    """Eight zeros."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return ir.Constant(_VECTOR, [0.0] * EIGHT_LANES)

    return _lanes(), generate


@intrinsic  # type: ignore[untyped-decorator]
def lanes(typing: Any, address: Any) -> Any:
    """The eight floats from an address on."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        loaded = builder.load(builder.inttoptr(values[0], _VECTOR.as_pointer()))
        loaded.align = 4
        return loaded

    return _lanes(types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def scaled_add(typing: Any, total: Any, weight: Any, one: Any) -> Any:
    """total + weight * one, where the weight is a float."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        total, weight, one = values
        spread = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), weight, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), EIGHT_LANES), [0] * EIGHT_LANES)
        spread = builder.shuffle_vector(spread, spread, zeros)
        return builder.fadd(total, builder.fmul(spread, one, flags=_FUSED), flags=_FUSED)

    return _lanes(_lanes, types.float32, _lanes), generate


@intrinsic  # type: ignore[untyped-decorator]
def product_add(typing: Any, total: Any, one: Any, other: Any) -> Any:
    """total + one * other, lane by lane."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        total, one, other = values
        return builder.fadd(total, builder.fmul(one, other, flags=_FUSED), flags=_FUSED)

    return _lanes(_lanes, _lanes, _lanes), generate


@intrinsic  # type: ignore[untyped-decorator]
def lane_sum(typing: Any, one: Any) -> Any:
    """The sum of the eight."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        parts = [builder.extract_element(values[0], ir.Constant(ir.IntType(32), i)) for i in range(EIGHT_LANES)]
        while len(parts) > 1:
            parts = [builder.fadd(a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
        return parts[0]

    return types.float32(_lanes), generate
