//! Ways that only some shapes take: Winograd, images along the lanes, skipped taps, packed weights.

use super::*;

/// Winograd's algorithm against direct sums and f64, on every instruction set, with partial tiles,
/// groups, several areas and few or many images.
#[test]
fn winograd_stays_within_its_error_bound() {
    let _turn = GLOBAL.lock().unwrap_or_else(|e| e.into_inner());
    let mut rng = Lcg(61);
    let side = |input: usize, lo: usize, hi: usize| Window {
        input,
        kernel: 3,
        pad_lo: lo,
        pad_hi: hi,
        output: (input + lo + hi).saturating_sub(2),
        ..Window::UNIT
    };
    let spread = |input: usize, dilation: usize, pad: usize| Window {
        dilation,
        output: input + 2 * pad - 2 * dilation,
        ..side(input, pad, pad)
    };
    for (batch, ci, co, groups, windows) in [
        (1, 16, 16, 1, [Window::UNIT, side(24, 1, 1), side(24, 1, 1)]),
        (3, 24, 20, 1, [Window::UNIT, spread(25, 2, 2), spread(22, 2, 2)]),
        (2, 32, 36, 2, [Window::UNIT, spread(31, 3, 1), side(29, 1, 1)]),
        (6, 17, 16, 1, [Window::UNIT, spread(12, 1, 0), spread(33, 4, 5)]),
        (2, 40, 17, 1, [Window::UNIT, side(23, 0, 2), side(30, 2, 1)]),
        (1, 32, 64, 2, [Window::UNIT, side(27, 1, 0), side(25, 0, 0)]),
        (1, 160, 16, 1, [Window::UNIT, side(60, 1, 1), side(23, 1, 1)]),
        (17, 16, 18, 1, [Window::UNIT, side(22, 1, 1), side(26, 1, 1)]),
        (19, 33, 70, 1, [Window::UNIT, side(6, 1, 1), side(7, 1, 1)]),
        (16, 64, 130, 2, [Window::UNIT, side(12, 1, 0), side(11, 1, 1)]),
        (70, 80, 40, 1, [Window::UNIT, side(3, 1, 1), side(4, 2, 2)]),
    ] {
        let g = ConvGeometry { batch, in_channels: ci, out_channels: co, groups, windows, spatial: 2 };
        let case = Case::<f32>::random(&mut rng, g);
        let wide = |v: &[f32]| v.iter().map(|&v| v as f64).collect::<Vec<f64>>();
        let want = case.want();
        // Entries lie between -1 and 1; the scale of the epilogue does too, its map doubles.
        let unit = f32::EPSILON as f64 * 2.0;
        let channels = [ci / groups, co / groups].map(|n| n as f64);
        for level in [Level::Portable, Level::Avx2, Level::Avx512] {
            if limit_level(level) != level {
                continue;
            }
            compare(&case, 1e-3, &format!("{level:?}"));
            for (allowed, bound) in [(true, 60.0), (false, 6.0)] {
                hadal_cpu::conv::set_winograd(allowed);
                let got = case.run();
                // For the weight gradient each tile of sixteen pixels counts as a channel.
                let tiles = (batch * windows[1].output * windows[2].output) as f64 / 16.0;
                let sums = [
                    (&got.y, &want.y, channels[0]),
                    (&got.dx, &want.dx, channels[1]),
                    (&got.dw, &want.dw, tiles),
                ];
                for (got, want, n) in sums {
                    let errors = wide(got).iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                    let limit = bound * unit * n;
                    assert!(errors <= limit, "{level:?} {allowed}: {errors:e} above {limit:e} {:?}", case.g);
                }
            }
            hadal_cpu::conv::set_winograd(true);
        }
    }
    limit_level(Level::Avx512);
}

/// Small planes, which are computed with images or result channels along the lanes: strides,
/// dilations, groups, three dimensions, lanes and panels that are not full.
#[test]
fn small_planes_agree_with_naive_loops() {
    let _turn = GLOBAL.lock().unwrap_or_else(|e| e.into_inner());
    let mut rng = Lcg(71);
    let side = |input: usize, kernel: usize, stride: usize, pad: usize, dilation: usize| Window {
        input,
        kernel,
        stride,
        pad_lo: pad,
        pad_hi: pad,
        dilation,
        output: (input + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1,
    };
    let unit = Window::UNIT;
    for (batch, ci, co, groups, windows, spatial) in [
        (16, 48, 47, 1, [unit, side(3, 3, 1, 1, 1), side(3, 3, 1, 1, 1)], 2),
        (24, 34, 36, 2, [unit, side(6, 3, 2, 1, 1), side(5, 3, 2, 1, 1)], 2),
        (16, 17, 40, 1, [unit, side(6, 1, 2, 0, 1), side(6, 1, 2, 0, 1)], 2),
        (15, 70, 18, 1, [unit, side(7, 3, 1, 2, 2), side(4, 2, 3, 1, 1)], 2),
        (33, 16, 16, 1, [side(3, 2, 1, 0, 1), side(4, 3, 2, 1, 1), side(3, 3, 1, 1, 1)], 3),
        (16, 80, 66, 1, [unit, side(8, 4, 2, 1, 1), side(8, 4, 2, 1, 1)], 2),
        // Few images: there result channels are the lanes.
        (1, 140, 70, 1, [unit, side(7, 3, 1, 1, 1), side(7, 3, 1, 1, 1)], 2),
        (2, 68, 66, 2, [unit, side(7, 3, 2, 1, 1), side(15, 3, 2, 1, 1)], 2),
        (3, 33, 40, 1, [side(3, 2, 1, 1, 1), side(4, 3, 1, 2, 2), side(5, 2, 3, 0, 1)], 3),
        (1, 40, 40, 1, [unit, unit, side(17, 5, 1, 2, 1)], 1),
    ] {
        let g = ConvGeometry { batch, in_channels: ci, out_channels: co, groups, windows, spatial };
        let case = Case::<f32>::random(&mut rng, g);
        for level in [Level::Portable, Level::Avx2, Level::Avx512] {
            if limit_level(level) == level {
                compare(&case, 1e-3, &format!("{level:?}"));
            }
        }
    }
    limit_level(Level::Avx512);
}

/// Extents far beyond the arrays cost neither memory nor time.
#[test]
fn far_taps_and_strides_are_skipped() {
    let _turn = GLOBAL.lock().unwrap_or_else(|e| e.into_inner());
    let mut rng = Lcg(51);
    let far = 1 << 30;
    let dilated =
        Window { input: 6, kernel: 3, stride: 1, pad_lo: far, pad_hi: far, dilation: far, output: 6 };
    let leaping =
        Window { input: 3, kernel: 2, stride: far, pad_lo: far, pad_hi: far, dilation: 1, output: 3 };
    for (co, w) in [(2, dilated), (9, dilated), (2, leaping), (9, leaping)] {
        let near = Window { input: 5, kernel: 3, output: 5, pad_lo: 1, pad_hi: 1, ..Window::UNIT };
        let g = ConvGeometry {
            batch: 2,
            in_channels: 3,
            out_channels: co,
            groups: 1,
            windows: [Window::UNIT, near, w],
            spatial: 2,
        };
        compare(&Case::<f64>::random(&mut rng, g), 1e-11, "far");
    }
}

#[test]
fn packed_weights_are_for_one_geometry_and_one_setting() {
    let _turn = GLOBAL.lock().unwrap_or_else(|e| e.into_inner());
    let side = Window { input: 4, kernel: 3, output: 2, ..Window::UNIT };
    let g = ConvGeometry {
        batch: 1,
        in_channels: 1,
        out_channels: 1,
        groups: 1,
        windows: [Window::UNIT, Window::UNIT, side],
        spatial: 1,
    };
    let err = PackedConv::<f32>::new(&[1.0; 2], &g).unwrap_err();
    assert_eq!(err, "conv: the weight has 2 elements instead of 3");
    let packed = PackedConv::<f32>::new(&[1.0; 3], &g).unwrap();
    assert_eq!(packed.geometry(), &g);
    let mut y = [0.0; 2];
    let err = packed.forward(&[1.0; 5], &mut y, ConvEpilogue::NONE).unwrap_err();
    assert_eq!(err, "conv: input, weight and output have [5, 3, 2] elements instead of [4, 3, 2]");
    hadal_cpu::conv::set_winograd(false);
    let done = packed.forward(&[1.0; 4], &mut y, ConvEpilogue::NONE);
    hadal_cpu::conv::set_winograd(true);
    assert_eq!(done.unwrap_err(), "conv: weights were packed under other settings; pack them again");
    packed.forward(&[1.0; 4], &mut y, ConvEpilogue::NONE).unwrap();
    assert_eq!(y, [3.0, 3.0]);
}
