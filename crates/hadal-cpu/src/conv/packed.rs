//! Weights that are brought into the kernels' form once and used many times.

use super::{ConvElement, ConvEpilogue, check_lengths, check_packable, lengths, winograd};
use crate::simd::{Level, level};
use hadal_core::Buffer;
use hadal_core::ops::ConvGeometry;
use std::marker::PhantomData;

/// The weights of a forward pass, packed for one geometry (the batch included): what
/// [`conv_forward`](super::conv_forward) otherwise does in every call. Results are the same, bit for
/// bit.
///
/// It takes about as much memory as the weights, for some 3x3 kernels (Winograd's) four times that;
/// for f16 and bf16, whose weights are kept in f32, twice that.
///
/// ```
/// use hadal_core::ops::{ConvGeometry, Window};
/// use hadal_cpu::conv::{ConvEpilogue, PackedConv};
/// let row = Window { input: 4, kernel: 2, output: 3, ..Window::UNIT };
/// let g = ConvGeometry {
///     batch: 1, in_channels: 1, out_channels: 1, groups: 1,
///     windows: [Window::UNIT, Window::UNIT, row], spatial: 1,
/// };
/// let packed = PackedConv::<f32>::new(&[1.0, -1.0], &g)?;
/// let mut y = [0.0; 3];
/// packed.forward(&[1.0, 2.0, 4.0, 8.0], &mut y, ConvEpilogue::NONE)?;
/// assert_eq!(y, [-1.0, -2.0, -4.0]);
/// # Ok::<(), String>(())
/// ```
pub struct PackedConv<T: ConvElement> {
    geometry: ConvGeometry,
    weights: Buffer,
    /// What the form depends on besides the geometry.
    level: Level,
    winograd: bool,
    kind: PhantomData<T>,
}

impl<T: ConvElement> PackedConv<T> {
    /// Packs weights, `[out_channels, in_channels / groups, depth, height, width]`.
    ///
    /// # Errors
    /// When the geometry is impossible, the slice does not have its length, or there is no memory.
    pub fn new(w: &[T], g: &ConvGeometry) -> Result<Self, String> {
        let [_, want, _] = lengths(g)?;
        if w.len() != want {
            return Err(format!("conv: the weight has {} elements instead of {want}", w.len()));
        }
        check_packable(g)?;
        let bytes = T::packed_len(g).checked_mul(size_of::<T::Work>());
        let Some(mut weights) = bytes.and_then(Buffer::try_new) else {
            return Err(format!("conv: no memory for packed weights of {} elements", w.len()));
        };
        T::pack(w, g, weights.as_mut_slice::<T::Work>());
        let (level, winograd) = (level(), winograd::allowed());
        Ok(PackedConv { geometry: g.clone(), weights, level, winograd, kind: PhantomData })
    }

    /// [`conv_forward`](super::conv_forward) with these weights.
    ///
    /// # Errors
    /// When a slice does not have its length, or the instruction set or the permission to use
    /// Winograd's algorithm has been changed since packing.
    pub fn forward(&self, x: &[T], y: &mut [T], e: ConvEpilogue<'_, T>) -> Result<(), String> {
        let g = &self.geometry;
        check_lengths([x.len(), lengths(g)?[1], y.len()], g)?;
        e.check(g.out_channels, y.len())?;
        if (self.level, self.winograd) != (level(), winograd::allowed()) {
            return Err("conv: weights were packed under other settings; pack them again".into());
        }
        T::forward_packed(x, self.weights.as_slice::<T::Work>(), y, g, e);
        Ok(())
    }

    /// The geometry that the weights were packed for.
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// Bytes of the packed weights.
    pub fn bytes(&self) -> usize {
        self.weights.len()
    }
}

impl<T: ConvElement> std::fmt::Debug for PackedConv<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackedConv").field("geometry", &self.geometry).field("bytes", &self.bytes()).finish()
    }
}
