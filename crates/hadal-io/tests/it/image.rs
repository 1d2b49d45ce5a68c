use crate::{Folder, text};
use hadal_io::image::{Filter, Image};

macro_rules! data {
    ($name:literal) => {
        include_bytes!(concat!("../data/", $name)).as_slice()
    };
}

/// The picture that tools/golden/make_io_fixtures.py draws.
fn color() -> Image {
    let mut data = Vec::new();
    for y in 0..12u32 {
        for x in 0..17u32 {
            data.extend([(x * 15) as u8, (y * 20) as u8, (x * y) as u8]);
        }
    }
    Image::new(17, 12, 3, data).unwrap()
}

fn read(bytes: &[u8]) -> Image {
    Image::from_bytes(bytes).unwrap()
}

fn worst(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn png_of_every_kind() {
    assert_eq!(read(data!("color.png")), color());
    assert_eq!(read(data!("gray.png")), color().to_gray());
    let red: Vec<u8> = color().data().chunks_exact(3).map(|p| p[0]).collect();
    let gray16 = read(data!("gray16.png"));
    assert_eq!((gray16.channels(), gray16.data()), (1, red.as_slice()));
    assert_eq!(read(data!("palette.png")).channels(), 3);
    let bits = read(data!("bits.png"));
    assert_eq!(bits.channels(), 1);
    assert!(bits.data().iter().all(|&v| v == 0 || v == 255));
    // Transparent from column 8 on: white there, untouched before.
    let alpha = read(data!("alpha.png"));
    for (i, (a, c)) in alpha.data().chunks_exact(3).zip(color().data().chunks_exact(3)).enumerate() {
        assert_eq!(a, if i % 17 < 8 { c } else { &[255; 3] });
    }
}

#[test]
fn jpeg_as_pillow_decodes_it() {
    let c = read(data!("color.jpg"));
    assert_eq!((c.width(), c.height(), c.channels()), (17, 12, 3));
    // Inverse DCT and colour conversion round differently in different decoders.
    assert!(worst(c.data(), data!("color_jpg.raw")) <= 3, "{}", worst(c.data(), data!("color_jpg.raw")));
    assert_eq!(read(data!("gray.jpg")).channels(), 1);
    assert_eq!(read(data!("cmyk.jpg")).channels(), 3);
    let p = read(data!("progressive.jpg"));
    assert_eq!((p.width(), p.height(), p.channels()), (17, 12, 3));
}

#[test]
fn an_orientation_note_is_obeyed() {
    let (upright, turned) = (read(data!("color.jpg")), read(data!("turned.jpg")));
    assert_eq!((turned.width(), turned.height()), (12, 17));
    // Top left of the turned picture is the bottom left of the stored one.
    assert_eq!(turned.data()[..3], upright.data()[11 * 17 * 3..][..3]);
}

#[test]
fn gray_is_pillows_l() {
    assert_eq!(color().to_gray().data(), data!("color_gray.raw"));
    assert_eq!(color().to_gray().to_rgb().to_gray(), color().to_gray());
}

#[test]
fn antialiased_resizing_is_pillows_bilinear() {
    // Pillow rounds its weights to fixed point, ours are floats: a step of 1 at most.
    let small = color().resize(6, 5, Filter::Antialias).unwrap();
    assert!(worst(small.data(), data!("color_6x5.raw")) <= 1);
    let large = color().resize(40, 30, Filter::Antialias).unwrap();
    assert!(worst(large.data(), data!("color_40x30.raw")) <= 1);
}

#[test]
fn plain_bilinear_resizing() {
    // Growing, both bilinear filters are the same function.
    let a = color().resize(40, 30, Filter::Bilinear).unwrap();
    assert!(worst(a.data(), data!("color_40x30.raw")) <= 1);
    // Shrinking 4 to 2 takes the pixels around positions 0.5 and 2.5 (torch: [5., 25.]).
    let x = Image::new(4, 1, 1, vec![0, 10, 20, 30]).unwrap();
    assert_eq!(x.resize(2, 1, Filter::Bilinear).unwrap().data(), &[5, 25]);
    // A flat picture stays flat under every filter.
    let flat = Image::new(5, 7, 1, vec![93; 35]).unwrap();
    for f in [Filter::Nearest, Filter::Bilinear, Filter::Antialias] {
        for (w, h) in [(1, 1), (3, 20), (50, 2)] {
            assert!(flat.resize(w, h, f).unwrap().data().iter().all(|&v| v == 93), "{f:?}");
        }
    }
}

#[test]
fn nearest_resizing_repeats_pixels() {
    let x = Image::new(2, 1, 1, vec![1, 2]).unwrap();
    assert_eq!(x.resize(6, 2, Filter::Nearest).unwrap().data(), &[1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2]);
}

#[test]
fn png_goes_round() {
    let dir = Folder::new();
    let path = dir.file("x.png");
    for image in [color(), color().to_gray()] {
        image.write_png(&path).unwrap();
        assert_eq!(Image::read(&path).unwrap(), image);
        assert_eq!(std::fs::read(&path).unwrap(), image.to_png().unwrap());
    }
    assert_eq!(dir.names(), ["x.png"]);
}

#[test]
fn every_truncation_is_an_error() {
    let cases: [(&[u8], &str); 5] = [
        (data!("color.png"), "the PNG ends before its IEND chunk"),
        (data!("gray16.png"), "the PNG ends before its IEND chunk"),
        (data!("color.jpg"), "the JPEG ends before its end-of-image mark"),
        (data!("progressive.jpg"), "the JPEG ends before its end-of-image mark"),
        (data!("turned.jpg"), "the JPEG ends before its end-of-image mark"),
    ];
    for (bytes, problem) in cases {
        // A PNG is whole once its last chunk is; JPEG's mark is the last two bytes.
        for len in 8..bytes.len() {
            assert_eq!(
                text(Image::from_bytes(&bytes[..len]), None),
                format!(
                    "cannot read image (bytes in memory): {problem}; the file is truncated: make or download it again"
                ),
                "cut at {len}"
            );
        }
    }
}

#[test]
fn other_files_are_refused() {
    let dir = Folder::new();
    let path = dir.file("x.gif");
    std::fs::write(&path, b"GIF89a").unwrap();
    assert_eq!(
        text(Image::read(&path), Some(&dir)),
        "cannot read image DIR/x.gif: it is neither PNG nor JPEG; convert it to PNG, for instance with ImageMagick's `convert`"
    );
}

/// A PNG of 45 bytes whose header claims this size.
fn png_claiming(width: u32, height: u32) -> Vec<u8> {
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in [
        (b"IHDR", [&width.to_be_bytes()[..], &height.to_be_bytes()[..], &[8, 2, 0, 0, 0]].concat()),
        (b"IDAT", vec![]),
        (b"IEND", vec![]),
    ] {
        out.extend((data.len() as u32).to_be_bytes());
        out.extend(kind);
        out.extend(&data);
        out.extend(crc32(&[&kind[..], &data].concat()).to_be_bytes());
    }
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |mut c, &b| {
        c ^= u32::from(b);
        for _ in 0..8 {
            c = if c & 1 == 1 { c >> 1 ^ 0xEDB8_8320 } else { c >> 1 };
        }
        c
    })
}

#[test]
fn huge_claims_are_refused_before_anything_is_allocated() {
    let message = |w, h| {
        let e = text(Image::from_bytes(&png_claiming(w, h)), None);
        e.strip_prefix("cannot read image (bytes in memory): ").unwrap().to_string()
    };
    assert_eq!(
        message(100_000, 100_000),
        "100000 x 100000 pixels are more than the 67108864 that are allowed; make it smaller"
    );
    assert_eq!(
        message(8000, 8000),
        "the header says 64000000 pixels, more than 57 bytes can hold; the file is truncated: make or download it again"
    );
}

#[test]
fn sizes_that_make_no_image() {
    assert_eq!(
        text(Image::new(2, 2, 3, vec![0; 11]), None),
        "cannot make image (bytes in memory): 2 x 2 pixels of 3 channels are 12 bytes, not 11; pass height x width x channels bytes"
    );
    assert_eq!(
        text(Image::new(2, 2, 4, vec![0; 16]), None),
        "cannot make image (bytes in memory): 4 channels were asked for; give 1 (grey) or 3 (RGB)"
    );
    assert_eq!(
        text(color().resize(0, 5, Filter::Nearest), None),
        "cannot resize image (bytes in memory): a size of 5 x 0 pixels has no pixel; give a height and width of at least 1"
    );
    assert!(color().resize(usize::MAX, 2, Filter::Nearest).is_err());
    assert!(color().resize(1 << 14, 1 << 14, Filter::Nearest).is_err());
}

/// Ink of one colour is laid over the ground it stands out from; a picture over white.
#[test]
fn ink_on_transparent_ground_stands_out() {
    use image::{Rgba, RgbaImage};
    let folder = Folder::new();
    let path = folder.file("x.png");
    let read = |color: &dyn Fn(u32) -> u8, alpha: &dyn Fn(u32) -> u8| {
        let pixel = |x, _| Rgba([color(x), color(x), color(x), alpha(x)]);
        RgbaImage::from_fn(4, 1, pixel).save(&path).unwrap();
        let (image, ground) = Image::read_ink(&path).unwrap();
        (image.data().iter().step_by(3).copied().collect::<Vec<u8>>(), ground)
    };
    let shape = |x| [0, 128, 255, 0][x as usize];
    assert_eq!(read(&|_| 255, &shape), (vec![0, 128, 255, 0], Some(0)));
    assert_eq!(read(&|_| 0, &shape), (vec![255, 127, 0, 255], Some(255)));
    // What lies under full transparency has no say.
    assert_eq!(read(&|x| if x == 2 { 250 } else { 240 * (x % 2) as u8 }, &shape).1, Some(0));
    assert_eq!(read(&|x| if x == 2 { 255 } else { 60 }, &shape).1, Some(255));
    assert_eq!(read(&|_| 9, &|_| 255), (vec![9; 4], None));
    assert_eq!(read(&|_| 9, &|_| 0), (vec![255; 4], Some(255)));
}
