"""The loops that find cells in JSON and numbers in cells, compiled by numba.

They read the plain part of JSON: objects of texts without escapes, numbers without exponents, true, false and null. At
anything else they stop and leave the whole text to a JSON library, which also words the errors.
"""

import numpy as np
from numba import njit, types, uint64

from llactr_core.data.values.hashing import INTEGER, LITERAL, MISSING, NUMBER, TEXT
from llactr_core.data.values.words import (
    BYTES,
    EIGHT,
    INTS,
    KINDS,
    LENGTHS,
    ONE,
    STARTS,
    byte,
    few,
    same,
    trailing_zeros,
    word,
)

NOWHERE = uint64(0xFFFFFFFFFFFFFFFF)
BAD = 255  # no kind of cell
_DIGITS = uint64(18)  # of a whole number; more may be beyond 64 bits
_EXACT = 15  # digits of which every number is a float, and so is the power of ten
_LONGEST_NUMBER = uint64(40)
_SPACE, _TAB, _LINE, _RETURN = 32, 9, 10, 13
_QUOTE, _BACKSLASH, _COMMA, _COLON, _MINUS, _POINT, _ZERO, _NINE = 34, 92, 44, 58, 45, 46, 48, 57
_OPEN, _CLOSE, _OPEN_LIST, _CLOSE_LIST, _SMALL_E, _LARGE_E = 123, 125, 91, 93, 101, 69
_TRUE, _FALSE, _NULL = uint64(0x6575727465757274), uint64(0x65736C61736C6166), uint64(0x6C6C756E6C6C756E)  # by `few`
_CELLS = types.int64[:, ::1], types.int32[:, ::1], types.uint8[:, ::1]
_ONES, _HIGHS = uint64(0x0101010101010101), uint64(0x8080808080808080)
_QUOTES, _BACKSLASHES, _SPACES = _ONES * uint64(_QUOTE), _ONES * uint64(_BACKSLASH), _ONES * uint64(_SPACE)


@njit
def _blank(at, end, over_lines):
    """The next place that is no white space; without `over_lines` the end of a line is none."""
    while at < end:
        c = byte(at)
        if c > _SPACE or not (c in (_SPACE, _TAB, _RETURN) or (c == _LINE and over_lines)):
            break
        at += ONE
    return at


@njit
def _is(at, end, c):
    return at < end and byte(at) == c


@njit
def _quote(at, end):
    """The place of the quote that ends a text without escapes which begins at `at`.

    Eight bytes at a time: `x - ONES & ~x & HIGHS` marks the bytes of x that are 0, the lowest of them for sure.
    """
    while at + EIGHT <= end:
        w = word(at)
        quotes, escapes = w ^ _QUOTES, w ^ _BACKSLASHES
        marks = (quotes - _ONES & ~quotes) | (escapes - _ONES & ~escapes) | (w - _SPACES & ~w)
        marks &= _HIGHS
        if marks != uint64(0):
            at += trailing_zeros(marks) >> uint64(3)
            return at if byte(at) == _QUOTE else NOWHERE
        at += EIGHT
    while at < end:
        c = byte(at)
        if c == _QUOTE:
            return at
        if c == _BACKSLASH or c < _SPACE:
            return NOWHERE
        at += ONE
    return NOWHERE


@njit
def _digits(at, end):
    while at < end and _ZERO <= byte(at) <= _NINE:
        at += ONE
    return at


@njit
def _number(at, end):
    """(kind, place behind it) of a number that begins at `at`."""
    negative = byte(at) == _MINUS
    first = at + ONE if negative else at
    behind = _digits(first, end)
    whole = behind - first
    if whole == uint64(0) or (whole > ONE and byte(first) == _ZERO):
        return BAD, at
    kind = INTEGER
    if _is(behind, end, _POINT):
        kind = NUMBER
        fraction = behind + ONE
        behind = _digits(fraction, end)
        if behind == fraction:
            return BAD, at
    elif whole > _DIGITS or (negative and byte(first) == _ZERO):
        return BAD, at
    if behind - at > _LONGEST_NUMBER or _is(behind, end, _SMALL_E) or _is(behind, end, _LARGE_E):
        return BAD, at
    return kind, behind


@njit
def _scalar(at, end):
    """(kind, first byte of the cell, place behind it, place behind the value) of a plain value."""
    if at >= end:
        return BAD, at, at, at
    c = byte(at)
    if c == _QUOTE:
        quote = _quote(at + ONE, end)
        return (BAD if quote == NOWHERE else TEXT), at + ONE, quote, quote + ONE
    if c == _MINUS or _ZERO <= c <= _NINE:
        kind, behind = _number(at, end)
        return kind, at, behind, behind
    for literal, length in ((_TRUE, uint64(4)), (_FALSE, uint64(5)), (_NULL, uint64(4))):
        behind = at + length
        if behind <= end and few(at, length) == literal:
            return (MISSING if literal == _NULL else LITERAL), at, behind, behind
    return BAD, at, at, at


@njit
def _name_end(at, end, names, ends, column):
    """The place of the quote behind the name of a column that begins at `at`, if it does."""
    first, behind = word(ends + EIGHT * column), word(ends + EIGHT * (column + ONE))
    quote = at + behind - first
    if quote < end and byte(quote) == _QUOTE and same(at, names + first, behind - first):
        return quote
    return NOWHERE


@njit
def _column(at, end, names, ends, columns, likely):
    """(column, end of its name) of the name that begins at `at`, or their number; `likely` is tried first."""
    if likely < columns:
        quote = _name_end(at, end, names, ends, likely)
        if quote != NOWHERE:
            return likely, quote
    column = uint64(0)
    while column < columns:
        quote = _name_end(at, end, names, ends, column)
        if quote != NOWHERE:
            return column, quote
        column += ONE
    return columns, _quote(at, end)


@njit
def _object(at, end, over_lines, names, ends, columns, base, starts, lengths, kinds, others):
    """Put the values of one object into a row of cells [C]; the place behind it, NOWHERE if it is not plain.

    `others` [1] is set where it has another column.

    Columns come in a like order, as a rule, so the next one is tried first.
    """
    if not _is(at, end, _OPEN):
        return NOWHERE
    at = _blank(at + ONE, end, over_lines)
    if _is(at, end, _CLOSE):
        return at + ONE
    likely = uint64(0)
    while True:
        if not _is(at, end, _QUOTE):
            return NOWHERE
        column, quote = _column(at + ONE, end, names, ends, columns, likely)
        if quote == NOWHERE:
            return NOWHERE
        at = _blank(quote + ONE, end, over_lines)
        if not _is(at, end, _COLON):
            return NOWHERE
        kind, start, stop, at = _scalar(_blank(at + ONE, end, over_lines), end)
        if kind == BAD:
            return NOWHERE
        if column < columns:
            starts[column], lengths[column], kinds[column] = start - base, stop - start, kind
            likely = column + ONE
        else:
            others[0] = True
        at = _blank(at, end, over_lines)
        if _is(at, end, _CLOSE):
            return at + ONE
        if not _is(at, end, _COMMA):
            return NOWHERE
        at = _blank(at + ONE, end, over_lines)


@njit(
    types.int64(BYTES, BYTES, BYTES, INTS, *_CELLS, types.boolean[::1]),
    cache=True,
    nogil=True,
)
def rows_of_object(body, key, names, ends, starts, lengths, kinds, others):
    """Cells of {key: [row, ...]}; the number of rows, or -1 where it is not plain or has more rows than there is room.

    Args:
        body: the JSON.
        key: with its quotes.
        names, ends: the columns' names in one, and where each ends [C + 1].
        starts, lengths, kinds: [room, C], the kinds all missing.
        others: [1], false; set where a row has another column.
    """
    base, columns, room = uint64(body.ctypes.data), uint64(len(ends) - 1), uint64(len(starts))
    end, n = base + uint64(len(body)), uint64(len(key))
    at = _blank(base, end, True)
    if not _is(at, end, _OPEN):
        return -1
    at = _blank(at + ONE, end, True)
    if at + n > end or not same(at, uint64(key.ctypes.data), n):
        return -1
    at = _blank(at + n, end, True)
    if not _is(at, end, _COLON):
        return -1
    at = _blank(at + ONE, end, True)
    if not _is(at, end, _OPEN_LIST):
        return -1
    at = _blank(at + ONE, end, True)
    known, places = uint64(names.ctypes.data), uint64(ends.ctypes.data)
    rows = uint64(0)
    more = not _is(at, end, _CLOSE_LIST)
    while more:
        if rows == room:
            return -1
        at = _object(at, end, True, known, places, columns, base, starts[rows], lengths[rows], kinds[rows], others)
        if at == NOWHERE:
            return -1
        rows += ONE
        at = _blank(at, end, True)
        more = _is(at, end, _COMMA)
        if more:
            at = _blank(at + ONE, end, True)
    if not _is(at, end, _CLOSE_LIST):
        return -1
    at = _blank(at + ONE, end, True)
    if not _is(at, end, _CLOSE) or _blank(at + ONE, end, True) != end:
        return -1
    return np.int64(rows)


@njit(
    types.int64(BYTES, BYTES, INTS, *_CELLS, types.boolean[::1]),
    cache=True,
    nogil=True,
)
def rows_of_lines(body, names, ends, starts, lengths, kinds, others):
    """Cells of lines that are a row each; otherwise as `rows_of_object`."""
    base, columns, room = uint64(body.ctypes.data), uint64(len(ends) - 1), uint64(len(starts))
    end = base + uint64(len(body))
    known, places = uint64(names.ctypes.data), uint64(ends.ctypes.data)
    rows = uint64(0)
    at = _blank(base, end, True)
    while at < end:
        if rows == room:
            return -1
        at = _object(at, end, False, known, places, columns, base, starts[rows], lengths[rows], kinds[rows], others)
        if at == NOWHERE:
            return -1
        rows += ONE
        at = _blank(at, end, False)
        if at < end and byte(at) != _LINE:
            return -1
        at = _blank(at, end, True)
    return np.int64(rows)


@njit(
    types.int64(BYTES, STARTS, LENGTHS, KINDS, types.int64, types.float64[::1], types.boolean[::1]),
    cache=True,
    nogil=True,
)
def numbers(data, starts, lengths, kinds, column, values, odd):
    """Put the numbers of a column of cells into values, NaN for missing ones, and mark what is odd; how many are.

    Up to 15 digits are read here: both they and the power of ten are floats, and their quotient is the nearest one to
    the decimal (Clinger, PLDI 1990). All else is odd: texts that are no such number, and true and false.
    """
    count = 0
    for row in range(len(starts)):
        kind, at = kinds[row, column], starts[row, column]
        end = at + lengths[row, column]
        values[row] = np.nan
        if kind == MISSING or at == end:
            continue
        negative = data[at] == _MINUS
        if negative:
            at += 1
        whole, digits, scale, points = 0, 0, 1.0, 0
        while at < end and digits <= _EXACT:
            c = data[at]
            if c == _POINT and points == 0 and digits > 0:
                points = 1
            elif _ZERO <= c <= _NINE:
                whole = 10 * whole + (c - _ZERO)
                digits += 1
                if points:
                    scale *= 10.0
            else:
                break
            at += 1
        if at == end and 0 < digits <= _EXACT and data[at - 1] != _POINT:
            value = whole / scale
            values[row] = -value if negative else value
        else:
            odd[row] = True
            count += 1
    return count
