"""Compiled loops of the normalised adjacency: a dozen of torch's passes over the edges in two."""

import numpy as np

from graphlth.sparse.kernels._compiled import compiled
from graphlth.sparse.kernels._vector import entry

LEAST = 1e-12  # degree that is divided by; of a smaller one no gradient flows


@compiled
def forward(source, target, counted, w, degree, root, out):  # type: ignore[no-untyped-def]
    """`d_s^-½ w_e d_t^-½` for every edge (s, t), d being the sums of w over the ends `counted`.

    `degree` [N], cleared before, becomes d, and `root` d^-½. Edges after those of `w` count once.
    """
    one, zero = out.dtype.type(1), out.dtype.type(0)
    for e in range(out.size):
        degree[entry(counted, e)] += entry(w, e) if e < w.size else one
    for i in range(degree.size):
        d = degree[i]
        root[i] = one / np.sqrt(max(d, out.dtype.type(LEAST))) if d > 0 else zero
    for e in range(out.size):
        weight = entry(w, e) if e < w.size else one
        out[e] = root[entry(source, e)] * weight * root[entry(target, e)]


@compiled
def backward(source, target, counted, w, degree, root, grad, slope, to_w):  # type: ignore[no-untyped-def]
    """The gradient of `w`. `slope` [N], cleared before, becomes that of d."""
    one, half = grad.dtype.type(1), grad.dtype.type(0.5)
    for e in range(grad.size):
        s, t = entry(source, e), entry(target, e)
        each = entry(grad, e) * (entry(w, e) if e < w.size else one)
        slope[s] += each * root[t]
        slope[t] += each * root[s]
    for i in range(slope.size):
        down = half * root[i] * root[i] * root[i]
        slope[i] *= -down if degree[i] >= LEAST else grad.dtype.type(0)
    for e in range(w.size):
        own = entry(grad, e) * root[entry(source, e)] * root[entry(target, e)]
        to_w[e] = own + slope[entry(counted, e)]
