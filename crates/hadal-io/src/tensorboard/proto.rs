//! The few protobuf messages of an event file, by hand.
//!
//! Field numbers: tensorboard/compat/proto/{event,summary,tensor,tensor_shape}.proto. Wire format:
//! <https://protobuf.dev/programming-guides/encoding/>. Five messages with a handful of fields do
//! not pay for a code generator in the build.

/// Builds one message.
#[derive(Default)]
pub(super) struct Message(pub(super) Vec<u8>);

impl Message {
    fn varint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.0.push(v as u8 | 0x80);
            v >>= 7;
        }
        self.0.push(v as u8);
    }
    fn key(&mut self, field: u32, wire: u32) {
        self.varint(u64::from(field << 3 | wire));
    }
    pub(super) fn int(mut self, field: u32, v: i64) -> Self {
        self.key(field, 0);
        self.varint(v as u64);
        self
    }
    pub(super) fn double(mut self, field: u32, v: f64) -> Self {
        self.key(field, 1);
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }
    pub(super) fn float(mut self, field: u32, v: f32) -> Self {
        self.key(field, 5);
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }
    pub(super) fn bytes(mut self, field: u32, v: &[u8]) -> Self {
        self.key(field, 2);
        self.varint(v.len() as u64);
        self.0.extend_from_slice(v);
        self
    }
    pub(super) fn message(self, field: u32, m: Message) -> Self {
        self.bytes(field, &m.0)
    }
}

/// An `Event` around a `Summary` with these values.
pub(super) fn event(wall_time: f64, step: i64, values: Vec<Message>) -> Message {
    let summary = values.into_iter().fold(Message::default(), |m, v| m.message(1, v));
    Message::default().double(1, wall_time).int(2, step).message(5, summary)
}

/// The first event of every file.
pub(super) fn file_version(wall_time: f64) -> Message {
    Message::default().double(1, wall_time).bytes(3, b"brain.Event:2")
}

/// `SessionLog` with status START: what has this step or a later one is void.
pub(super) fn session_start(wall_time: f64, step: i64) -> Message {
    Message::default().double(1, wall_time).int(2, step).message(7, Message::default().int(1, 1))
}

/// `Summary.Value` with `simple_value`.
pub(super) fn scalar(tag: &str, value: f32) -> Message {
    Message::default().bytes(1, tag.as_bytes()).float(2, value)
}

/// `Summary.Value` for the text plugin: a string tensor of one element.
pub(super) fn text(tag: &str, markdown: &str) -> Message {
    const DT_STRING: i64 = 7;
    const DATA_CLASS_TENSOR: i64 = 2;
    let plugin = Message::default().bytes(1, b"text");
    let metadata = Message::default().message(1, plugin).int(4, DATA_CLASS_TENSOR);
    let shape = Message::default().message(2, Message::default().int(1, 1));
    let tensor = Message::default().int(1, DT_STRING).message(2, shape).bytes(8, markdown.as_bytes());
    Message::default().bytes(1, tag.as_bytes()).message(8, tensor).message(9, metadata)
}

/// `Summary.Value` with an `Image`.
pub(super) fn image(tag: &str, width: usize, height: usize, channels: usize, png: &[u8]) -> Message {
    let image =
        Message::default().int(1, height as i64).int(2, width as i64).int(3, channels as i64).bytes(4, png);
    Message::default().bytes(1, tag.as_bytes()).message(4, image)
}

/// A field's value as the wire has it.
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

/// Walks a message's fields; yields `None` once in place of a field that breaks the encoding.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut v = 0u64;
        for shift in (0..70).step_by(7) {
            let (&b, rest) = self.0.split_first()?;
            self.0 = rest;
            // The tenth byte has room for one bit.
            if shift == 63 && b > 1 {
                return None;
            }
            v |= u64::from(b & 0x7F) << shift;
            if b < 0x80 {
                return Some(v);
            }
        }
        None
    }
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }
    fn field(&mut self) -> Option<(u64, Field<'a>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(self.array()?),
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                let (head, rest) = self.0.split_at_checked(len)?;
                self.0 = rest;
                Field::Bytes(head)
            }
            5 => Field::Fixed32(self.array()?),
            _ => return None,
        };
        Some((key >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Field<'a>)>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// What the reader wants from an event.
#[derive(Default)]
pub(super) struct Event {
    pub(super) wall_time: f64,
    pub(super) step: i64,
    /// Whether a session starts here, which voids what has this step or a later one.
    pub(super) session_start: bool,
    /// Tags and values of the scalars.
    pub(super) scalars: Vec<(String, f32)>,
}

/// Decodes an event; `None` when it breaks the encoding.
pub(super) fn decode_event(bytes: &[u8]) -> Option<Event> {
    let mut event = Event::default();
    for field in Fields(bytes) {
        match field? {
            (1, Field::Fixed64(v)) => event.wall_time = f64::from_le_bytes(v),
            (2, Field::Varint(v)) => event.step = v as i64,
            (5, Field::Bytes(summary)) => {
                for value in Fields(summary) {
                    if let (1, Field::Bytes(value)) = value? {
                        event.scalars.extend(decode_scalar(value)?);
                    }
                }
            }
            (7, Field::Bytes(log)) => {
                for field in Fields(log) {
                    if let (1, Field::Varint(1)) = field? {
                        event.session_start = true;
                    }
                }
            }
            _ => {}
        }
    }
    Some(event)
}

/// `Some(None)` for a value that is no scalar.
fn decode_scalar(bytes: &[u8]) -> Option<Option<(String, f32)>> {
    let (mut tag, mut number) = (String::new(), None);
    for field in Fields(bytes) {
        match field? {
            (1, Field::Bytes(v)) => tag = std::str::from_utf8(v).ok()?.to_string(),
            (2, Field::Fixed32(v)) => number = Some(f32::from_le_bytes(v)),
            _ => {}
        }
    }
    Some(number.map(|v| (tag, v)))
}
