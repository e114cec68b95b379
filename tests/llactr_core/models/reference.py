"""The seven models again, in plain numpy with loops, written from the papers' formulas: slow and independent.

A reference takes v [B, K, d], w [B, K], the parameters by name, and the sides of the fields; it returns logits [B].
Nothing here is shared with `llactr_core.models`, except that parameters are found by their names.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

Array = np.ndarray
Parameters = dict[str, Array]
Sides = Sequence[str | None]
Reference = Callable[[Array, Array, Parameters, Sides], Array]


def per_row(score: Callable[[Array, Array, Parameters, Sides], float]) -> Reference:
    """A reference for batches out of one for a single row, v [K, d] and w [K]."""

    def batch(v: Array, w: Array, parameters: Parameters, sides: Sides) -> Array:
        return np.array([score(v[b], w[b], parameters, sides) for b in range(len(v))])

    return batch


def dot(a: Array, b: Array) -> float:
    return math.fsum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def mlp(x: Array, parameters: Parameters, prefix: str, last_is_linear: bool) -> Array:
    """x [inputs] -> [outputs]; the layers are the weights under `prefix`, in order."""
    at = [int(name.split(".")[-2]) for name in parameters if name.startswith(prefix) and name.endswith(".weight")]
    for position in sorted(at):
        weight = parameters[f"{prefix}.{position}.weight"]
        bias = parameters.get(f"{prefix}.{position}.bias", np.zeros(len(weight)))
        x = np.array([dot(weight[unit], x) + bias[unit] for unit in range(len(weight))])
        if not (last_is_linear and position == max(at)):
            x = np.maximum(x, 0.0)
    return x


def layer_norm(x: Array, scale: Array, shift: Array) -> Array:
    mean = sum(x) / len(x)
    variance = sum((x - mean) ** 2) / len(x)
    return scale * (x - mean) / math.sqrt(variance + 1e-5) + shift


@per_row
def fm(v: Array, w: Array, parameters: Parameters, sides: Sides) -> float:
    y = float(sum(w))
    for i in range(len(v)):
        for j in range(i + 1, len(v)):
            y += dot(v[i], v[j])
    return y


@per_row
def deepfm(v: Array, w: Array, parameters: Parameters, sides: Sides) -> float:
    y = float(sum(w))
    for i in range(len(v)):
        for j in range(i + 1, len(v)):
            y += dot(v[i], v[j])
    return y + mlp(np.concatenate(list(v)), parameters, "dnn.layers", last_is_linear=True)[0]


@per_row
def fwfm(v: Array, w: Array, parameters: Parameters, sides: Sides) -> float:
    y, pair = float(sum(w)), 0
    for i in range(len(v)):
        for j in range(i + 1, len(v)):
            y += parameters["r"][pair] * dot(v[i], v[j])
            pair += 1
    return y


@per_row
def fmfm(v: Array, w: Array, parameters: Parameters, sides: Sides) -> float:
    y, pair, d = float(sum(w)), 0, v.shape[1]
    for i in range(len(v)):
        for j in range(i + 1, len(v)):
            matrix = parameters["m"][pair]
            moved = np.array([sum(v[i][a] * matrix[a][b] for a in range(d)) for b in range(d)])  # v_i M_ij
            y += dot(moved, v[j])
            pair += 1
    return y


@per_row
def finalmlp(v: Array, w: Array, parameters: Parameters, sides: Sides) -> float:
    e = np.concatenate(list(v))
    streams = []
    for s, side in ((1, "user"), (2, "item")):
        chosen = [v[i] for i in range(len(v)) if sides[i] == side]
        context = np.concatenate(chosen) if chosen else parameters[f"gate_{s}.context"][0]
        gate = mlp(context, parameters, f"gate_{s}.gate.layers", last_is_linear=True)
        selected = np.array([2.0 / (1.0 + math.exp(-gate[i])) * e[i] for i in range(len(e))])
        streams.append(mlp(selected, parameters, f"mlp_{s}.layers", last_is_linear=False))
    o_1, o_2 = streams
    y = dot(parameters["fusion.w_1.weight"][0], o_1) + dot(parameters["fusion.w_2.weight"][0], o_2)
    heads, p, q = parameters["fusion.w_3"].shape
    for t in range(heads):
        for a in range(p):
            for b in range(q):
                y += o_1[t * p + a] * parameters["fusion.w_3"][t][a][b] * o_2[t * q + b]
    return y


@per_row
def wukong(v: Array, w: Array, parameters: Parameters, sides: Sides) -> float:
    x, d, layer = v, v.shape[1], 0
    while f"layers.{layer}.lcb" in parameters:
        own = {n.removeprefix(f"layers.{layer}."): p for n, p in parameters.items() if n.startswith(f"layers.{layer}.")}
        n = len(x)
        pairs = [[dot(x[i], x[j]) for j in range(n)] for i in range(n)]  # X X^T [n, n]
        rank = own["fmb.y"].shape[1]
        products = [dot(pairs[i], own["fmb.y"][:, c]) for i in range(n) for c in range(rank)]  # X X^T Y, flattened
        normal = layer_norm(np.array(products), own["fmb.norm.weight"], own["fmb.norm.bias"])
        flat = mlp(normal, own, "fmb.mlp.layers", last_is_linear=True)
        rows = [flat[start : start + d] for start in range(0, len(flat), d)]
        rows += [sum(weights[i] * x[i] for i in range(n)) for weights in own["lcb"]]
        residual = own.get("residual", np.eye(n))
        rows = [rows[r] + sum(residual[r][i] * x[i] for i in range(n)) for r in range(len(rows))]
        x = np.array([layer_norm(row, own["norm.weight"], own["norm.bias"]) for row in rows])
        layer += 1
    return float(mlp(np.concatenate(list(x)), parameters, "mlp.layers", last_is_linear=True)[0])


@per_row
def autoint(v: Array, w: Array, parameters: Parameters, sides: Sides) -> float:
    heads, x, layer = 2, v, 0
    while f"layers.{layer}.query.weight" in parameters:
        query, key, value, residual = (
            parameters[f"layers.{layer}.{part}.weight"] for part in ("query", "key", "value", "residual")
        )
        width = len(query) // heads
        rows = []
        for i in range(len(x)):
            mixed: list[float] = []
            for first in range(0, heads * width, width):
                of_head = slice(first, first + width)
                scores = [dot(query[of_head] @ x[i], key[of_head] @ x[j]) for j in range(len(x))]
                shares = [math.exp(score) / math.fsum(math.exp(other) for other in scores) for score in scores]
                values = [value[of_head] @ x[j] for j in range(len(x))]
                mixed += [math.fsum(shares[j] * values[j][c] for j in range(len(x))) for c in range(width)]
            rows.append(np.maximum(np.array(mixed) + residual @ x[i], 0.0))
        x = np.array(rows)
        layer += 1
    return dot(parameters["head.weight"][0], np.concatenate(list(x)))


REFERENCES: dict[str, Reference] = {
    "fm": fm,
    "deepfm": deepfm,
    "fwfm": fwfm,
    "fmfm": fmfm,
    "finalmlp": finalmlp,
    "wukong": wukong,
    "autoint": autoint,
}
