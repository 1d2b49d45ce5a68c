//! Convolutions against naive f64 loops.

#[path = "../common/mod.rs"]
mod common;
mod ways;

use common::{Lcg, assert_close};

use hadal_core::ops::{ConvGeometry, Window};
use hadal_cpu::conv::{
    ConvElement, ConvEpilogue, PackedConv, check, conv_forward, conv_input_grad, conv_weight_grad,
};
use hadal_cpu::gemm::Activation;
use hadal_cpu::simd::{Level, limit_level};
use hadal_cpu::threads::set_threads;
use half::{bf16, f16};
use std::sync::Mutex;

/// Tests that change the level or the number of threads take turns.
static GLOBAL: Mutex<()> = Mutex::new(());

/// A window that fits, with an output that may fall short of what fits.
fn window(rng: &mut Lcg, top: usize) -> Window {
    loop {
        let mut w = Window {
            input: rng.range(1, top),
            kernel: rng.pick(&[1, 1, 2, 3, 3, 5]),
            stride: rng.pick(&[1, 1, 1, 2, 3, 4]),
            pad_lo: rng.range(0, 3),
            pad_hi: rng.range(0, 3),
            dilation: rng.pick(&[1, 1, 2, 3]),
            output: 0,
        };
        let room = (w.input + w.pad_lo + w.pad_hi) as isize - (w.dilation * (w.kernel - 1) + 1) as isize;
        if room >= 0 {
            let most = room as usize / w.stride + 1;
            w.output = if rng.range(0, 9) == 0 { rng.range(1, most) } else { most };
            return w;
        }
    }
}

fn geometry(rng: &mut Lcg) -> ConvGeometry {
    let spatial = rng.pick(&[1, 2, 2, 2, 3]);
    let mut windows = [Window::UNIT; 3];
    let top = [60, 17, 7][spatial - 1];
    for w in &mut windows[3 - spatial..] {
        *w = window(rng, top);
    }
    let groups = rng.pick(&[1, 1, 2, 3, 5]);
    let (ci, co) = match rng.range(0, 3) {
        0 => (1, 1),
        1 => (rng.range(1, 4), rng.range(1, 4)),
        2 => (rng.range(1, 4), rng.range(5, 40)),
        _ => (rng.range(3, 20), rng.range(1, 18)),
    };
    ConvGeometry {
        batch: rng.range(1, 4),
        in_channels: groups * ci,
        out_channels: groups * co,
        groups,
        windows,
        spatial,
    }
}

/// One input channel for each output channel, with the kernels that have loops of their own, and
/// some that nearly do.
fn depthwise(rng: &mut Lcg) -> ConvGeometry {
    let (kernel, stride) = (rng.pick(&[3, 3, 5, 7]), rng.pick(&[1, 1, 2]));
    let top = rng.pick(&[8, 20, 40]);
    let side = |rng: &mut Lcg| loop {
        let input = rng.range(1, top);
        let (pad_lo, pad_hi) = (rng.range(0, kernel - 1), rng.range(0, kernel));
        let dilation = if rng.range(0, 9) == 0 { 2 } else { 1 };
        let room = (input + pad_lo + pad_hi) as isize - (dilation * (kernel - 1) + 1) as isize;
        if room >= 0 {
            let most = room as usize / stride + 1;
            let output = if rng.range(0, 9) == 0 { rng.range(1, most) } else { most };
            break Window { input, kernel, stride, pad_lo, pad_hi, dilation, output };
        }
    };
    let channels = rng.range(1, 6);
    ConvGeometry {
        batch: rng.range(1, 4),
        in_channels: channels,
        out_channels: channels * rng.pick(&[1, 1, 2, 3]),
        groups: channels,
        windows: [Window::UNIT, side(rng), side(rng)],
        spatial: 2,
    }
}

fn pointwise(rng: &mut Lcg) -> ConvGeometry {
    let (h, w) = (rng.range(1, 9), rng.range(1, 9));
    let side = |n| Window { input: n, output: n, ..Window::UNIT };
    let groups = rng.pick(&[1, 1, 3]);
    ConvGeometry {
        batch: rng.range(1, 4),
        in_channels: groups * rng.range(1, 30),
        out_channels: groups * rng.range(1, 30),
        groups,
        windows: [Window::UNIT, side(h), side(w)],
        spatial: 2,
    }
}

/// Calls `f(x index, weight index, y index)` for every multiplication of the convolution.
fn each(g: &ConvGeometry, mut f: impl FnMut(usize, usize, usize)) {
    let [wz, wy, wx] = &g.windows;
    let (ci, co) = (g.in_channels / g.groups, g.out_channels / g.groups);
    let at = |w: &Window, o: usize, k: usize| {
        let i = (o * w.stride + k * w.dilation) as isize - w.pad_lo as isize;
        (i >= 0 && (i as usize) < w.input).then_some(i as usize)
    };
    for n in 0..g.batch {
        for o in 0..g.out_channels {
            for c in 0..ci {
                let channel = o / co * ci + c;
                for oz in 0..wz.output {
                    for oy in 0..wy.output {
                        for ox in 0..wx.output {
                            let y = (((n * g.out_channels + o) * wz.output + oz) * wy.output + oy)
                                * wx.output
                                + ox;
                            for kz in 0..wz.kernel {
                                for ky in 0..wy.kernel {
                                    for kx in 0..wx.kernel {
                                        let w = (((o * ci + c) * wz.kernel + kz) * wy.kernel + ky)
                                            * wx.kernel
                                            + kx;
                                        let (Some(z), Some(iy), Some(ix)) =
                                            (at(wz, oz, kz), at(wy, oy, ky), at(wx, ox, kx))
                                        else {
                                            continue;
                                        };
                                        let x = (((n * g.in_channels + channel) * wz.input + z) * wy.input
                                            + iy)
                                            * wx.input
                                            + ix;
                                        f(x, w, y);
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

struct Results<T> {
    y: Vec<T>,
    dx: Vec<T>,
    dw: Vec<T>,
}

/// What one side's results go through.
struct Tail<T> {
    scale: Option<Vec<T>>,
    bias: Option<Vec<T>>,
    residual: Option<Vec<T>>,
}

struct Case<T> {
    g: ConvGeometry,
    x: Vec<T>,
    w: Vec<T>,
    dy: Vec<T>,
    /// For the forward pass and for the input gradient.
    tails: [Tail<T>; 2],
    relu: bool,
    /// Whether the epilogue ends with a function, which doubles and adds a part of the place.
    map: bool,
}

/// The part of a place that the test's map adds.
fn place_part(at: usize) -> f64 {
    (at % 7) as f64 / 8.0
}

fn map<T: ConvElement>(at: usize, values: &mut [T]) {
    for (i, v) in values.iter_mut().enumerate() {
        *v = T::from_f64(2.0 * v.to_f64() + place_part(at + i));
    }
}

impl<T: ConvElement> Case<T> {
    fn random(rng: &mut Lcg, g: ConvGeometry) -> Self {
        let vec = |rng: &mut Lcg, n: usize| (0..n).map(|_| T::from_f64(rng.unit())).collect::<Vec<T>>();
        let x = vec(rng, g.input_shape().numel());
        let w = vec(rng, g.weight_shape().numel());
        let dy = vec(rng, g.output_shape().numel());
        let plain = rng.range(0, 1) == 0;
        let tail = |rng: &mut Lcg, channels: usize, len: usize| {
            let mut some = |n: usize, odds: usize| (!plain && rng.range(0, odds) == 0).then(|| vec(rng, n));
            Tail { scale: some(channels, 1), bias: some(channels, 0), residual: some(len, 1) }
        };
        let tails = [tail(rng, g.out_channels, dy.len()), tail(rng, g.in_channels, x.len())];
        let (relu, map) = (rng.range(0, 2) == 0, rng.range(0, 3) == 0);
        Case { x, w, dy, tails, relu, map, g }
    }
    fn epilogue(&self, side: usize) -> ConvEpilogue<'_, T> {
        let t = &self.tails[side];
        ConvEpilogue {
            scale: t.scale.as_deref(),
            bias: t.bias.as_deref(),
            residual: t.residual.as_deref(),
            activation: if self.relu { Activation::Relu } else { Activation::None },
            clamp: self.bounds().map(|b| b.map(T::from_f64)),
            map: if self.map { Some(&map::<T>) } else { None },
        }
    }
    fn bounds(&self) -> Option<[f64; 2]> {
        (self.map && self.tails[0].scale.is_some()).then_some([-0.25, 0.5])
    }
    fn run(&self) -> Results<T> {
        // What the arrays hold before must not matter.
        let dirt = T::from_f64(f64::NAN);
        let (mut y, mut dx, mut dw) =
            (vec![dirt; self.dy.len()], vec![dirt; self.x.len()], vec![dirt; self.w.len()]);
        conv_forward(&self.x, &self.w, &mut y, &self.g, self.epilogue(0)).unwrap();
        conv_input_grad(&self.dy, &self.w, &mut dx, &self.g, self.epilogue(1)).unwrap();
        conv_weight_grad(&self.x, &self.dy, &mut dw, &self.g).unwrap();
        Results { y, dx, dw }
    }
    fn want(&self) -> Results<f64> {
        let f = |v: &[T]| v.iter().map(|v| v.to_f64()).collect::<Vec<f64>>();
        let (x, w, dy) = (f(&self.x), f(&self.w), f(&self.dy));
        let mut r = Results { y: vec![0.0; dy.len()], dx: vec![0.0; x.len()], dw: vec![0.0; w.len()] };
        each(&self.g, |i, k, o| {
            r.y[o] += x[i] * w[k];
            r.dx[i] += dy[o] * w[k];
            r.dw[k] += dy[o] * x[i];
        });
        for (out, channels, tail) in
            [(&mut r.y, self.g.out_channels, &self.tails[0]), (&mut r.dx, self.g.in_channels, &self.tails[1])]
        {
            let plane = out.len() / (self.g.batch * channels);
            for (i, v) in out.iter_mut().enumerate() {
                let channel = i / plane % channels;
                *v *= tail.scale.as_ref().map_or(1.0, |s| s[channel].to_f64());
                *v += tail.bias.as_ref().map_or(0.0, |b| b[channel].to_f64());
                *v += tail.residual.as_ref().map_or(0.0, |r| r[i].to_f64());
                if self.relu {
                    *v = v.max(0.0);
                }
                if let Some([low, high]) = self.bounds() {
                    *v = v.clamp(low, high);
                }
                if self.map {
                    *v = 2.0 * *v + place_part(i);
                }
            }
        }
        r
    }
}

fn compare<T: ConvElement>(case: &Case<T>, tol: f64, what: &str) {
    let f = |v: &[T]| v.iter().map(|v| v.to_f64()).collect::<Vec<f64>>();
    set_threads(1);
    let (one, want) = (case.run(), case.want());
    assert_close(&f(&one.y), &want.y, tol, &format!("{what} forward {:?}", case.g));
    assert_close(&f(&one.dx), &want.dx, tol, &format!("{what} input gradient {:?}", case.g));
    assert_close(&f(&one.dw), &want.dw, tol, &format!("{what} weight gradient {:?}", case.g));
    let same = |a: &[T], b: &[T]| a.iter().zip(b).all(|(a, b)| a.to_f64().to_bits() == b.to_f64().to_bits());
    let packed = PackedConv::new(&case.w, &case.g).unwrap();
    let mut y = vec![T::from_f64(f64::NAN); one.y.len()];
    packed.forward(&case.x, &mut y, case.epilogue(0)).unwrap();
    assert!(same(&one.y, &y), "{what}: packed weights change {:?}", case.g);
    for threads in [2, 4] {
        set_threads(threads);
        let again = case.run();
        assert!(
            same(&one.y, &again.y) && same(&one.dx, &again.dx) && same(&one.dw, &again.dw),
            "{what}: {threads} threads change {:?}",
            case.g
        );
    }
}

fn random_cases<T: ConvElement>(seed: u64, count: usize, tol: f64) {
    let _turn = GLOBAL.lock().unwrap_or_else(|e| e.into_inner());
    let mut rng = Lcg(seed);
    for level in [Level::Portable, Level::Avx2, Level::Avx512] {
        if limit_level(level) != level {
            continue;
        }
        for i in 0..count {
            let g = match rng.range(0, 9) {
                0 => pointwise(&mut rng),
                1..4 => depthwise(&mut rng),
                _ => geometry(&mut rng),
            };
            compare(&Case::<T>::random(&mut rng, g), tol, &format!("{level:?} case {i}"));
        }
    }
    limit_level(Level::Avx512);
}

#[test]
fn f32_agrees_with_naive_loops() {
    random_cases::<f32>(21, 160, 2e-4);
}

#[test]
fn f64_agrees_with_naive_loops() {
    random_cases::<f64>(22, 160, 1e-11);
}

#[test]
fn halves_agree_with_naive_loops() {
    random_cases::<f16>(23, 20, 2e-3);
    random_cases::<bf16>(24, 20, 2e-2);
}

/// Sizes that need several areas, blocks of the sum and chunks.
#[test]
fn large_shapes_cross_every_block_border() {
    let _turn = GLOBAL.lock().unwrap_or_else(|e| e.into_inner());
    limit_level(Level::Avx512);
    let mut rng = Lcg(31);
    let side = |input: usize, kernel: usize, stride: usize, pad: usize| Window {
        input,
        kernel,
        stride,
        pad_lo: pad,
        pad_hi: pad,
        dilation: 1,
        output: (input + 2 * pad - kernel) / stride + 1,
    };
    let unit = Window::UNIT;
    for (batch, ci, co, groups, windows, spatial) in [
        (2, 150, 70, 1, [unit, side(12, 3, 1, 1), side(13, 3, 1, 1)], 2),
        (1, 3, 20, 1, [unit, side(90, 7, 2, 3), side(70, 7, 2, 3)], 2),
        (1, 2, 3, 1, [unit, unit, side(5000, 9, 1, 4)], 1),
        (1, 2, 9, 1, [unit, unit, side(4000, 10, 5, 0)], 1),
        (3, 40, 40, 40, [unit, side(30, 3, 1, 1), side(31, 3, 1, 1)], 2),
        (20, 1, 6, 1, [unit, side(28, 5, 1, 2), side(28, 5, 1, 2)], 2),
        (1, 6, 16, 1, [side(9, 3, 1, 1), side(20, 3, 2, 1), side(16, 3, 1, 0)], 3),
        (2, 300, 12, 1, [unit, side(4, 3, 1, 1), side(4, 3, 1, 1)], 2),
        (3, 20, 30, 1, [unit, side(15, 1, 1, 0), side(17, 1, 1, 0)], 2),
    ] {
        let g = ConvGeometry { batch, in_channels: ci, out_channels: co, groups, windows, spatial };
        compare(&Case::<f32>::random(&mut rng, g.clone()), 1e-3, "f32");
        compare(&Case::<f64>::random(&mut rng, g), 1e-11, "f64");
    }
}

#[test]
fn empty_arrays_are_fine() {
    let side = Window { input: 3, kernel: 3, output: 1, ..Window::UNIT };
    let g = ConvGeometry {
        batch: 2,
        in_channels: 0,
        out_channels: 3,
        groups: 1,
        windows: [Window::UNIT, side, side],
        spatial: 2,
    };
    let mut y = [9.0f32; 6];
    let e = ConvEpilogue {
        bias: Some(&[1.0, -2.0, 3.0][..]),
        activation: Activation::Relu,
        ..ConvEpilogue::NONE
    };
    conv_forward(&[], &[], &mut y, &g, e).unwrap();
    assert_eq!(y, [1.0, 0.0, 3.0, 1.0, 0.0, 3.0]);
    let g = ConvGeometry { in_channels: 1, out_channels: 0, ..g };
    let mut dx = [9.0f32; 18];
    conv_input_grad(&[], &[], &mut dx, &g, ConvEpilogue::NONE).unwrap();
    assert_eq!(dx, [0.0; 18]);
    let g = ConvGeometry { batch: 0, out_channels: 1, ..g };
    let mut dw = [9.0f32; 9];
    conv_weight_grad(&[], &[], &mut dw, &g).unwrap();
    assert_eq!(dw, [0.0; 9]);
    let none = Window { input: 2, kernel: 3, output: 0, ..Window::UNIT };
    let g = ConvGeometry { batch: 1, windows: [Window::UNIT, none, none], ..g };
    let mut dx = [9.0f32; 4];
    conv_input_grad(&[], &[1.0; 9], &mut dx, &g, ConvEpilogue::NONE).unwrap();
    conv_forward(&dx, &[1.0; 9], &mut [], &g, ConvEpilogue::NONE).unwrap();
    assert_eq!(dx, [0.0; 4]);
}

#[test]
fn nan_reaches_only_the_windows_that_read_it() {
    let side = Window { input: 8, kernel: 3, pad_lo: 1, pad_hi: 1, output: 8, ..Window::UNIT };
    let g = ConvGeometry {
        batch: 1,
        in_channels: 1,
        out_channels: 5,
        groups: 1,
        windows: [Window::UNIT, side, side],
        spatial: 2,
    };
    let (mut x, w, dy) = (vec![1.0f32; 64], vec![1.0f32; 45], vec![1.0f32; 320]);
    x[7] = f32::NAN; // the end of the first row
    let mut y = vec![0.0; 320];
    conv_forward(&x, &w, &mut y, &g, ConvEpilogue::NONE).unwrap();
    for (i, v) in y.iter().enumerate() {
        let (r, c) = (i / 8 % 8, i % 8);
        assert_eq!(v.is_nan(), r <= 1 && c >= 6, "row {r} column {c}");
    }
    // The weights of taps that never meet the element stay finite.
    let mut dw = vec![0.0; 45];
    conv_weight_grad(&x, &dy, &mut dw, &g).unwrap();
    for (i, v) in dw.iter().enumerate() {
        let (ky, kx) = (i / 3 % 3, i % 3);
        assert_eq!(v.is_nan(), ky <= 1 && kx >= 1, "tap {ky} {kx}");
    }
}

#[test]
fn wrong_calls_are_errors() {
    let side = Window { input: 4, kernel: 3, output: 2, ..Window::UNIT };
    let g = ConvGeometry {
        batch: 1,
        in_channels: 2,
        out_channels: 4,
        groups: 2,
        windows: [Window::UNIT, Window::UNIT, side],
        spatial: 1,
    };
    assert_eq!(check(&g), Ok(()));
    let odd = ConvGeometry { groups: 3, ..g.clone() };
    assert_eq!(check(&odd).unwrap_err(), "conv: 2 input and 4 output channels cannot be split into 3 groups");
    let mut wide = g.clone();
    wide.windows[2].output = 3;
    assert!(check(&wide).unwrap_err().starts_with("conv: 3 windows do not fit the padded input"));
    let mut still = g.clone();
    still.windows[2].stride = 0;
    assert!(check(&still).unwrap_err().starts_with("conv: kernel, stride and dilation must be at least 1"));
    let mut y = [0.0f32; 8];
    let err = conv_forward(&[0.0; 8], &[0.0; 11], &mut y, &g, ConvEpilogue::NONE).unwrap_err();
    assert_eq!(err, "conv: input, weight and output have [8, 11, 8] elements instead of [8, 12, 8]");
    let e = ConvEpilogue { bias: Some(&[0.0][..]), ..ConvEpilogue::NONE };
    let err = conv_forward(&[0.0; 8], &[0.0; 12], &mut y, &g, e).unwrap_err();
    assert_eq!(err, "conv: a bias of 1 values for 4 channels");
    let e = ConvEpilogue { scale: Some(&[0.0; 5][..]), ..ConvEpilogue::NONE };
    let err = conv_forward(&[0.0; 8], &[0.0; 12], &mut y, &g, e).unwrap_err();
    assert_eq!(err, "conv: a scale of 5 values for 4 channels");
    let e = ConvEpilogue { residual: Some(&[0.0; 9][..]), ..ConvEpilogue::NONE };
    let err = conv_forward(&[0.0; 8], &[0.0; 12], &mut y, &g, e).unwrap_err();
    assert_eq!(err, "conv: a residual of 9 values for a result of 8");
}

/// The convolution and its gradients are adjoint: `<conv(x, w), dy> = <x, dx> = <w, dw>`.
#[test]
fn gradients_are_adjoint() {
    let _turn = GLOBAL.lock().unwrap_or_else(|e| e.into_inner());
    let mut rng = Lcg(77);
    for _ in 0..30 {
        let g = geometry(&mut rng);
        let mut case = Case::<f64>::random(&mut rng, g);
        case.tails = [(); 2].map(|()| Tail { scale: None, bias: None, residual: None });
        (case.relu, case.map) = (false, false);
        let r = case.run();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let (a, b, c) = (dot(&r.y, &case.dy), dot(&r.dx, &case.x), dot(&r.dw, &case.w));
        let size = a.abs().max(1.0);
        assert!((a - b).abs() < 1e-9 * size && (a - c).abs() < 1e-9 * size, "{a} {b} {c} {:?}", case.g);
    }
}

/// Elements are what they are in half precision.
#[test]
fn halves_round_once() {
    let row = Window { input: 2, kernel: 2, output: 1, ..Window::UNIT };
    let g = ConvGeometry {
        batch: 1,
        in_channels: 1,
        out_channels: 1,
        groups: 1,
        windows: [Window::UNIT, Window::UNIT, row],
        spatial: 1,
    };
    let mut y = [f16::ZERO];
    let x = [f16::from_f64(2048.0), f16::from_f64(1.0)];
    let e = ConvEpilogue { bias: Some(&[f16::from_f64(1.0)][..]), ..ConvEpilogue::NONE };
    conv_forward(&x, &[f16::ONE, f16::ONE], &mut y, &g, e).unwrap();
    assert_eq!(y[0].to_f64(), 2050.0, "2049 after the sum would have become 2048");
}
