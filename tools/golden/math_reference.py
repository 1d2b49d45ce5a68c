"""Writes tests-data/golden/math_f64.json: values of scalar functions that the Rust standard
library lacks, from mpmath (50 digits), rounded to f64. Run: `python math_reference.py OUT`.

Numbers stand as decimal strings that parse back to the same f64, since not every JSON reader
rounds correctly.
"""

import json
import random
import sys

from mpmath import mp, mpf
import mpmath as m

mp.dps = 50
rng = random.Random(7)


def uniform(lo, hi, n):
    return [rng.uniform(lo, hi) for _ in range(n)]


def log_uniform(lo, hi, n):
    return [10 ** rng.uniform(lo, hi) for _ in range(n)]


def table(f, xs):
    rows = []
    for x in xs:
        y = float(f(mpf(x)))
        rows.append([repr(x), repr(y)])
    return rows


def erfinv(x):
    """mpmath's own starts from a float; take it in more digits for the tails."""
    with mp.workdps(60):
        return m.erfinv(x)


both = lambda xs: xs + [-x for x in xs]
small = both(log_uniform(-300, -1, 20))
out = {
    "erf": table(m.erf, small + uniform(-6, 6, 150)),
    "erfc": table(m.erfc, small + uniform(-6, 6, 100) + uniform(6, 26, 50)),
    "erfinv": table(erfinv, small + uniform(-1, 1, 100) + [s * (1 - 2.0**-k) for k in range(1, 54) for s in (1, -1)]),
    "lgamma": table(lambda x: m.log(abs(m.gamma(x))), log_uniform(-300, 2, 40) + uniform(0, 5, 100) + uniform(5, 150, 40) + [v for v in uniform(-8, 0, 40) if v != int(v)]),
    "digamma": table(m.digamma, log_uniform(-300, 8, 60) + uniform(0, 5, 100) + uniform(1.4615, 1.4618, 10) + uniform(5, 100, 40) + uniform(-8, 0, 40)),
    "expm1": table(m.expm1, small + uniform(-5, 5, 60)),
    "log1p": table(m.log1p, log_uniform(-300, 30, 40) + uniform(-1, 5, 60)),
    "asinh": table(m.asinh, small + uniform(-5, 5, 40) + log_uniform(0, 300, 20)),
    "acosh": table(m.acosh, [1 + v for v in log_uniform(-15, 0, 40)] + log_uniform(0, 300, 20)),
    "atanh": table(m.atanh, small + uniform(-1, 1, 60)),
    "sigmoid": table(lambda x: 1 / (1 + m.exp(-x)), small + uniform(-40, 40, 60) + uniform(-700, -40, 20)),
    "softplus": table(lambda x: m.log1p(m.exp(x)), small + uniform(-40, 40, 60) + uniform(-700, -40, 20)),
}
with open(sys.argv[1], "w") as f:
    f.write("{\n" + ",\n".join(f'"{k}": [\n' + ",\n".join(json.dumps(r) for r in v) + "\n]" for k, v in out.items()) + "\n}\n")
