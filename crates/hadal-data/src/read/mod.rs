//! Readers of file formats, which believe nothing that a header says.

mod cifar;
pub(crate) mod csv;
mod gz;
mod idx;
pub(crate) mod tar;

pub use cifar::{
    CIFAR10_CLASSES, CIFAR100_CLASSES, CIFAR100_COARSE, CifarLabels, cifar_dataset, parse_cifar10,
    parse_cifar100,
};
pub use idx::{IdxArray, IdxData, idx_images, parse_idx, read_idx};

pub(crate) use gz::{inflate_exact, open, read_all};
