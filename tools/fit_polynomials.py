"""Prints the polynomial coefficients of src/kernels/cpu/vector_math.h, lowest power first.

Minimax fits by iteratively reweighted least squares at Chebyshev points, rounded to float32; the
error printed is that of the fit before rounding, relative to the function, in units of 2^-24.
Needs numpy and mpmath: pip install numpy mpmath in a scratch environment.
"""
import math

import mpmath
import numpy


def fit(name, function, weight, low, high, degree):
    points = numpy.cos(numpy.linspace(0, numpy.pi, 2000)) * (high - low) / 2 + (low + high) / 2
    values = numpy.array([float(function(x)) for x in points])
    weights = numpy.array([float(weight(x)) for x in points])
    basis = numpy.vander((2 * points - low - high) / (high - low), degree + 1, increasing=True)
    lawson = numpy.ones(len(points))
    best = (math.inf, None)
    for _ in range(60):
        scale = numpy.sqrt(lawson) * weights
        solution = numpy.linalg.lstsq(basis * scale[:, None], values * scale, rcond=None)[0]
        error = numpy.abs(basis @ solution - values) * weights
        if error.max() < best[0]:
            best = (error.max(), solution)
        lawson *= error + 1e-30
        lawson /= lawson.max()
    polynomial = numpy.polynomial.Polynomial(best[1], domain=[low, high]).convert()
    coefficients = ", ".join(f"{numpy.float32(c)}F" for c in polynomial.coef)
    print(f"{name}: {{{coefficients}}}  error {best[0] * 2**24:.3f}")


def exp_rest(r):
    """q of e^r = 1 + r + r^2 q(r)."""
    r = mpmath.mpf(float(r))
    return (mpmath.expm1(r) - r) / r**2 if r else mpmath.mpf(0.5)


def exp2_rest(r):
    """p of 2^r = 1 + r p(r)."""
    r = mpmath.mpf(float(r))
    return (mpmath.power(2, r) - 1) / r if r else mpmath.log(2)


def tanh_rest(s):
    """p of tanh(x) = x + x^3 p(x^2), with s = x^2."""
    x = mpmath.sqrt(mpmath.mpf(float(s)))
    return (mpmath.tanh(x) - x) / x**3


def tail(t):
    """(1 + 2z) e^(z^2) erfc(z), with t = (z - 3) / (z + 3)."""
    t = mpmath.mpf(float(t))
    z = 3 * (1 + t) / (1 - t)
    return (1 + 2 * z) * mpmath.exp(z * z) * mpmath.erfc(z)


def main():
    mpmath.mp.prec = 120
    # A half of ln 2, and 0.03 for the low part of the argument.
    reach = math.log(2) / 2 + 0.03
    fit("exp", exp_rest, lambda r: r * r / math.exp(r), -reach, reach, 5)
    fit("exp2", exp2_rest, lambda r: abs(r) / 2**r, -0.5, 0.5, 4)
    fit("tanh", tanh_rest, lambda s: s, 1e-9, 0.36, 4)
    fit("normal_cdf", tail, lambda t: 1 / tail(t), -1, 8 / 14, 10)


if __name__ == "__main__":
    main()
