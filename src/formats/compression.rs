//! Compressed bodies: gzip, zlib's format and bare deflate, seen by their first bytes, since senders mix
//! up the names: `deflate` may be zlib's format or bare, and kombu's `gzip` is zlib's. A body that is not
//! compressed, though its properties state so, is taken as it is.
//!
//! Invariant: no more than the limit of a body is decompressed, whatever it would come to.

use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::Refusal;
use crate::domain::RejectReason;

/// The compression that the AMQP properties state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Deflate,
    /// One that is not read, by its name where it has one here.
    Other(&'static str),
}

/// The name for an encoding that is not in the list.
pub(super) const UNKNOWN: &str = "one that is not known";

/// Compressions that are not read, and the names they have.
const COMPRESSIONS: [(&str, &[&str]); 8] = [
    ("br", &["br", "brotli", "application/x-brotli"]),
    ("zstd", &["zstd", "zstandard", "application/zstd"]),
    ("bzip2", &["bzip2", "bzip", "x-bzip2", "application/x-bz2"]),
    ("lzma", &["lzma", "xz", "x-xz", "application/x-lzma"]),
    ("compress", &["compress", "x-compress"]),
    ("snappy", &["snappy", "x-snappy"]),
    ("lz4", &["lz4"]),
    ("base64", &["base64"]),
];

pub(super) fn not_json(detail: String) -> Refusal {
    Refusal::new(RejectReason::NotJson, detail)
}

impl Compression {
    /// The compression with this name; `None` for names that mean no compression.
    pub(super) fn from_name(word: &str) -> Option<Compression> {
        let is = |name: &&str| word.trim().eq_ignore_ascii_case(name);
        if ["", "identity", "binary", "7bit", "8bit", "none"].iter().any(&is) {
            return None;
        }
        if ["gzip", "x-gzip", "application/gzip", "application/x-gzip"].iter().any(&is) {
            return Some(Compression::Gzip);
        }
        if ["deflate", "x-deflate", "zlib", "application/zlib"].iter().any(&is) {
            return Some(Compression::Deflate);
        }
        let known = COMPRESSIONS.iter().find(|(_, names)| names.iter().any(&is));
        Some(Compression::Other(known.map_or(UNKNOWN, |(name, _)| name)))
    }

    /// The decompressed body, of `max_bytes` at most; `None` where the body is not compressed.
    pub(super) fn decompress(
        self,
        body: &[u8],
        max_bytes: usize,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        if let Compression::Other(name) = self {
            // A body that begins as JSON is not compressed, whatever its properties state.
            return match first(body) {
                Some(b'{') => Ok(None),
                _ => Err(not_json(format!(
                    "the body's encoding is {name}, and only gzip and deflate are read"
                ))),
            };
        }
        match body {
            [0x1f, 0x8b, ..] => decompress(MultiGzDecoder::new(body), max_bytes).map(Some),
            [method, flags, ..] if is_zlib(*method, *flags) => {
                decompress(ZlibDecoder::new(body), max_bytes).map(Some)
            }
            _ if self == Compression::Gzip => Ok(None),
            // Some bare streams begin as an object does, and none of an object is text to its end.
            _ if first(body) == Some(b'{') && std::str::from_utf8(body).is_ok() => Ok(None),
            _ => decompress(DeflateDecoder::new(body), max_bytes).map(Some),
        }
    }
}

/// RFC 1950: the method is deflate with a window of at most 32 KB, and both bytes are a multiple of 31.
fn is_zlib(method: u8, flags: u8) -> bool {
    method & 0x0f == 8 && method >> 4 <= 7 && u16::from_be_bytes([method, flags]).is_multiple_of(31)
}

/// The first byte that is no white space.
fn first(body: &[u8]) -> Option<u8> {
    body.iter().copied().find(|byte| !byte.is_ascii_whitespace())
}

fn decompress(decoder: impl Read, max_bytes: usize) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    // One byte more than is allowed shows that the body is too large.
    let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
    let read = decoder.take(limit).read_to_end(&mut bytes);
    if bytes.len() > max_bytes {
        let what =
            format!("the body has more than the {max_bytes} bytes that are allowed, decompressed");
        return Err(Refusal::new(RejectReason::TooLarge, what));
    }
    match read {
        Ok(_) => Ok(bytes),
        Err(_) => {
            Err(not_json("the body cannot be decompressed: it is cut off, or damaged".to_owned()))
        }
    }
}
