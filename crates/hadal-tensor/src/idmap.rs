//! Maps by node number.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Ids are consecutive numbers: multiplying spreads them well enough.
#[derive(Default)]
pub(crate) struct IdHasher(u64);
impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.write_u64(b as u64);
        }
    }
    fn write_u64(&mut self, id: u64) {
        self.0 = id.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23);
    }
}
/// Only ever looked up, never iterated: its order reaches no result.
pub(crate) type IdMap<V> = HashMap<u64, V, BuildHasherDefault<IdHasher>>;
