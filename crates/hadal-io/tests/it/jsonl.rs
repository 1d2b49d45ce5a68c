use crate::{Folder, text};
use hadal_io::jsonl::{self, JsonlWriter};
use serde_json::{Value, json};
use std::fs;

#[test]
fn lines_are_written_and_read() {
    let dir = Folder::new();
    let path = dir.file("m.jsonl");
    let mut w = JsonlWriter::create(&path).unwrap();
    w.write(&json!({"step": 1, "loss": 0.5})).unwrap();
    w.write(&json!({"step": 2, "text": "a\nb"})).unwrap();
    w.sync().unwrap();
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "{\"loss\":0.5,\"step\":1}\n{\"step\":2,\"text\":\"a\\nb\"}\n"
    );
    let lines: Vec<Value> = jsonl::read(&path).unwrap();
    assert_eq!(lines[1]["text"], "a\nb");
    JsonlWriter::create(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"");
}

#[test]
fn a_partial_last_line_is_ignored_by_the_reader_and_cut_off_by_the_writer() {
    let dir = Folder::new();
    let path = dir.file("m.jsonl");
    let whole = "{\"step\":1}\n{\"step\":2}\n";
    for cut in whole.len() / 2 + 1..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        assert_eq!(jsonl::read::<Value>(&path).unwrap(), [json!({"step": 1})], "cut at {cut}");
        JsonlWriter::append(&path).unwrap().write(&json!({"step": 3})).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"step\":1}\n{\"step\":3}\n");
    }
}

#[test]
fn truncation_drops_what_came_after_a_step() {
    let dir = Folder::new();
    let path = dir.file("m.jsonl");
    let text = "{\"event\":\"start\"}\n{\"step\":1}\n{\"step\":2}\n{\"epoch\":1}\n{\"step\":3}\n{\"epoch\":2}\n{\"st";
    for (last, kept, dropped) in [(0, 1, 5), (1, 2, 4), (2, 4, 2), (3, 6, 0), (99, 6, 0)] {
        fs::write(&path, text).unwrap();
        assert_eq!(jsonl::truncate_after(&path, "step", last).unwrap(), dropped, "after {last}");
        let expected: String = text.split_inclusive('\n').take(kept).collect();
        assert_eq!(fs::read_to_string(&path).unwrap(), expected, "after {last}");
    }
}

#[test]
fn a_broken_line_is_named_and_nothing_is_cut() {
    let dir = Folder::new();
    let path = dir.file("m.jsonl");
    fs::write(&path, "{\"step\":1}\n\nnonsense\n{\"step\":9}\n").unwrap();
    assert_eq!(
        text(jsonl::read::<Value>(&path), Some(&dir)),
        "cannot read JSON lines DIR/m.jsonl: line 3 is not what it should be: expected ident at \
         line 1 column 2; repair or remove that line"
    );
    let before = fs::read(&path).unwrap();
    assert_eq!(
        text(jsonl::truncate_after(&path, "step", 5), Some(&dir)),
        "cannot shorten JSON lines DIR/m.jsonl: line 3 is not what it should be: expected ident at \
         line 1 column 2; repair or remove that line"
    );
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_full_disk_leaves_whole_lines() {
    let dir = Folder::new();
    let path = dir.file("m.jsonl");
    let mut w = JsonlWriter::create(&path).unwrap();
    w.write(&json!({"step": 1})).unwrap();
    let e = hadal_io::atomic::with_disk_of(5, || w.write(&json!({"step": 2}))).unwrap_err();
    assert_eq!(e.os_kind(), Some(std::io::ErrorKind::StorageFull));
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"step\":1}\n");
    w.write(&json!({"step": 3})).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"step\":1}\n{\"step\":3}\n");
}

#[test]
fn values_without_a_json_form_are_refused() {
    let dir = Folder::new();
    let mut w = JsonlWriter::create(dir.file("m.jsonl")).unwrap();
    let map: std::collections::BTreeMap<Vec<u8>, u8> = [(vec![1], 1)].into();
    assert_eq!(
        text(w.write(&map), Some(&dir)),
        "cannot write JSON lines DIR/m.jsonl: the value has no JSON form: key must be a string; use string keys"
    );
}
