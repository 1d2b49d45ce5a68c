//! The weight gradient: the adjoint of the forward pass by its kernels. For each of the 36 elements
//! a product of transformed output gradients and transformed sources, over tiles.

use super::plane::{Planes, Side};
use super::transform::{ELEMENTS, Filters, TAPS};
use super::{APART, allowed, pays, side, tiles};
use crate::conv::depth_kernel::Depth;
use crate::gemm::{Epilogue, MatView, MatmulElement, matmul};
use crate::scratch::Scratch;
use crate::threads::{SendPtr, parallel_for};
use hadal_core::ops::{ConvGeometry, Window};

/// Elements of a unit's transformed tiles, at least.
const BUDGET: usize = 1 << 20;

/// The weight gradient of a geometry for which this is worth while.
pub(in crate::conv) struct WeightGrad {
    sides: [Side; 2],
    /// Estimated time.
    pub cycles: f64,
}

impl WeightGrad {
    /// The weight gradient, if it is one.
    pub fn new<T: Depth>(g: &ConvGeometry) -> Option<WeightGrad> {
        T::winograd()?;
        let [z, y, x] = &g.windows;
        if !allowed() || *z != Window::UNIT {
            return None;
        }
        let sides = [side(y, false)?, side(x, false)?];
        let [height, width] = sides.map(|s| s.to);
        let (ins, outs) = (g.in_channels / g.groups, g.out_channels / g.groups);
        let pair = pays(g.batch, tiles(&sides), height * width, [ins, outs])?;
        Some(WeightGrad { sides, cycles: pair * (g.groups * ins * outs) as f64 })
    }

    /// Computes it. False if a product failed, which none does whose arrays have their lengths.
    pub fn run<T: Depth + MatmulElement>(&self, g: &ConvGeometry, x: &[T], dy: &[T], dw: &mut [T]) -> bool {
        let Some(transforms) = T::winograd() else { return false };
        let (ins, outs) = (g.in_channels / g.groups, g.out_channels / g.groups);
        let matrix = ins * outs;
        let most = BUDGET.max(ELEMENTS * matrix) / (ELEMENTS * (ins + outs));
        let sources = Planes::new(self.sides, g.batch, most);
        let gradients = Planes::new(self.sides.map(|s| Side { from: s.to, pad: 0, ..s }), g.batch, most);
        let mut sums = Scratch::<T>::new(ELEMENTS * matrix);
        let sums = sums.slice();
        let mut done = true;
        for group in 0..g.groups {
            for unit in 0..sources.units() {
                let unit = &sources.unit(unit);
                let row = unit.tiles();
                let (x_step, dy_step) = (ins * row + APART, outs * row + APART);
                let mut x_tiles = Scratch::<T>::new(ELEMENTS * x_step);
                let mut dy_tiles = Scratch::<T>::new(ELEMENTS * dy_step);
                let (x_tiles, dy_tiles) = (x_tiles.slice(), dy_tiles.slice());
                let (to_x, to_dy) = (SendPtr::new(x_tiles.as_mut_ptr()), SendPtr::new(dy_tiles.as_mut_ptr()));
                parallel_for(ins + outs, &|c| {
                    let (planes, f, from, channels, c, to, step) = if c < ins {
                        (&sources, transforms.source, x, ins, c, to_x, x_step)
                    } else {
                        (&gradients, transforms.cotangent, dy, outs, c - ins, to_dy, dy_step)
                    };
                    let mut work = planes.work();
                    for image in unit.images.clone() {
                        let plane = (planes.image(image).0 * g.groups + group) * channels + c;
                        // SAFETY: row `c` of each element's matrix belongs to this task.
                        unsafe {
                            let to = to.get().add(c * row);
                            planes.transform(f, from, plane, unit, image, &mut work, to, step, row);
                        }
                    }
                });
                let dy_steps = [dy_step as isize];
                let x_steps = [x_step as isize];
                let a = MatView { batch_strides: &dy_steps, ..MatView::row_major(dy_tiles, row) };
                let b = MatView { batch_strides: &x_steps, ..MatView::row_major(x_tiles, row).t() };
                let add = unit.images.start > 0 || unit.rows.start > 0;
                done &= matmul(&[ELEMENTS], outs, ins, row, a, b, sums, add, &Epilogue::NONE).is_ok();
            }
            let (ks, sums) = (T::kernels(), SendPtr::new(sums.as_mut_ptr()));
            let to = SendPtr::new(dw[group * matrix * TAPS..][..matrix * TAPS].as_mut_ptr());
            parallel_for(outs, &|o| {
                let mut taps = Scratch::<T>::new(TAPS * transforms.lanes);
                let taps = taps.slice();
                for c in (0..ins).step_by(transforms.lanes) {
                    let count = transforms.lanes.min(ins - c);
                    // SAFETY: `count` elements of row `o` of each sum, and as many kernels of the result,
                    // which belong to this task.
                    unsafe {
                        (transforms.kernel_grad)(&Filters {
                            taps: taps.as_mut_ptr(),
                            tap_step: transforms.lanes,
                            elements: sums.get().add(o * ins + c),
                            step: matrix,
                            count,
                        });
                        let to = to.get().add((o * ins + c) * TAPS);
                        (ks.pack)(taps.as_ptr(), transforms.lanes as isize, 1, TAPS, TAPS, count, to);
                    }
                }
            });
        }
        done
    }
}
