"""Bytes, words and floats at an address, for the loops that numba compiles; the callers keep within their arrays.

Addresses, lengths and places are uint64 throughout. An array that is passed from one compiled function to the next has
its references counted each time, which takes longer than to read a value; a signed place is checked for being negative.
"""

from typing import Any

from llvmlite import ir
from numba import njit, types, uint64
from numba.core import cgutils
from numba.extending import intrinsic

ONE, EIGHT = uint64(1), uint64(8)
BYTES = types.Array(types.uint8, 1, "C", readonly=True)
INTS = types.Array(types.int64, 1, "C", readonly=True)
# Of cells [B, C]:
STARTS = types.Array(types.int64, 2, "C", readonly=True)
LENGTHS = types.Array(types.int32, 2, "C", readonly=True)
KINDS = types.Array(types.uint8, 2, "C", readonly=True)


def _load(bits: int, result: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        loaded = builder.load(builder.inttoptr(values[0], ir.IntType(bits).as_pointer()))
        loaded.align = 1
        return loaded

    return result(types.uint64), generate


@intrinsic
def byte(typing: Any, address: Any) -> Any:
    """The byte at an address."""
    return _load(8, types.uint8)


@intrinsic
def word(typing: Any, address: Any) -> Any:
    """The 8 bytes from an address on, as one number: a single load."""
    return _load(64, types.uint64)


@intrinsic
def half(typing: Any, address: Any) -> Any:
    """The 4 bytes from an address on, as one number."""
    return _load(32, types.uint32)


@intrinsic
def real(typing: Any, address: Any) -> Any:
    """The float32 at an address."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.load(builder.inttoptr(values[0], ir.FloatType().as_pointer()))

    return types.float32(types.uint64), generate


@intrinsic
def copy(typing: Any, into: Any, source: Any, size: Any) -> Any:
    """Copy some bytes from one address to another."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        bytes_of = ir.IntType(8).as_pointer()
        into, source = (builder.inttoptr(value, bytes_of) for value in values[:2])
        cgutils.raw_memcpy(builder, into, source, values[2], 1)
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64, types.uint64), generate


@intrinsic
def prefetch(typing: Any, address: Any) -> Any:
    """Begin to bring the cache line at an address near."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        number = ir.IntType(32)
        place = builder.inttoptr(values[0], ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [place.type, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [place, *(ir.Constant(number, n) for n in (0, 3, 1))])  # read, keep, data
        return context.get_dummy_value()

    return types.void(types.uint64), generate


@intrinsic
def trailing_zeros(typing: Any, number: Any) -> Any:
    """The number of zero bits below the lowest one of a number that is not 0."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.cttz(values[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


@njit
def few(at, n):
    """Less than 8 bytes as one number that is different for different bytes of one length."""
    if n >= uint64(4):
        return uint64(half(at)) | uint64(half(at + n - uint64(4))) << uint64(32)
    if n == uint64(0):
        return uint64(0)
    return uint64(byte(at)) | uint64(byte(at + (n >> ONE))) << EIGHT | uint64(byte(at + n - ONE)) << uint64(16)


@njit
def same(a, b, n):
    """Whether n bytes at two addresses are the same."""
    if n < EIGHT:
        return few(a, n) == few(b, n)
    end = n - EIGHT
    k = uint64(0)
    while k < end:
        if word(a + k) != word(b + k):
            return False
        k += EIGHT
    return word(a + end) == word(b + end)
