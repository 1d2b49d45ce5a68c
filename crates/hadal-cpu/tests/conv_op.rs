//! Convolutions and pools as operations: layouts of every kind against naive loops.

mod support;

use hadal_core::ops::{ConvGeometry, Op, PoolGeometry, Window};
use hadal_core::{DType, Shape};
use support::{Rng, Tensor, each, run};

const FLOATS: [DType; 4] = [DType::F32, DType::F64, DType::F16, DType::BF16];

fn window(rng: &mut Rng, pool: bool) -> Window {
    let (kernel, dilation, stride) = (1 + rng.below(3), 1 + rng.below(2), 1 + rng.below(3));
    let reach = dilation * (kernel - 1) + 1;
    // Less than half a window of padding where every window must read something.
    let pad = if pool { (kernel - 1) / 2 } else { rng.below(3) };
    let input = (reach + rng.below(6)).saturating_sub(if pool { 0 } else { 2 * pad }).max(1);
    let fits = (input + 2 * pad).saturating_sub(reach) / stride + 1;
    let output = if input + 2 * pad < reach { 0 } else { fits };
    Window { input, kernel, stride, pad_lo: pad, pad_hi: pad, dilation, output }
}

fn windows(rng: &mut Rng, spatial: usize, pool: bool) -> [Window; 3] {
    let mut w = [Window::UNIT; 3];
    w[3 - spatial..].iter_mut().for_each(|w| *w = window(rng, pool));
    w
}

/// Where tap `k` of window `o` lies in the input, if on it.
fn tap(w: &Window, o: usize, k: usize) -> Option<usize> {
    (o * w.stride + k * w.dilation).checked_sub(w.pad_lo).filter(|&i| i < w.input)
}

#[test]
fn the_three_passes_of_a_convolution() {
    let mut rng = Rng(51);
    for _ in 0..250 {
        let (groups, spatial) = (1 + rng.below(3), 1 + rng.below(3));
        let g = ConvGeometry {
            batch: 1 + rng.below(3),
            in_channels: groups * (1 + rng.below(3)),
            out_channels: groups * (1 + rng.below(3)),
            groups,
            windows: windows(&mut rng, spatial, false),
            spatial,
        };
        let dtype = FLOATS[rng.below(4)];
        let few = |r: &mut Rng| r.below(2) as f64;
        let (xs, ws, ys) = (g.input_shape(), g.weight_shape(), g.output_shape());
        let x = Tensor::strided(&mut rng, &xs, dtype, few);
        let w = Tensor::strided(&mut rng, &ws, dtype, few);
        let dy = Tensor::strided(&mut rng, &ys, dtype, few);
        let mut y = vec![0.0; ys.numel()];
        let mut dx = vec![0.0; xs.numel()];
        let mut dw = vec![0.0; ws.numel()];
        let flat = |shape: &Shape, i: &[usize]| -> usize {
            i.iter().zip(&shape.strides()).map(|(&i, &s)| i * s as usize).sum()
        };
        let (cin, cout) = (g.in_channels / groups, g.out_channels / groups);
        each(&ys, |p| {
            each(&ws[1..], |t| {
                let mut at = vec![p[0], (p[1] / cout) * cin + t[0]];
                for d in 0..spatial {
                    match tap(&g.windows[3 - spatial + d], p[2 + d], t[1 + d]) {
                        Some(i) => at.push(i),
                        None => return,
                    }
                }
                let wt: Vec<usize> = [p[1]].iter().chain(t).copied().collect();
                y[flat(&ys, p)] += x.at(&at) * w.at(&wt);
                dx[flat(&xs, &at)] += dy.at(p) * w.at(&wt);
                dw[flat(&ws, &wt)] += dy.at(p) * x.at(&at);
            });
        });
        // Whole numbers below 256, exact in every float type.
        let got = run(&Op::Conv(g.clone().into()), &[&x, &w], dtype, &ys).unwrap();
        assert_eq!(got, y, "{g:?} {dtype}");
        let got = run(&Op::ConvInputGrad(g.clone().into()), &[&dy, &w], dtype, &xs).unwrap();
        assert_eq!(got, dx, "{g:?} {dtype}");
        let got = run(&Op::ConvWeightGrad(g.clone().into()), &[&x, &dy], dtype, &ws).unwrap();
        if dw.iter().all(|&v| v <= 256.0) {
            assert_eq!(got, dw, "{g:?} {dtype}");
        }
    }
}

#[test]
fn pools_and_their_adjoint() {
    let mut rng = Rng(52);
    for _ in 0..250 {
        let (n, c, spatial) = (1 + rng.below(3), 1 + rng.below(4), 1 + rng.below(3));
        let g = PoolGeometry { planes: n * c, windows: windows(&mut rng, spatial, true), spatial };
        let dtype = FLOATS[rng.below(4)];
        let size = |f: fn(&Window) -> usize| -> Shape {
            [n, c].into_iter().chain(g.windows[3 - spatial..].iter().map(f)).collect()
        };
        let (xs, ys, ks) = (size(|w| w.input), size(|w| w.output), size(|w| w.kernel));
        let x = Tensor::strided(&mut rng, &xs, dtype, |r| r.below(9) as f64 - 4.0);
        let dy = Tensor::strided(&mut rng, &ys, dtype, |r| r.below(4) as f64);
        let (mut sums, mut index, mut maxima) = (Vec::new(), Vec::new(), Vec::new());
        let mut dx = vec![0.0; xs.numel()];
        let strides = xs.strides();
        each(&ys, |p| {
            let (mut sum, mut best) = (0.0, None::<(f64, usize)>);
            each(&ks[2..], |t| {
                let mut at = vec![p[0], p[1]];
                for d in 0..spatial {
                    match tap(&g.windows[3 - spatial + d], p[2 + d], t[d]) {
                        Some(i) => at.push(i),
                        None => return,
                    }
                }
                let v = x.at(&at);
                let place: usize = at.iter().zip(&strides).skip(2).map(|(&i, &s)| i * s as usize).sum();
                sum += v;
                if best.is_none_or(|(b, _)| v > b) {
                    best = Some((v, place));
                }
                dx[p[0] * strides[0] as usize + p[1] * strides[1] as usize + place] += dy.at(p);
            });
            sums.push(sum);
            index.push(best.map_or(-1.0, |(_, place)| place as f64));
            maxima.push(best.map_or(f64::NAN, |(v, _)| v));
        });
        assert_eq!(run(&Op::SumPool(g.clone().into()), &[&x], dtype, &ys).unwrap(), sums, "{g:?}");
        assert_eq!(run(&Op::SumPoolGrad(g.clone().into()), &[&dy], dtype, &xs).unwrap(), dx, "{g:?}");
        assert_eq!(run(&Op::MaxPoolIndex(g.clone().into()), &[&x], DType::I64, &ys).unwrap(), index, "{g:?}");
        assert_eq!(run(&Op::MaxPool(g.clone().into()), &[&x], dtype, &ys).unwrap(), maxima, "{g:?}");
    }
}

#[test]
fn integers_cannot_be_convolved() {
    let g = ConvGeometry {
        batch: 1,
        in_channels: 1,
        out_channels: 1,
        groups: 1,
        windows: [Window::UNIT; 3],
        spatial: 1,
    };
    let x = Tensor::new(&[1, 1, 1], DType::I64, &[1.0]);
    let e = run(&Op::Conv(g.into()), &[&x, &x], DType::I64, &Shape::new(&[1, 1, 1])).unwrap_err();
    assert_eq!(e.message(), "dtype i64 instead of a float");
}
