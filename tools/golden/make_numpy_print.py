"""numpy_print.json: arrays and what NumPy's `str` makes of them with its default print options.

`data` is the flat list of values in C order; NaN and infinities are the strings "nan", "inf", "-inf".
"""

import math

import numpy as np

import common

NAN, INF = float("nan"), float("inf")


def arrays():
    rng = np.random.default_rng(909)
    f64, f32, f16 = np.float64, np.float32, np.float16
    yield "0d_float", f64(3.25) * np.ones(())
    yield "0d_int", np.array(-7)
    yield "0d_float_whole", np.array(2.0)
    yield "1d_whole", np.array([1.0, 2.0, 3.0])
    yield "1d_mixed", np.array([1.5, -2.25, 1000.125])
    yield "1d_rounded", np.array([1 / 3, 2 / 3, 1.0])
    yield "1d_f32", np.array([0.1, 0.2, 1 / 3], f32)
    yield "1d_f16", np.array([0.1, 65504.0, -2.5], f16)
    yield "large_exponent", np.array([1e20, 1.5, -3e-5])
    yield "small_exponent", np.array([1e-8, 2.5e-7])
    yield "ratio_over_1000", np.array([0.001, 1000.0, 12.5])
    yield "ratio_over_limit", np.array([0.0001, 1000.0])
    yield "max_f64", np.array([1.7976931348623157e308, -2.2250738585072014e-308, 5e-324])
    yield "f32_exponent", np.array([1e-10, 3.4028235e38, 1.0], f32)
    yield "big_whole", np.array([123456789.0, 1.0])
    yield "bigger_whole", np.array([1e16, 1.0])
    yield "nan_inf", np.array([NAN, INF, -INF, 1.5])
    yield "only_nan", np.array([NAN, NAN])
    yield "nan_inf_whole", np.array([[1.0, INF], [NAN, -20.0]])
    yield "negative_zero", np.array([-0.0, 0.0])
    yield "2d_random", np.round(rng.standard_normal((3, 4)), 4)
    yield "2d_full_precision", rng.standard_normal((2, 3))
    yield "2d_f32_random", rng.standard_normal((3, 3)).astype(f32)
    yield "3d_ints", np.arange(24).reshape(2, 3, 4)
    yield "4d_ints", np.arange(16).reshape(2, 2, 2, 2) - 8
    yield "negative_ints", np.array([[1, -200, 3], [40, 5, -6]])
    yield "i32", np.array([2147483647, -2147483648, 0], np.int32)
    yield "u8", np.array([[0, 255], [7, 10]], np.uint8)
    yield "bool", np.array([[True, False], [False, True]])
    yield "bool_0d", np.array(True)
    yield "empty", np.zeros((0,), f64)
    yield "empty_2d", np.zeros((3, 0), f32)
    yield "empty_3d", np.zeros((2, 0, 3), np.int64)
    yield "one_one_one", np.array([[[4.5]]])
    yield "long_line", np.arange(40) * 1.5
    yield "long_line_ints", np.arange(60)
    yield "long_rows", np.arange(60).reshape(2, 30) * 1000
    yield "long_row_floats", np.round(rng.standard_normal((2, 12)), 3)
    yield "long_bools", np.arange(30) % 3 == 0
    yield "just_1000", np.arange(1000).reshape(125, 8) % 7
    yield "summarised_1d", np.arange(1001)
    yield "summarised_1d_floats", np.arange(1200) / 8.0
    yield "summarised_2d", np.arange(2000).reshape(40, 50)
    yield "summarised_tall", np.arange(1200).reshape(300, 4) * 0.5
    yield "summarised_wide", np.arange(1200).reshape(4, 300)
    yield "summarised_3d", np.arange(1320).reshape(10, 11, 12) - 660


def plain(v):
    v = v.item()
    if isinstance(v, float) and not math.isfinite(v):
        return "nan" if math.isnan(v) else ("inf" if v > 0 else "-inf")
    return v


SHORT = {"float64": "f64", "float32": "f32", "float16": "f16", "int64": "i64", "int32": "i32", "uint8": "u8",
         "bool": "bool"}


def main():
    rows = []
    for name, a in arrays():
        a = np.asarray(a)
        rows.append({"name": name, "dtype": SHORT[a.dtype.name], "shape": list(a.shape),
                     "data": [plain(v) for v in a.reshape(-1)], "text": str(a)})
    common.write_json("numpy_print.json", {"versions": common.versions()}, "cases", rows)
    print(f"numpy_print: {len(rows)} arrays")


if __name__ == "__main__":
    main()
