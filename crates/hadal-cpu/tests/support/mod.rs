//! Tensors with random layouts, and naive reading of them.
#![allow(dead_code)] // not every test file uses everything

use hadal_core::ops::{Arg, Backend, Data, Op, Out};
use hadal_core::smallvec::SmallVec;
use hadal_core::{Buffer, DType, Element, Layout, Result, Shape, dispatch_storage};
use hadal_cpu::{Cpu, threads};

/// A small generator for the tests' own choices (SplitMix64).
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    pub fn dtype(&mut self) -> DType {
        DType::ALL[self.below(8)]
    }
    /// Up to four dimensions, mostly small, sometimes empty or of size 1.
    pub fn shape(&mut self, min_rank: usize) -> Shape {
        let rank = min_rank + self.below(5 - min_rank);
        (0..rank)
            .map(|_| {
                [0, 1, 1, 2, 3, 4, 5, 7, 9, 17, 33][if self.below(12) == 0 { 0 } else { 1 + self.below(10) }]
            })
            .collect()
    }
    /// Shuffles in place.
    pub fn shuffle<T>(&mut self, v: &mut [T]) {
        for i in (1..v.len()).rev() {
            v.swap(i, self.below(i + 1));
        }
    }
}

/// A tensor anywhere in a buffer.
pub struct Tensor {
    pub buffer: Buffer,
    pub dtype: DType,
    pub layout: Layout,
}

/// Writes values into a buffer as elements of a dtype.
pub fn store(values: &[f64], dtype: DType) -> Buffer {
    let mut buffer = Buffer::new(values.len() * dtype.size());
    dispatch_storage!(dtype, T => {
        for (o, &v) in buffer.as_mut_slice::<T>().iter_mut().zip(values) {
            *o = T::from_f64(v);
        }
    });
    buffer
}

/// Elements of a dtype as f64.
pub fn load(buffer: &Buffer, dtype: DType) -> Vec<f64> {
    dispatch_storage!(dtype, T => buffer.as_slice::<T>().iter().map(|v| v.to_f64()).collect())
}

/// Calls `f` with every index of a shape, in row-major order.
pub fn each(shape: &[usize], mut f: impl FnMut(&[usize])) {
    let mut index = vec![0; shape.len()];
    if shape.contains(&0) {
        return;
    }
    loop {
        f(&index);
        let mut d = shape.len();
        loop {
            if d == 0 {
                return;
            }
            d -= 1;
            index[d] += 1;
            if index[d] < shape[d] {
                break;
            }
            index[d] = 0;
        }
    }
}

impl Tensor {
    /// Row-major, from values.
    pub fn new(shape: &[usize], dtype: DType, values: &[f64]) -> Tensor {
        let layout = Layout::contiguous(Shape::new(shape));
        assert_eq!(layout.shape.numel(), values.len());
        Tensor { buffer: store(values, dtype), dtype, layout }
    }

    /// A layout with permuted memory order, steps of ±1 and ±2, broadcast dimensions and an offset;
    /// elements from `value`.
    pub fn strided(
        rng: &mut Rng,
        shape: &Shape,
        dtype: DType,
        mut value: impl FnMut(&mut Rng) -> f64,
    ) -> Tensor {
        let plain = rng.below(4) == 0;
        let mut order: Vec<usize> = (0..shape.rank()).collect();
        if !plain {
            rng.shuffle(&mut order);
        }
        let mut strides: SmallVec<[isize; 4]> = SmallVec::from_elem(0, shape.rank());
        let mut offset = rng.below(4);
        let mut extent = 1usize;
        for &d in order.iter().rev() {
            let step = if plain { 1 } else { [1, 1, 1, 2, -1, -2, 0][rng.below(7)] };
            strides[d] = extent as isize * step;
            if step < 0 {
                offset += shape[d].saturating_sub(1) * strides[d].unsigned_abs();
            }
            if step != 0 {
                extent *= shape[d].max(1) * step.unsigned_abs();
            }
        }
        let values: Vec<f64> = (0..extent + offset + 3).map(|_| value(rng)).collect();
        let layout = Layout { shape: shape.clone(), strides, offset };
        Tensor { buffer: store(&values, dtype), dtype, layout }
    }

    /// As [`Tensor::strided`] with small whole numbers that every dtype holds exactly.
    pub fn random(rng: &mut Rng, shape: &Shape, dtype: DType) -> Tensor {
        Tensor::strided(rng, shape, dtype, |r| small(r, dtype))
    }

    pub fn arg(&self) -> Arg<'_> {
        Arg { data: Data::Buffer(&self.buffer), dtype: self.dtype, layout: &self.layout }
    }

    pub fn at(&self, index: &[usize]) -> f64 {
        let mut place = self.layout.offset as isize;
        for (&i, &s) in index.iter().zip(&self.layout.strides) {
            place += i as isize * s;
        }
        dispatch_storage!(self.dtype, T => self.buffer.as_slice::<T>()[place as usize].to_f64())
    }

    /// All elements in row-major order.
    pub fn values(&self) -> Vec<f64> {
        let mut v = Vec::new();
        each(&self.layout.shape, |i| v.push(self.at(i)));
        v
    }
}

/// A whole number that the dtype holds exactly.
pub fn small(rng: &mut Rng, dtype: DType) -> f64 {
    match dtype {
        DType::Bool => rng.below(2) as f64,
        DType::U8 => rng.below(200) as f64,
        _ => rng.below(41) as f64 - 20.0,
    }
}

/// Runs an operation with 1, 2 and 4 threads, requires the same bytes, and gives the elements.
pub fn run(op: &Op, inputs: &[&Tensor], dtype: DType, shape: &Shape) -> Result<Vec<f64>> {
    run_buffer(op, inputs, dtype, shape).map(|b| load(&b, dtype))
}

/// As [`run`], the output's memory itself.
pub fn run_buffer(op: &Op, inputs: &[&Tensor], dtype: DType, shape: &Shape) -> Result<Buffer> {
    let args: Vec<Arg<'_>> = inputs.iter().map(|t| t.arg()).collect();
    let mut first: Option<Buffer> = None;
    for n in [1, 2, 4] {
        threads::set_threads(n);
        let mut buffer = Buffer::new(shape.numel() * dtype.size());
        // Whatever the kernel does not write shows.
        buffer.bytes_mut().fill(0xA5);
        Cpu.run_op(op, &args, Out { data: &mut buffer, dtype, shape })?;
        match &first {
            None => first = Some(buffer),
            Some(f) => assert!(f.bytes() == buffer.bytes(), "{} differs with {n} threads", op.name()),
        }
    }
    Ok(first.expect("three runs"))
}
