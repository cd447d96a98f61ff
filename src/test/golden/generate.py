#!/usr/bin/env python3
"""Golden vectors of batch normalization, computed without any code of this project.

    python3 src/test/golden/generate.py > src/main/resources/org/fusednorm/golden/batchnorm.json

Needs the standard library only. Statistics are exact rationals, everything after the square root is
decimal with 60 digits, and each printed number is the double nearest to the result. The formulas
are those of Ioffe and Szegedy 2015 (arXiv 1502.03167): algorithm 1, its backward (section 3) and
algorithm 2. Conventions:

  * the batch is normalized by its biased variance, running variance is the unbiased one;
  * momentum is the weight of the new value; the cumulative average weights all batches alike;
  * y = activation(gamma * xhat + beta + residual), and ReLU lets a gradient pass where !(v <= 0);
  * "inference" uses the running statistics after the commit of the first batch, and its gradients
    take them as constants (frozen statistics);
  * "population" is algorithm 2 over all three batches.

Every result is checked on a second route before it is printed: statistics against the module
`statistics`, gradients against central differences of the forward pass with a step of 1e-30.
"""

import json
import statistics
import struct
import sys
from decimal import Decimal, getcontext, localcontext
from fractions import Fraction
from math import prod

DIGITS = 60
getcontext().prec = DIGITS
MOMENTUM = Fraction(0.1)  # the double, as every reader of the file sees it


def decimal(q):
    return Decimal(q.numerator) / Decimal(q.denominator)


class Values:
    """A fixed stream of small integers (a linear congruential generator, MMIX constants)."""

    def __init__(self, seed):
        self.state = seed

    def below(self, bound):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % bound

    def grid(self, count, center, step, reach):
        """Values center + k * step with |k| <= reach."""
        return [center + (self.below(2 * reach + 1) - reach) * step for _ in range(count)]


class Geometry:
    """A layout as outer x channels x inner."""

    def __init__(self, layout, shape):
        if layout == "NHWC":
            self.outer, self.channels, self.inner = prod(shape[:-1]), shape[-1], 1
        else:
            self.outer, self.channels, self.inner = shape[0], shape[1], prod(shape[2:])
        self.size = prod(shape)
        self.per_channel = self.outer * self.inner

    def channel_of(self, index):
        return index // self.inner % self.channels

    def split(self, values):
        return [
            [v for i, v in enumerate(values) if self.channel_of(i) == c]
            for c in range(self.channels)
        ]

    def join(self, channels):
        streams = [iter(values) for values in channels]
        return [next(streams[self.channel_of(i)]) for i in range(self.size)]


def moments(channel):
    """Exact mean and biased variance."""
    m = len(channel)
    mean = sum(channel) / m
    variance = sum((x - mean) ** 2 for x in channel) / m
    assert mean == statistics.mean(channel) and variance == statistics.pvariance(channel)
    return mean, variance


def unbiased(variance, m):
    return variance * m / (m - 1)


def gate(v):
    return not v <= 0


def forward(x, gamma, beta, residual, eps, relu, frozen=None, kinks=()):
    """One channel in Decimal: (xhat, v, y). Positions in kinks sit at v = 0: their gate is shut."""
    if frozen:
        mean, variance = frozen
    else:
        mean = sum(x) / len(x)
        variance = sum((a - mean) ** 2 for a in x) / len(x)
    deviation = (variance + eps).sqrt()
    xhat = [(a - mean) / deviation for a in x]
    v = [gamma * a + beta + r for a, r in zip(xhat, residual)]
    if not relu:
        return xhat, v, v
    return xhat, v, [a if a > 0 and i not in kinks else Decimal(0) for i, a in enumerate(v)]


def backward(x, gamma, mean, variance, eps, xhat, g):
    """The chain rule as the paper prints it, line by line; g is dl/dy behind the gate."""
    m = len(x)
    invstd = 1 / (variance + eps).sqrt()
    dxhat = [a * gamma for a in g]
    dvariance = sum(d * (a - mean) for d, a in zip(dxhat, x)) * Decimal("-0.5") * invstd**3
    dmean = -sum(dxhat) * invstd + dvariance * sum(-2 * (a - mean) for a in x) / m
    dx = [d * invstd + dvariance * 2 * (a - mean) / m + dmean / m for d, a in zip(dxhat, x)]
    return dx, sum(a * b for a, b in zip(g, xhat)), sum(g)


def differences(x, gamma, beta, residual, dy, eps, relu, frozen, kinks):
    """dl/d(x, gamma, beta, residual) by central differences of l = sum dy * y."""
    with localcontext() as context:
        context.prec = 110
        h = Decimal("1e-30")
        flat = x + [gamma, beta] + residual
        m = len(x)

        def loss(p):
            y = forward(p[:m], p[m], p[m + 1], p[m + 2 :], eps, relu, frozen, kinks)[2]
            return sum(a * b for a, b in zip(dy, y))

        result = []
        for i, value in enumerate(flat):
            up = loss(flat[:i] + [value + h] + flat[i + 1 :])
            down = loss(flat[:i] + [value - h] + flat[i + 1 :])
            result.append((up - down) / (2 * h))
    return result[:m], result[m], result[m + 1], result[m + 2 :]


def assert_close(name, formula, difference):
    assert len(formula) == len(difference)
    for i, (a, b) in enumerate(zip(formula, difference)):
        assert abs(a - b) <= Decimal("1e-30") * (1 + abs(a)), f"{name}[{i}]: {a} against {b}"


def pass_of_channel(x, gamma, beta, residual, dy, mean, variance, eps, relu, is_frozen):
    """Forward and checked backward of one channel: y, dx, dgamma, dbeta, dresidual."""
    frozen = (mean, variance) if is_frozen else None
    xhat, v, y = forward(x, gamma, beta, residual, eps, relu, frozen)
    # A gate must not hang on rounding: v is exactly zero or clear of it in any precision.
    assert not relu or all(a == 0 or abs(a) > Decimal("0.01") for a in v), v
    g = [d if gate(a) or not relu else Decimal(0) for d, a in zip(dy, v)]
    if is_frozen:
        invstd = 1 / (variance + eps).sqrt()
        dx = [a * gamma * invstd for a in g]
        dgamma, dbeta = sum(a * b for a, b in zip(g, xhat)), sum(g)
    else:
        dx, dgamma, dbeta = backward(x, gamma, mean, variance, eps, xhat, g)
        assert_close("mean of y", [gamma * sum(xhat)], [Decimal(0)])
    kinks = [i for i, a in enumerate(v) if a == 0]
    checked = differences(x, gamma, beta, residual, dy, eps, relu, frozen, kinks)
    assert_close("dx", dx, checked[0])
    assert_close("dgamma, dbeta", [dgamma, dbeta], checked[1:3])
    assert_close("dresidual", g, checked[3])
    return y, dx, dgamma, dbeta, g


def holds(floats, code):
    try:
        return all(struct.unpack(code, struct.pack(code, v))[0] == v for v in floats)
    except OverflowError:
        return False


def exact_in(values):
    """The types that hold every value."""
    floats = [float(v) for v in values]
    assert all(Fraction(f) == v for f, v in zip(floats, values))
    assert holds(floats, "<f"), "an input is no F32 value"
    upper_half = all(struct.pack("<f", v)[:2] == b"\0\0" for v in floats)
    return ["F64", "F32"] + ["F16"] * holds(floats, "<e") + ["BF16"] * upper_half


def batch_norm(name, layout, shape, batches, dy, *, eps=1e-5, gamma=None, beta=None, residual=None,
               relu=False, start=None):
    """One case of the file, from exact inputs (lists of Fraction in memory order)."""
    geometry = Geometry(layout, shape)
    c, m = geometry.channels, geometry.per_channel
    start_mean, start_variance = start or ([Fraction(0)] * c, [Fraction(1)] * c)
    eps_exact = decimal(Fraction(eps))

    per_batch = [[moments(channel) for channel in geometry.split(x)] for x in batches]
    mean = [a for a, _ in per_batch[0]]
    variance = [b for _, b in per_batch[0]]
    running_mean = [(1 - MOMENTUM) * s + MOMENTUM * a for s, a in zip(start_mean, mean)]
    running_variance = [
        (1 - MOMENTUM) * s + MOMENTUM * unbiased(b, m) for s, b in zip(start_variance, variance)
    ]

    def average(count):
        means = [sum(b[k][0] for b in per_batch[:count]) / count for k in range(c)]
        variances = [sum(b[k][1] for b in per_batch[:count]) / count for k in range(c)]
        return {"mean": means, "variance": [unbiased(v, m) for v in variances]}

    def run(means, variances, is_frozen):
        columns = [
            pass_of_channel(
                [decimal(v) for v in x],
                decimal(gamma[k]) if gamma else Decimal(1),
                decimal(beta[k]) if beta else Decimal(0),
                [decimal(v) for v in r],
                [decimal(v) for v in d],
                decimal(means[k]),
                decimal(variances[k]),
                eps_exact,
                relu,
                is_frozen,
            )
            for k, (x, r, d) in enumerate(
                zip(
                    geometry.split(batches[0]),
                    geometry.split(residual or [Fraction(0)] * geometry.size),
                    geometry.split(dy),
                )
            )
        ]
        y, dx, dgamma, dbeta, dresidual = zip(*columns)
        return {
            "y": geometry.join(y),
            "dx": geometry.join(dx),
            "dgamma": dgamma if gamma else None,
            "dbeta": dbeta if beta else None,
            "dresidual": geometry.join(dresidual) if residual else None,
        }

    return {
        "name": name,
        "layout": layout,
        "shape": shape,
        "exactIn": exact_in(sum(batches, []) + dy + (residual or [])),
        "eps": eps,
        "momentum": float(MOMENTUM),
        "activation": "RELU" if relu else "NONE",
        "gamma": gamma,
        "beta": beta,
        "batches": batches,
        "residual": residual,
        "dy": dy,
        "start": {"mean": start_mean, "variance": start_variance},
        "statistics": {
            "mean": mean,
            "variance": variance,
            "unbiasedVariance": [unbiased(v, m) for v in variance],
            "invstd": [1 / (decimal(v) + eps_exact).sqrt() for v in variance],
        },
        "training": run(mean, variance, False),
        "running": {"mean": running_mean, "variance": running_variance},
        "cumulative": average(2),
        "inference": run(running_mean, running_variance, True),
        "population": average(3),
    }


def inputs(seed, layout_and_shape, center=0, step=Fraction(1, 8), reach=20):
    """Three batches, dy and a residual."""
    values, size = Values(seed), prod(layout_and_shape[1])
    batches = [values.grid(size, Fraction(center), step, reach) for _ in range(3)]
    dy = values.grid(size, Fraction(0), Fraction(1, 16), 24)
    residual = values.grid(size, Fraction(0), Fraction(1, 8), 16)
    return batches, dy, residual


def with_constant(layout_and_shape, batches):
    """The batches, the first of them with the same value all over channel 1."""
    geometry = Geometry(*layout_and_shape)
    parts = geometry.split(batches[0])
    parts[1] = [Fraction(5, 2)] * geometry.per_channel
    return [geometry.join(parts)] + batches[1:]


def quarters(*values):
    return [Fraction(v, 4) for v in values]


def cases():
    nc, nchw, row = ("NC", [4, 3]), ("NCHW", [2, 3, 2, 2]), ("NCHW", [3, 2, 1, 5])
    nhwc, nhwc_small = ("NHWC", [2, 3, 3, 2]), ("NHWC", [2, 2, 2, 2])
    three = dict(gamma=quarters(4, -3, 10), beta=quarters(1, 0, -6))
    two = dict(gamma=quarters(5, 2), beta=quarters(-2, 3))
    start = dict(start=(quarters(2, -1, 8), quarters(4, 3, 9)))

    batches, dy, _ = inputs(1, nc)
    yield batch_norm("nc", *nc, batches, dy, **three)
    batches, dy, _ = inputs(2, nchw)
    yield batch_norm("nchw", *nchw, batches, dy, **three, **start)
    batches, dy, _ = inputs(3, row)
    yield batch_norm("nchw-row", *row, batches, dy, **two)
    batches, dy, _ = inputs(4, nhwc)
    yield batch_norm("nhwc", *nhwc, batches, dy, **two)

    batches, dy, _ = inputs(5, nchw)
    yield batch_norm("nchw-plain", *nchw, batches, dy)
    batches, dy, _ = inputs(6, nc)
    yield batch_norm("nc-scale-only", *nc, batches, dy, gamma=three["gamma"])
    batches, dy, _ = inputs(7, nhwc_small)
    yield batch_norm("nhwc-shift-only", *nhwc_small, batches, dy, beta=two["beta"])

    batches, dy, _ = inputs(8, nc, step=Fraction(1, 256), reach=8)
    yield batch_norm("nc-small-values-eps-1e-3", *nc, batches, dy, eps=1e-3, **three)
    batches, dy, _ = inputs(9, nhwc_small)
    yield batch_norm("nhwc-eps-0.25", *nhwc_small, batches, dy, eps=0.25, **two)

    # Values for F32 and F64 only: a sum of squares loses every digit of these variances in F32.
    batches, dy, _ = inputs(10, nchw, center=10_000, step=Fraction(1, 32), reach=56)
    yield batch_norm("nchw-mean-1e4-std-1", *nchw, batches, dy, **three, **start)
    batches, dy, _ = inputs(11, nhwc, center=1_000_000, step=Fraction(1, 16), reach=3)
    yield batch_norm("nhwc-mean-1e6-std-0.1", *nhwc, batches, dy, **two)

    # Where beta is 0, ReLU puts the constant channel on its kink: y is 0 and the gate is shut.
    batches, dy, _ = inputs(12, nc)
    yield batch_norm("nc-constant-channel", *nc, with_constant(nc, batches), dy, **three)
    batches, dy, _ = inputs(13, nchw)
    yield batch_norm("nchw-constant-channel-relu", *nchw, with_constant(nchw, batches), dy,
                     relu=True, **three)

    batches, dy, _ = inputs(14, nc)
    yield batch_norm("nc-relu", *nc, batches, dy, relu=True, **three)
    batches, dy, _ = inputs(20, nhwc_small, center=1_000_000, step=Fraction(1, 16), reach=3)
    yield batch_norm("nhwc-mean-1e6-relu", *nhwc_small, batches, dy, relu=True, **two,
                     start=(quarters(4_000_000, 3_999_999), quarters(1, 2)))
    batches, dy, residual = inputs(16, nc)
    yield batch_norm("nc-residual", *nc, batches, dy, residual=residual, **three)
    batches, dy, residual = inputs(17, nchw)
    yield batch_norm("nchw-residual-relu", *nchw, batches, dy, residual=residual, relu=True,
                     **three)
    batches, dy, residual = inputs(18, nhwc_small)
    yield batch_norm("nhwc-residual-relu", *nhwc_small, batches, dy, residual=residual, relu=True,
                     **two)


def plain(value):
    """Fractions and decimals as the nearest doubles, which print in their shortest form."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, (Fraction, Decimal)):
        number = float(value)
        return int(number) if number == int(number) else number
    return value


def main():
    lines = []
    for case in cases():
        fields = []
        for key, value in plain(case).items():
            if isinstance(value, dict):
                inner = ",\n".join(f"   {json.dumps(k)}: {compact(v)}" for k, v in value.items())
                fields.append(f"  {json.dumps(key)}: {{\n{inner}}}")
            else:
                fields.append(f"  {json.dumps(key)}: {compact(value)}")
        lines.append("{\n" + ",\n".join(fields) + "}")
    sys.stdout.write('{"generator": "src/test/golden/generate.py",\n "cases": [\n')
    sys.stdout.write(",\n".join(lines) + "\n]}\n")


def compact(value):
    return json.dumps(value, separators=(",", ":"))


if __name__ == "__main__":
    main()
