//! Pictures as bytes: PNG and JPEG in, PNG out, grey and colour, resizing.

mod container;
mod resize;

use crate::error::{IN_MEMORY, IoError, Problem, Result};
use crate::files::read_whole;
use crate::write_atomic;
use ::image::codecs::jpeg::JpegDecoder;
use ::image::codecs::png::{CompressionType, FilterType, PngDecoder, PngEncoder};
use ::image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageError, Limits};
use container::{Format, check_complete, check_plausible};
use std::io::Cursor;
use std::path::Path;

pub use resize::Filter;

const READ: &str = "read image";
const WRITE: &str = "write image";
const MAKE: &str = "make image";

/// The most pixels that an image may have: 64 Mi, more than any camera's. It bounds what a few
/// hostile bytes can ask for.
pub const MAX_PIXELS: u64 = 64 << 20;
/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// What the decoders may allocate: 16-bit RGBA at [`MAX_PIXELS`].
const MAX_ALLOC: u64 = MAX_PIXELS * 8;

/// An 8-bit image, row by row from the top, the channels of a pixel side by side (HWC).
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    width: usize,
    height: usize,
    channels: usize,
    data: Vec<u8>,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({} x {} x {})", self.height, self.width, self.channels)
    }
}

impl Image {
    /// An image from its bytes: `height * width * channels` of them, `channels` 1 (grey) or 3 (RGB).
    ///
    /// # Errors
    /// [`IoError::Argument`] when the numbers do not fit, are zero, or exceed [`MAX_PIXELS`].
    pub fn new(width: usize, height: usize, channels: usize, data: Vec<u8>) -> Result<Self> {
        let wrong = |what: String, hint| Err(Problem::argument(what, hint).at(MAKE, IN_MEMORY));
        if channels != 1 && channels != 3 {
            return wrong(format!("{channels} channels were asked for"), "give 1 (grey) or 3 (RGB)");
        }
        let pixels = check_size(width, height).map_err(|p| p.at(MAKE, IN_MEMORY))?;
        if pixels * channels != data.len() {
            return wrong(
                format!(
                    "{height} x {width} pixels of {channels} channels are {} bytes, not {}",
                    pixels * channels,
                    data.len()
                ),
                "pass height x width x channels bytes",
            );
        }
        Ok(Image { width, height, channels, data })
    }

    /// Reads a PNG or JPEG file.
    ///
    /// Grey files give 1 channel, all others 3. 16 bits become 8. Transparent pixels are laid over
    /// white. A JPEG's orientation note is obeyed, as viewers do.
    ///
    /// ```
    /// # fn main() -> hadal_io::Result<()> {
    /// # let dir = std::env::temp_dir().join(format!("hadal-doc-img-{}", std::process::id()));
    /// # std::fs::create_dir_all(&dir).unwrap();
    /// # let path = dir.join("x.png");
    /// use hadal_io::Image;
    /// let red = Image::new(2, 1, 3, vec![255, 0, 0, 255, 0, 0])?;
    /// red.write_png(&path)?;
    /// assert_eq!(Image::read(&path)?, red);
    /// assert_eq!(red.to_gray().data(), &[76, 76]);
    /// # std::fs::remove_dir_all(&dir).unwrap();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`IoError::Format`] for truncated or damaged files; [`IoError::Unsupported`] for other
    /// formats and for more than [`MAX_PIXELS`]; [`IoError::Os`] when the file cannot be read.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = read_whole(path, READ, MAX_FILE_BYTES)?;
        decode(&bytes, white).map(|(image, _)| image).map_err(|p| p.at(READ, path))
    }

    /// Reads a PNG or JPEG file as [`Image::read`] does, but lays ink of one colour on transparent
    /// ground over the ground that it stands out from: bright ink over black. Gives the ground, 0 or
    /// 255; `None` where nothing is transparent.
    ///
    /// Ink is of one colour when its brightness, weighted by opacity, has a standard deviation of at
    /// most 32 of 255; anything else is a picture, laid over white as viewers do.
    ///
    /// # Errors
    /// As [`Image::read`].
    pub fn read_ink(path: impl AsRef<Path>) -> Result<(Self, Option<u8>)> {
        let path = path.as_ref();
        let bytes = read_whole(path, READ, MAX_FILE_BYTES)?;
        decode(&bytes, ground_of).map_err(|p| p.at(READ, path))
    }

    /// Reads a PNG or JPEG out of memory; see [`Image::read`].
    ///
    /// # Errors
    /// As [`Image::read`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        decode(bytes, white).map(|(image, _)| image).map_err(|p| p.at(READ, IN_MEMORY))
    }

    /// Writes a PNG file atomically. Equal images give equal bytes.
    ///
    /// # Errors
    /// [`IoError::Os`] when writing fails.
    pub fn write_png(&self, path: impl AsRef<Path>) -> Result<()> {
        let bytes = self.encode().map_err(|p| p.at(WRITE, path.as_ref()))?;
        write_atomic(path, |w| w.write_all(&bytes))
    }

    /// The bytes that [`Image::write_png`] would write.
    ///
    /// # Errors
    /// None that is known; the encoder's signature has one.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        self.encode().map_err(|p| p.at(WRITE, IN_MEMORY))
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }
    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }
    /// 1 (grey) or 3 (RGB).
    pub fn channels(&self) -> usize {
        self.channels
    }
    /// The bytes, HWC.
    pub fn data(&self) -> &[u8] {
        &self.data
    }
    /// The bytes, HWC.
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// The image in grey, with the weights of ITU-R 601 (0.299 R + 0.587 G + 0.114 B) in the fixed
    /// point of Pillow's `convert("L")`, so that the bytes are the same.
    pub fn to_gray(&self) -> Image {
        if self.channels == 1 {
            return self.clone();
        }
        let gray = |p: &[u8]| {
            let [r, g, b] = [p[0], p[1], p[2]].map(u32::from);
            ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as u8
        };
        let data = self.data.chunks_exact(3).map(gray).collect();
        Image { channels: 1, data, ..*self }
    }

    /// The image with three channels; grey is repeated.
    pub fn to_rgb(&self) -> Image {
        if self.channels == 3 {
            return self.clone();
        }
        Image { channels: 3, data: self.data.iter().flat_map(|&v| [v; 3]).collect(), ..*self }
    }

    fn encode(&self) -> Result<Vec<u8>, Problem> {
        let mut out = Vec::new();
        let color = if self.channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
        PngEncoder::new_with_quality(&mut out, CompressionType::Default, FilterType::Adaptive)
            .write_image(&self.data, self.width as u32, self.height as u32, color)
            .map_err(|e| Problem::damaged(format!("the PNG encoder failed: {e}")))?;
        Ok(out)
    }
}

/// Number of pixels, when it is between one and [`MAX_PIXELS`].
fn check_size(width: usize, height: usize) -> Result<usize, Problem> {
    let pixels = width.checked_mul(height).filter(|&p| p as u64 <= MAX_PIXELS);
    match pixels {
        Some(0) => Err(Problem::argument(
            format!("a size of {height} x {width} pixels has no pixel"),
            "give a height and width of at least 1",
        )),
        Some(pixels) => Ok(pixels),
        None => Err(Problem::unsupported(
            format!("{height} x {width} pixels are more than the {MAX_PIXELS} that are allowed"),
            "make it smaller",
        )),
    }
}

/// The brightness of the ground that transparent pixels are laid over, from brightness and opacity.
type Ground = fn(&mut dyn Iterator<Item = (u8, u8)>) -> u8;

fn decode(bytes: &[u8], ground: Ground) -> Result<(Image, Option<u8>), Problem> {
    let Some(format) = Format::of(bytes) else {
        return Err(Problem::unsupported(
            "it is neither PNG nor JPEG",
            "convert it to PNG, for instance with ImageMagick's `convert`",
        ));
    };
    check_complete(format, bytes)?;
    match format {
        Format::Png => {
            let limits = limits();
            decode_with(PngDecoder::with_limits(Cursor::new(bytes), limits), format, bytes, ground)
        }
        Format::Jpeg => decode_with(JpegDecoder::new(Cursor::new(bytes)), format, bytes, ground),
    }
}

fn limits() -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_ALLOC);
    limits
}

fn decode_with<D: ImageDecoder>(
    decoder: Result<D, ImageError>,
    format: Format,
    bytes: &[u8],
    ground: Ground,
) -> Result<(Image, Option<u8>), Problem> {
    let mut decoder = decoder.map_err(decode_problem)?;
    let (width, height) = decoder.dimensions();
    check_size(width as usize, height as usize)?;
    check_plausible(format, u64::from(width) * u64::from(height), bytes.len())?;
    decoder.set_limits(limits()).map_err(decode_problem)?;
    let orientation = decoder.orientation().map_err(decode_problem)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(decode_problem)?;
    image.apply_orientation(orientation);
    let (width, height) = (image.width() as usize, image.height() as usize);
    let color = image.color();
    let (channels, (data, ground)) = match (color.has_color(), color.has_alpha()) {
        (false, false) => (1, (image.into_luma8().into_raw(), None)),
        (false, true) => (1, lay::<2>(&image.into_luma_alpha8().into_raw(), ground)),
        (true, false) => (3, (image.into_rgb8().into_raw(), None)),
        (true, true) => (3, lay::<4>(&image.into_rgba8().into_raw(), ground)),
    };
    Ok((Image { width, height, channels, data }, ground))
}

/// Lays pixels of `N` channels, the last of which is opacity, over a ground; gives it where a pixel is
/// transparent.
fn lay<const N: usize>(data: &[u8], ground: Ground) -> (Vec<u8>, Option<u8>) {
    let mut pixels = data.chunks_exact(N).map(|p| {
        let sum: u32 = p[..N - 1].iter().map(|&c| u32::from(c)).sum();
        ((sum / (N as u32 - 1)) as u8, p[N - 1])
    });
    let clear = data.chunks_exact(N).any(|p| p[N - 1] < 255);
    let under = if clear { ground(&mut pixels) } else { 255 };
    let over = |p: &[u8]| {
        let alpha = u32::from(p[N - 1]);
        let blend = |&c: &u8| ((u32::from(c) * alpha + u32::from(under) * (255 - alpha) + 127) / 255) as u8;
        let mut out = [0u8; 3];
        for (o, c) in out.iter_mut().zip(&p[..N - 1]) {
            *o = blend(c);
        }
        out.into_iter().take(N - 1)
    };
    (data.chunks_exact(N).flat_map(over).collect(), clear.then_some(under))
}

/// White, as viewers have it.
fn white(_: &mut dyn Iterator<Item = (u8, u8)>) -> u8 {
    255
}

/// The ground that ink of one colour stands out from; white under anything else.
fn ground_of(pixels: &mut dyn Iterator<Item = (u8, u8)>) -> u8 {
    let (mut weight, mut sum, mut squares) = (0u64, 0u64, 0u64);
    for (v, alpha) in pixels {
        let (v, alpha) = (u64::from(v), u64::from(alpha));
        // At most 2^26 pixels of 2^24 each.
        (weight, sum, squares) = (weight + alpha, sum + alpha * v, squares + alpha * v * v);
    }
    if weight == 0 {
        return 255;
    }
    let mean = sum as f64 / weight as f64;
    let variance = squares as f64 / weight as f64 - mean * mean;
    if mean > 127.0 && variance <= 32.0 * 32.0 { 0 } else { 255 }
}

fn decode_problem(e: ImageError) -> Problem {
    match e {
        ImageError::Unsupported(e) => {
            Problem::unsupported(format!("{e}"), "convert it to an ordinary PNG first")
        }
        ImageError::Limits(e) => Problem::unsupported(
            format!("{e}: decoding it takes more than {MAX_ALLOC} bytes"),
            "make it smaller",
        ),
        ImageError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            Problem::truncated("the pixels end too soon")
        }
        e => Problem::damaged(format!("{e}")),
    }
}

impl From<&Image> for crate::RawTensor {
    /// A u8 tensor of shape `[height, width, channels]`.
    fn from(image: &Image) -> Self {
        crate::RawTensor {
            dtype: crate::DType::U8,
            shape: vec![image.height, image.width, image.channels],
            data: image.data.clone(),
        }
    }
}

/// The error of an operation on an image in memory.
fn in_memory(problem: Problem, operation: &'static str) -> IoError {
    problem.at(operation, IN_MEMORY)
}
