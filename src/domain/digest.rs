//! Truncated SHA-256, and bytes as hexadecimal text.

use std::fmt;

use ring::digest::{Context, SHA256};

/// The first `N` bytes (at most 32) of the SHA-256 of the concatenated parts.
pub(crate) fn sha256<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut hasher = Context::new(&SHA256);
    parts.iter().for_each(|part| hasher.update(part));
    let hash = hasher.finish();
    std::array::from_fn(|place| hash.as_ref()[place])
}

/// Bytes as lowercase hexadecimal digits.
#[derive(Clone, Copy, Debug)]
pub struct Hex<'b>(pub &'b [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
