//! Prints the cost of each `f32` function of [`hadal_core::math::Real`] in ns per element, over a
//! block of 1024 that stays in L1, compiled for each instruction set this machine has.
//!
//! `cargo run --release -p hadal-core --example bench_math`

#[cfg(target_arch = "x86_64")]
mod x86 {
    use hadal_core::math::Real;
    use std::hint::black_box;
    use std::time::Instant;

    const N: usize = 1024;

    #[inline(always)]
    fn map(x: &[f32; N], out: &mut [f32; N], f: impl Fn(f32) -> f32) {
        for i in 0..N {
            out[i] = f(x[i]);
        }
    }

    fn time(mut run: impl FnMut()) -> f64 {
        let mut best = f64::INFINITY;
        for _ in 0..9 {
            let t = Instant::now();
            for _ in 0..200 {
                run();
            }
            best = best.min(t.elapsed().as_secs_f64() * 1e9 / (200 * N) as f64);
        }
        best
    }

    macro_rules! bench {
        ($($name:ident $lo:literal $hi:literal $f:expr;)*) => {
            $(mod $name {
                use super::*;
                #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
                pub fn v4(x: &[f32; N], out: &mut [f32; N]) {
                    map(x, out, $f);
                }
                #[target_feature(enable = "avx2,fma")]
                pub fn v3(x: &[f32; N], out: &mut [f32; N]) {
                    map(x, out, $f);
                }
            })*
            pub fn run() {
                let v4 = is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512bw");
                let v3 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
                println!("{:10} {:>8} {:>8}  ns/element", "", "AVX-512", "AVX2");
                $({
                    let mut x = [0f32; N];
                    for (i, v) in x.iter_mut().enumerate() {
                        *v = $lo + ($hi - $lo) * (i as f32 / N as f32);
                    }
                    let mut out = [0f32; N];
                    let a = if v4 && v3 {
                        // SAFETY: the features were detected above.
                        time(|| unsafe { $name::v4(black_box(&x), black_box(&mut out)) })
                    } else {
                        f64::NAN
                    };
                    let b = if v3 {
                        // SAFETY: the features were detected above.
                        time(|| unsafe { $name::v3(black_box(&x), black_box(&mut out)) })
                    } else {
                        f64::NAN
                    };
                    println!("{:10} {a:8.3} {b:8.3}", stringify!($name));
                })*
            }
        };
    }

    bench! {
        exp -80.0 80.0 |x| x.exp_();
        exp2 -80.0 80.0 |x| x.exp2_();
        expm1 -2.0 2.0 |x| x.expm1_();
        ln 0.01 100.0 |x| x.ln_();
        log2 0.01 100.0 |x| x.log2_();
        log10 0.01 100.0 |x| x.log10_();
        log1p -0.5 100.0 |x| x.log1p_();
        sqrt 0.0 100.0 |x| x.sqrt_();
        rsqrt 0.1 100.0 |x| x.rsqrt_();
        recip 0.1 100.0 |x| x.recip_();
        sigmoid -20.0 20.0 |x| x.sigmoid_();
        softplus -20.0 20.0 |x| x.softplus_();
        tanh -5.0 5.0 |x| x.tanh_();
        sin -50.0 50.0 |x| x.sin_();
        cos -50.0 50.0 |x| x.cos_();
        tan -50.0 50.0 |x| x.tan_();
        asin -1.0 1.0 |x| x.asin_();
        acos -1.0 1.0 |x| x.acos_();
        atan -5.0 5.0 |x| x.atan_();
        atan2 -5.0 5.0 |x| x.atan2_(1.5);
        sinh -5.0 5.0 |x| x.sinh_();
        cosh -5.0 5.0 |x| x.cosh_();
        asinh -5.0 5.0 |x| x.asinh_();
        acosh 1.0 9.0 |x| x.acosh_();
        atanh -1.0 1.0 |x| x.atanh_();
        erf -3.0 3.0 |x| x.erf_();
        erfc -3.0 3.0 |x| x.erfc_();
        erfinv -1.0 1.0 |x| x.erfinv_();
        pow 0.1 20.0 |x| x.pow_(2.7);
        hypot 0.1 20.0 |x| x.hypot_(2.7);
        round -20.0 20.0 |x| x.round_();
        frac -20.0 20.0 |x| x.frac_();
        sign -20.0 20.0 |x| x.sign_();
        maximum -20.0 20.0 |x| x.maximum_(0.5);
        remainder -20.0 20.0 |x| x.remainder_(2.7);
        lgamma 0.1 20.0 |x| x.lgamma_();
        digamma 0.1 20.0 |x| x.digamma_();
    }
}

fn main() {
    #[cfg(target_arch = "x86_64")]
    x86::run();
}
