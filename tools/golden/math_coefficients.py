"""Minimax coefficients for hadal-core's scalar functions.

Needs mpmath. Prints, for each kernel, Rust literals (lowest power first) and the
weighted maximum error of the polynomial after its coefficients were rounded to
the type the kernel uses. A plain Remez exchange on a dense grid in
60-digit arithmetic.
"""
import struct
import sys

from mpmath import mp, mpf, matrix, lu_solve
import mpmath as m

mp.dps = 60


def f32(v):
    return mpf(struct.unpack("f", struct.pack("f", float(v)))[0])


def remez(g, w, a, b, n, iters=12, grid=1500):
    """Minimises max |w(x) (g(x) - p(x))| over [a, b] for p of n coefficients."""
    a, b = mpf(a), mpf(b)
    xs = [(a + b) / 2 + (b - a) / 2 * m.cos(m.pi * (2 * i + 1) / (2 * (n + 1))) for i in range(n + 1)]
    xs = sorted(xs)
    pts = [(a + b) / 2 - (b - a) / 2 * m.cos(m.pi * i / grid) for i in range(grid + 1)]
    gv = [g(x) for x in pts]
    wv = [w(x) for x in pts]
    for _ in range(iters):
        A = matrix(n + 1, n + 1)
        y = matrix(n + 1, 1)
        for i, x in enumerate(xs):
            for j in range(n):
                A[i, j] = x**j
            A[i, n] = (-1) ** i / w(x)
            y[i] = g(x)
        sol = lu_solve(A, y)
        c = [sol[j] for j in range(n)]
        err = [wv[i] * (gv[i] - m.polyval(c[::-1], pts[i])) for i in range(len(pts))]
        # one extremum per run of equal sign
        ext = []
        for i, e in enumerate(err):
            if ext and (e > 0) == (err[ext[-1]] > 0):
                if abs(e) > abs(err[ext[-1]]):
                    ext[-1] = i
            else:
                ext.append(i)
        while len(ext) > n + 1:
            ext.pop(0 if abs(err[ext[0]]) < abs(err[ext[-1]]) else -1)
        if len(ext) < n + 1:
            break
        new = [pts[i] for i in ext]
        if new == xs:
            break
        xs = new
    return c, pts, gv, wv


def fit(name, g, w, a, b, n, single):
    c, pts, gv, wv = remez(g, w, a, b, n)
    c = [f32(v) if single else mpf(float(v)) for v in c]
    e = max(abs(wv[i] * (gv[i] - m.polyval(c[::-1], pts[i]))) for i in range(len(pts)))
    print(f"// {name}: n={n} err 2^{float(m.log(e, 2)):.1f}")
    print("[" + ", ".join((f"{float(v):.9e}" if single else repr(float(v))) for v in c) + "]", flush=True)


def series(f, k):
    """f with its removable singularity at 0 filled by high working precision."""
    return lambda x: f(x if abs(x) > mpf(10) ** -k else mpf(10) ** -k)


H = m.log(2) / 2
ONE = lambda x: mpf(1)
JOBS = {
    "exp32": lambda: fit("exp32 q: e^r=1+r+r^2 q", series(lambda r: (m.exp(r) - 1 - r) / r**2, 15), lambda r: max(r**2, mpf("0.001")) / m.exp(r), -H * 1.0005, H * 1.0005, 5, True),
    "exp2_32": lambda: fit("exp2_32 q: 2^r=1+r q", series(lambda r: (2**r - 1) / r, 15), lambda r: abs(r) / 2**r + mpf(10) ** -12, -0.5, 0.5, 6, True),
    "ln32": lambda: fit("ln32 P: f - f^2/2 + f^3 P", series(lambda f: (m.log1p(f) - f + f * f / 2) / f**3, 12), lambda f: abs(f**3 / m.log1p(f)) if f != 0 else mpf(10) ** -10, m.sqrt(0.5) - 1, m.sqrt(2) - 1, 8, True),
    "tanh32": lambda: fit("tanh32 P(x^2): x + x z P", series(lambda z: (m.tanh(m.sqrt(z)) / m.sqrt(z) - 1) / z, 20), lambda z: z, 0, 0.625**2, 5, True),
    "erf32s": lambda: fit("erf32 small P(z): x*P", series(lambda z: m.erf(m.sqrt(z)) / m.sqrt(z) - 1, 20), ONE, 0, 0.921875**2, 7, True),
    "erf32b": lambda: fit("erf32 big P(a): 1-exp(-P(a)*a)", lambda a: -m.log(m.erfc(a)) / a, lambda a: a * m.erfc(a) / m.erf(a), 0.921875, 4.0, 7, True),
    "exp64": lambda: fit("exp64 q: 1+r+r^2 q", series(lambda r: (m.exp(r) - 1 - r) / r**2, 15), lambda r: max(r**2, mpf("0.001")) / m.exp(r), -H * 1.0005, H * 1.0005, 8, False),
    "ln64": lambda: fit("ln64 P(z): 2s + 2s z P", series(lambda z: (m.atanh(m.sqrt(z)) / m.sqrt(z) - 1) / z, 20), lambda z: z, 0, (m.sqrt(2) - 1) ** 4 * 1.0005, 6, False),
    "sin64": lambda: fit("sin64 S(z): sin(2 pi r) = r S", series(lambda z: m.sin(2 * m.pi * m.sqrt(z)) / m.sqrt(z), 20), lambda z: mpf(1) / 6, 0, mpf(1) / 64, 5, False),
    "cos64": lambda: fit("cos64 C(z): cos(2 pi r)", lambda z: m.cos(2 * m.pi * m.sqrt(z)), ONE, 0, mpf(1) / 64, 6, False),
    "asin64": lambda: fit("asin64 P(z): s + s z P", series(lambda z: (m.asin(m.sqrt(z)) / m.sqrt(z) - 1) / z, 20), lambda z: z, 0, 0.25, 8, False),
    "atan64": lambda: fit("atan64 P(z): t + t z P", series(lambda z: (m.atan(m.sqrt(z)) / m.sqrt(z) - 1) / z, 20), lambda z: z, 0, 1, 12, False),
    "erfcx64": lambda: fit("erfcx64 P(t), t=(a-3)/(a+3): (1+2a) erfcx(a)", lambda t: (lambda a: (1 + 2 * a) * m.exp(a * a) * m.erfc(a))(3 * (1 + t) / (1 - t)), ONE, -1, (mpf(10.5) - 3) / 13.5, 15, False),
    "digamma64": lambda: (print("root", m.nstr(m.findroot(m.digamma, 1.4616), 40)), fit("digamma64 P(x-1.5)(x-x0)", lambda u: (lambda x, r: m.digamma(x) / (x - r) if abs(x - r) > mpf(10) ** -25 else m.psi(1, r))(u + 1.5, m.findroot(m.digamma, 1.4616)), ONE, -0.5, 0.5, 23, False)),
}
for k in sys.argv[1:] or JOBS:
    JOBS[k]()
