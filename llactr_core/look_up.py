"""Ids to embeddings, and to the part of the logit that needs nothing else, in one pass over memory."""

import numpy as np
import numpy.typing as npt
from numba import float32, njit, types, uint64

from llactr_core.data.values.lanes import EIGHT_LANES, lane_sum, lanes, nothing, product_add, scaled_add
from llactr_core.data.values.words import copy, prefetch, real

Floats = npt.NDArray[np.float32]
NO_WEIGHTS = np.empty((0, 0), np.float32)
NO_PAIRS = np.empty((0, 0), np.float32)
NO_ROWS = np.empty((0, 0), np.float32)
_AHEAD = 8  # rows whose embeddings are on their way while one is read
_LINE = uint64(64)  # bytes that come at once
_FLOAT = uint64(4)
_LANES = uint64(EIGHT_LANES)
_MATRIX = types.Array(types.float32, 2, "C", readonly=True)
_IDS = types.Array(types.int32, 2, "C", readonly=True)
_FIELDS = types.Array(types.int64, 1, "C", readonly=True)


@njit
def _pair_sum(v, pairs, fields, width):
    """sum_{i<j} pairs_ij <v_i, v_j> of one row, by addresses."""
    column, row, products = uint64(0), width * _FLOAT, nothing()
    while column + _LANES <= width:
        at = v + column * _FLOAT
        for i in range(fields):
            mixed = nothing()
            for k in range(i + uint64(1), fields):
                mixed = scaled_add(mixed, real(pairs + (i * fields + k) * _FLOAT), lanes(at + k * row))
            products = product_add(products, mixed, lanes(at + i * row))
        column += _LANES
    total = lane_sum(products)
    while column < width:
        at = v + column * _FLOAT
        for i in range(fields):
            mixed_one = float32(0)
            for k in range(i + uint64(1), fields):
                mixed_one += real(pairs + (i * fields + k) * _FLOAT) * real(at + k * row)
            total += mixed_one * real(at + i * row)
        column += uint64(1)
    return total


@njit(
    types.void(_MATRIX, _MATRIX, _IDS, _MATRIX, _FIELDS, _MATRIX, types.float32[:, :, ::1], types.float32[::1]),
    cache=True,
    nogil=True,
)
def look_up(table, more, ids, weights, fields, pairs, v, logits):
    """Put the embeddings of ids into v, and sum_k w_k + sum_{i<j} pairs_ij <v_i, v_j> into logits.

    Args:
        table: [V, c]; the first columns are the embedding, a column behind those that fit into v is w.
        more: [M, c], the rows of the ids from V on; [0, 0] for none.
        ids: [B, S].
        weights: [B, S], of the slots in their field's sum; [0, 0] for one slot per field that counts once.
        fields: the field of each slot, [S].
        pairs: [K, K], only what is above the diagonal counts; [0, 0] for none.
        v: [B, K, d], d <= c; fields that no slot has keep what is in them, and count in the pairs.
        logits: [B].
    """
    many, width, columns = uint64(v.shape[1]), uint64(v.shape[2]), uint64(table.shape[1])
    known, matrix, place = uint64(table.ctypes.data), uint64(pairs.ctypes.data), uint64(v.ctypes.data)
    stride = columns * _FLOAT
    beyond, first_beyond = uint64(more.ctypes.data), uint64(len(table))
    for b in range(len(ids)):
        if b + _AHEAD < len(ids):
            for s in range(ids.shape[1]):
                number = uint64(ids[b + _AHEAD, s])
                line = known + number * stride if number < first_beyond else beyond + (number - first_beyond) * stride
                end = line + stride
                while line < end:
                    prefetch(line)
                    line += _LINE
        logits[b] = 0
        row = place + uint64(b) * many * width * _FLOAT
        if len(weights):
            for s in range(ids.shape[1]):
                v[b, fields[s]] = 0
        for s in range(ids.shape[1]):
            number = uint64(ids[b, s])
            source = known + number * stride if number < first_beyond else beyond + (number - first_beyond) * stride
            if len(weights):
                share = weights[b, s]
                for j in range(v.shape[2]):
                    v[b, fields[s], j] += share * real(source + uint64(j) * _FLOAT)
                if columns > width:
                    logits[b] += share * real(source + width * _FLOAT)
            else:
                copy(row + uint64(fields[s]) * width * _FLOAT, source, width * _FLOAT)
                if columns > width:
                    logits[b] += real(source + width * _FLOAT)
        if len(pairs):
            logits[b] += _pair_sum(row, matrix, many, width)
