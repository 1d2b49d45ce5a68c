//! Rows taken apart into their even and odd elements, and put together again.

/// The even and odd elements of `from`, for rows without vector code.
pub(super) fn split<T: Copy>(from: &[T], even: &mut [T], odd: &mut [T]) {
    for ((e, o), f) in even.iter_mut().zip(odd).zip(from.as_chunks::<2>().0) {
        (*e, *o) = (f[0], f[1]);
    }
}

/// The inverse of [`split`].
pub(super) fn join<T: Copy>(even: &[T], odd: &[T], to: &mut [T]) {
    for ((&e, &o), t) in even.iter().zip(odd).zip(to.as_chunks_mut::<2>().0) {
        *t = [e, o];
    }
}

macro_rules! avx2 {
    ($module:ident, $t:ty, $n:literal, $load:ident, $store:ident, |$a:ident, $b:ident| $even:expr, $odd:expr,
     |$e:ident, $o:ident| $first:expr, $second:expr) => {
        #[cfg(target_arch = "x86_64")]
        pub(super) mod $module {
            use std::arch::x86_64::*;

            /// See [`super::split`].
            #[target_feature(enable = "avx2")]
            pub(in crate::pool) fn split(from: &[$t], even: &mut [$t], odd: &mut [$t]) {
                let (f, _) = from.as_chunks::<{ 2 * $n }>();
                let (e, er) = even.as_chunks_mut::<$n>();
                let (o, or) = odd.as_chunks_mut::<$n>();
                let done = f.len().min(e.len());
                for ((f, e), o) in f.iter().zip(e).zip(o) {
                    // SAFETY: the chunks are two vectors and one vector long.
                    unsafe {
                        let ($a, $b) = ($load(f.as_ptr()), $load(f[$n..].as_ptr()));
                        $store(e.as_mut_ptr(), $even);
                        $store(o.as_mut_ptr(), $odd);
                    }
                }
                super::split(&from[done * 2 * $n..], er, or);
            }

            /// See [`super::join`].
            #[target_feature(enable = "avx2")]
            pub(in crate::pool) fn join(even: &[$t], odd: &[$t], to: &mut [$t]) {
                let (e, er) = even.as_chunks::<$n>();
                let (o, or) = odd.as_chunks::<$n>();
                let (t, _) = to.as_chunks_mut::<{ 2 * $n }>();
                let done = t.len().min(e.len());
                for ((t, e), o) in t.iter_mut().zip(e).zip(o) {
                    // SAFETY: as above.
                    unsafe {
                        let ($e, $o) = ($load(e.as_ptr()), $load(o.as_ptr()));
                        $store(t.as_mut_ptr(), $first);
                        $store(t[$n..].as_mut_ptr(), $second);
                    }
                }
                super::join(er, or, &mut to[done * 2 * $n..]);
            }
        }
    };
}

avx2!(
    avx2_f32,
    f32,
    8,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    |a, b| super::order_ps(_mm256_shuffle_ps::<0x88>(a, b)),
    super::order_ps(_mm256_shuffle_ps::<0xdd>(a, b)),
    |e, o| _mm256_permute2f128_ps::<0x20>(_mm256_unpacklo_ps(e, o), _mm256_unpackhi_ps(e, o)),
    _mm256_permute2f128_ps::<0x31>(_mm256_unpacklo_ps(e, o), _mm256_unpackhi_ps(e, o))
);
avx2!(
    avx2_f64,
    f64,
    4,
    _mm256_loadu_pd,
    _mm256_storeu_pd,
    |a, b| _mm256_permute4x64_pd::<0xd8>(_mm256_unpacklo_pd(a, b)),
    _mm256_permute4x64_pd::<0xd8>(_mm256_unpackhi_pd(a, b)),
    |e, o| _mm256_permute2f128_pd::<0x20>(_mm256_unpacklo_pd(e, o), _mm256_unpackhi_pd(e, o)),
    _mm256_permute2f128_pd::<0x31>(_mm256_unpacklo_pd(e, o), _mm256_unpackhi_pd(e, o))
);

/// Exchanges the middle quarters, which a shuffle within halves leaves in the wrong order.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
fn order_ps(v: std::arch::x86_64::__m256) -> std::arch::x86_64::__m256 {
    use std::arch::x86_64::*;
    _mm256_castpd_ps(_mm256_permute4x64_pd::<0xd8>(_mm256_castps_pd(v)))
}
