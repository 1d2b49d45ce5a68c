use crate::{Folder, text};
use hadal_io::Image;
use hadal_io::tensorboard::{EventWriter, read_scalars, scalars_from_bytes};
use std::fs;

const T: f64 = 1_700_000_000.5;

#[test]
fn scalars_are_read_back_among_other_events() {
    let dir = Folder::new();
    let mut w = EventWriter::create(&dir, T).unwrap();
    w.scalars(1, &[("loss", 2.5), ("acc", 0.1)], T + 1.0).unwrap();
    w.text(1, "config", "# a *title*", T).unwrap();
    w.image(1, "digit", &Image::new(2, 2, 1, vec![0, 64, 128, 255]).unwrap(), T).unwrap();
    w.scalars(-3, &[("loss", f32::NAN)], T).unwrap();
    w.sync().unwrap();
    let points = read_scalars(w.path()).unwrap();
    assert_eq!(points.len(), 3);
    assert_eq!((points[0].step, points[0].tag.as_str(), points[0].value), (1, "loss", 2.5));
    assert_eq!(points[0].wall_time, T + 1.0);
    assert_eq!((points[1].tag.as_str(), points[1].value), ("acc", 0.1));
    assert!(points[2].step == -3 && points[2].value.is_nan());
}

/// Written by TensorBoard's own writer (tensorboard 2.21: `EventFileWriter` with a scalar at step
/// 7), so that the test does not only hold our writer against our reader.
#[test]
fn bytes_of_the_original_writer() {
    let bytes = include_bytes!("../data/original.tfevents");
    let points = scalars_from_bytes(bytes).unwrap();
    assert_eq!(points.len(), 1);
    assert_eq!((points[0].step, points[0].tag.as_str(), points[0].value), (7, "loss", 0.25));
    assert_eq!(points[0].wall_time, 1234.5);
}

#[test]
fn a_resumed_session_voids_later_steps() {
    let dir = Folder::new();
    let mut first = EventWriter::create(&dir, T).unwrap();
    for step in 1..=6 {
        first.scalars(step, &[("loss", step as f32)], T).unwrap();
    }
    // Within the same second, and with the clock gone back.
    let mut second = EventWriter::resume(&dir, 4, T).unwrap();
    second.scalars(4, &[("loss", 40.0)], T).unwrap();
    let mut third = EventWriter::resume(&dir, 5, T - 1000.0).unwrap();
    third.scalars(5, &[("loss", 50.0)], T).unwrap();
    let values: Vec<f32> = read_scalars(&dir).unwrap().iter().map(|p| p.value).collect();
    assert_eq!(values, [1.0, 2.0, 3.0, 40.0, 50.0]);
    // Further back than all of them, and again from there.
    EventWriter::resume(&dir, 2, T).unwrap();
    EventWriter::resume(&dir, 9, T).unwrap().scalars(9, &[("loss", 90.0)], T).unwrap();
    let values: Vec<f32> = read_scalars(&dir).unwrap().iter().map(|p| p.value).collect();
    assert_eq!(values, [1.0, 90.0]);
}

#[test]
fn a_truncated_last_record_is_skipped_at_every_length() {
    let dir = Folder::new();
    let mut w = EventWriter::create(&dir, T).unwrap();
    w.scalars(1, &[("loss", 1.0)], T).unwrap();
    let whole = fs::metadata(w.path()).unwrap().len() as usize;
    w.scalars(2, &[("loss", 2.0)], T).unwrap();
    let bytes = fs::read(w.path()).unwrap();
    for len in whole..bytes.len() {
        assert_eq!(scalars_from_bytes(&bytes[..len]).unwrap().len(), 1, "cut at {len}");
    }
    assert_eq!(scalars_from_bytes(&bytes).unwrap().len(), 2);
}

#[test]
fn a_wrong_checksum_is_found_and_its_place_named() {
    let dir = Folder::new();
    let mut w = EventWriter::create(&dir, T).unwrap();
    let start = fs::metadata(w.path()).unwrap().len() as usize;
    w.scalars(1, &[("loss", 1.0)], T).unwrap();
    let bytes = fs::read(w.path()).unwrap();
    for at in start..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x10;
        let part = if at < start + 12 { "length" } else { "data" };
        assert_eq!(
            text(scalars_from_bytes(&bad), None),
            format!(
                "cannot read TensorBoard events (bytes in memory): the record at byte {start} has a wrong \
                 checksum of its {part}; the file is damaged or not of this format: make or download it again"
            )
        );
    }
}

#[test]
fn a_full_disk_leaves_whole_records() {
    let dir = Folder::new();
    let mut w = EventWriter::create(&dir, T).unwrap();
    w.scalars(1, &[("loss", 1.0)], T).unwrap();
    assert!(hadal_io::atomic::with_disk_of(20, || w.scalars(2, &[("loss", 2.0)], T)).is_err());
    w.scalars(3, &[("loss", 3.0)], T).unwrap();
    let steps: Vec<i64> = read_scalars(&dir).unwrap().iter().map(|p| p.step).collect();
    assert_eq!(steps, [1, 3]);
}

#[test]
fn a_missing_folder_is_an_error_and_an_empty_one_has_no_points() {
    let dir = Folder::new();
    assert!(read_scalars(&dir).unwrap().is_empty());
    assert_eq!(
        text(EventWriter::create(dir.file("no"), T), Some(&dir)),
        "cannot write TensorBoard events DIR/no: No such file or directory (os error 2); check the path"
    );
}
