//! An element's result has the same bits in AVX-512, AVX2 and plain code, in the vector body and in
//! the tail.
#![cfg(target_arch = "x86_64")]

use hadal_core::math::Real;

/// Not a multiple of any vector length.
const N: usize = 4099;

#[inline(always)]
fn map(x: &[f32], out: &mut [f32], f: impl Fn(f32) -> f32) {
    for (o, &x) in out.iter_mut().zip(x) {
        *o = f(x);
    }
}

/// Bit patterns of all kinds, and a stretch of usual values.
fn inputs() -> Vec<f32> {
    (0..N as u32)
        .map(|i| {
            if i % 2 == 0 {
                f32::from_bits(i.wrapping_mul(0x9e37_79b9))
            } else {
                i as f32 * (8.0 / N as f32) - 4.0
            }
        })
        .collect()
}

fn bits(out: &[f32]) -> Vec<u32> {
    out.iter().map(|v| if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() }).collect()
}

macro_rules! check {
    ($($name:ident $f:expr;)*) => {$(
        #[test]
        fn $name() {
            #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
            fn v4(x: &[f32], out: &mut [f32]) {
                map(x, out, $f);
            }
            #[target_feature(enable = "avx2,fma")]
            fn v3(x: &[f32], out: &mut [f32]) {
                map(x, out, $f);
            }
            let x = inputs();
            let mut out = vec![0f32; N];
            map(&x, &mut out, $f);
            let plain = bits(&out);
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                out.fill(0.0);
                // SAFETY: the features were detected above.
                unsafe { v3(&x, &mut out) };
                assert!(bits(&out) == plain, "AVX2 and plain code differ");
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512bw")
                {
                    out.fill(0.0);
                    // SAFETY: the features were detected above.
                    unsafe { v4(&x, &mut out) };
                    assert!(bits(&out) == plain, "AVX-512 and plain code differ");
                    let mut one = [0f32];
                    for i in (0..N).step_by(7) {
                        // SAFETY: as above.
                        unsafe { v4(&x[i..=i], &mut one) };
                        assert!(bits(&one)[0] == plain[i], "body and tail differ at {:e}", x[i]);
                    }
                }
            }
        }
    )*};
}

check! {
    exp |x| x.exp_();
    exp2 |x| x.exp2_();
    expm1 |x| x.expm1_();
    ln |x| x.ln_();
    log2 |x| x.log2_();
    log10 |x| x.log10_();
    log1p |x| x.log1p_();
    rsqrt |x| x.rsqrt_();
    sigmoid |x| x.sigmoid_();
    softplus |x| x.softplus_();
    sin |x| x.sin_();
    cos |x| x.cos_();
    tan |x| x.tan_();
    asin |x| x.asin_();
    acos |x| x.acos_();
    atan |x| x.atan_();
    atan2 |x| x.atan2_(1.5);
    sinh |x| x.sinh_();
    cosh |x| x.cosh_();
    tanh |x| x.tanh_();
    asinh |x| x.asinh_();
    acosh |x| x.acosh_();
    atanh |x| x.atanh_();
    erf |x| x.erf_();
    erfc |x| x.erfc_();
    erfinv |x| x.erfinv_();
    pow |x| x.pow_(2.7);
    hypot |x| x.hypot_(2.7);
    remainder |x| x.remainder_(2.7);
    round |x| x.round_();
    sign |x| x.sign_();
    maximum |x| x.maximum_(0.5);
    lgamma |x| x.lgamma_();
    digamma |x| x.digamma_();
    gelu_tanh_form |x| 0.5 * x * (1.0 + (f32::FRAC_SQRT_2_PI * (0.044715 * x * x).mul_add_(x, x)).tanh_());
}
