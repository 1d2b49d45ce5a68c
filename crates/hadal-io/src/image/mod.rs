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
        decode(&bytes).map_err(|p| p.at(READ, path))
    }

    /// Reads a PNG or JPEG out of memory; see [`Image::read`].
    ///
    /// # Errors
    /// As [`Image::read`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        decode(bytes).map_err(|p| p.at(READ, IN_MEMORY))
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

fn decode(bytes: &[u8]) -> Result<Image, Problem> {
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
            decode_with(PngDecoder::with_limits(Cursor::new(bytes), limits), format, bytes)
        }
        Format::Jpeg => decode_with(JpegDecoder::new(Cursor::new(bytes)), format, bytes),
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
) -> Result<Image, Problem> {
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
    let (channels, data) = match (color.has_color(), color.has_alpha()) {
        (false, false) => (1, image.into_luma8().into_raw()),
        (false, true) => (1, over_white::<2>(&image.into_luma_alpha8().into_raw())),
        (true, false) => (3, image.into_rgb8().into_raw()),
        (true, true) => (3, over_white::<4>(&image.into_rgba8().into_raw())),
    };
    Ok(Image { width, height, channels, data })
}

/// Lays pixels of `N` channels, the last of which is opacity, over white.
fn over_white<const N: usize>(data: &[u8]) -> Vec<u8> {
    data.chunks_exact(N)
        .flat_map(|p| {
            let alpha = u32::from(p[N - 1]);
            p[..N - 1].iter().map(move |&c| ((u32::from(c) * alpha + 255 * (255 - alpha) + 127) / 255) as u8)
        })
        .collect()
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
