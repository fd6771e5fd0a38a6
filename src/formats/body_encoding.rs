//! How a body is encoded, as its AMQP properties state, and how it is decoded.
//!
//! | stated by | what | is |
//! |---|---|---|
//! | `type` | `amqp-1.0` | sections of AMQP 1.0, `amqp_sections.rs` |
//! | `content_encoding` | `gzip`, `deflate` and their aliases | decompressed |
//! | kombu's header `compression` | `application/x-gzip`, which is zlib's format there | decompressed |
//! | `content_encoding`, `charset` in `content_type` | another compression, another character set | named where the body cannot be read |
//!
//! Invariant: nothing that a sender wrote is repeated; encodings and character sets are named where they are
//! among those here.

use std::borrow::Cow;

use super::compression::{Compression, UNKNOWN, not_json};
use super::{Refusal, amqp_sections, body};
use crate::domain::RejectReason;

/// How a body is encoded; by default it is plain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodyEncoding {
    /// Sections of AMQP 1.0.
    sections: bool,
    compression: Option<Compression>,
    /// A character set that is not UTF-8, by its name where it has one here.
    charset: Option<&'static str>,
}

/// The properties of a message that describe how its body is encoded, by their AMQP names.
#[derive(Clone, Copy, Debug, Default)]
pub struct EncodingHeaders<'a> {
    /// `type`.
    pub kind: Option<&'a str>,
    /// `content_type`.
    pub content_type: Option<&'a str>,
    /// `content_encoding`.
    pub content_encoding: Option<&'a str>,
    /// The header `compression`.
    pub compression: Option<&'a str>,
}

/// A body as text.
#[derive(Clone, Debug)]
pub struct Text<'b> {
    /// The text, on one line.
    pub text: Cow<'b, str>,
    /// The bytes it was made of: the body, decoded.
    pub bytes: Cow<'b, [u8]>,
}

/// Character sets that are not UTF-8: the prefix of their names, and the name in a refusal.
const CHARSETS: [(&str, &str); 14] = [
    ("utf-16", "UTF-16"),
    ("utf16", "UTF-16"),
    ("ucs-2", "UTF-16"),
    ("utf-32", "UTF-32"),
    ("utf32", "UTF-32"),
    ("iso-8859-", "ISO-8859"),
    ("iso8859", "ISO-8859"),
    ("latin", "ISO-8859"),
    ("windows-125", "Windows-125x"),
    ("cp125", "Windows-125x"),
    ("shift_jis", "Shift_JIS"),
    ("euc-", "EUC"),
    ("gb", "GB 18030"),
    ("big5", "Big5"),
];

impl BodyEncoding {
    /// The encoding that the headers of a transport state.
    pub fn from_headers(headers: EncodingHeaders<'_>) -> BodyEncoding {
        let mut encoding = BodyEncoding {
            sections: headers.kind == Some(amqp_sections::TYPE),
            compression: headers.compression.and_then(Compression::from_name),
            charset: headers.content_type.and_then(charset_of_type).and_then(charset),
        };
        // Celery and others write the character set there.
        match headers.content_encoding {
            None => {}
            Some(word) => match charset(word) {
                found @ Some(name) if name != UNKNOWN => encoding.charset = found,
                None => {}
                Some(_) if encoding.compression.is_some() => {}
                Some(_) => encoding.compression = Compression::from_name(word),
            },
        }
        encoding
    }

    /// Whether the body is what it is.
    pub fn is_plain(self) -> bool {
        !self.sections && self.compression.is_none()
    }

    /// The body, decoded, of `max_bytes` at most.
    ///
    /// # Errors
    /// `too_large` for what is longer, `not_json` for what cannot be decoded.
    pub fn decode(self, body: &[u8], max_bytes: usize) -> Result<Cow<'_, [u8]>, Refusal> {
        if self.is_plain() {
            return Ok(Cow::Borrowed(body));
        }
        if body.len() > max_bytes {
            return Err(body::too_large(body.len(), max_bytes));
        }
        let inner = match self.sections {
            true => {
                amqp_sections::unwrap(body).map_err(|what| not_json(format!("the body {what}")))?
            }
            false => Cow::Borrowed(body),
        };
        let Some(compression) = self.compression else { return Ok(inner) };
        Ok(match compression.decompress(&inner, max_bytes)? {
            Some(bytes) => Cow::Owned(bytes),
            None => inner,
        })
    }

    /// The body as text, decoded, of `max_bytes` at most: [`body::check`].
    ///
    /// # Errors
    /// As [`BodyEncoding::decode`] and [`body::check`]; where the headers state a character set that is
    /// not UTF-8, the detail names it.
    pub fn text(self, body: &[u8], max_bytes: usize) -> Result<Text<'_>, Refusal> {
        let text = match self.decode(body, max_bytes)? {
            Cow::Borrowed(bytes) => {
                body::check(bytes, max_bytes).map(|text| Text { text, bytes: Cow::Borrowed(bytes) })
            }
            Cow::Owned(bytes) => body::check(&bytes, max_bytes)
                .map(|text| Cow::Owned(text.into_owned()))
                .map(|text| Text { text, bytes: Cow::Owned(bytes) }),
        };
        match (text, self.charset) {
            (Err(Refusal { reason: RejectReason::NotJson, detail }), Some(charset)) => {
                let detail = format!(
                    "{detail}; its character set is said to be {charset}, and only UTF-8 is read"
                );
                Err(not_json(detail))
            }
            (text, _) => text,
        }
    }
}

/// The value of the parameter `charset` of a media type.
fn charset_of_type(content_type: &str) -> Option<&str> {
    let mut parameters = content_type.split(';').skip(1).filter_map(|one| one.split_once('='));
    let (_, value) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
    Some(value.trim().trim_matches('"'))
}

/// The character set of this name; `None` for UTF-8 and what is a part of it.
fn charset(word: &str) -> Option<&'static str> {
    let word = word.trim().to_ascii_lowercase();
    if ["utf-8", "utf8", "us-ascii", "ascii", ""].contains(&word.as_str()) {
        return None;
    }
    let known = CHARSETS.iter().find(|(begin, _)| word.starts_with(begin));
    Some(known.map_or(UNKNOWN, |(_, name)| name))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression as Level;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    const JSON: &[u8] = br#"{"a":"text that is long enough to be worth it, worth it, worth it"}"#;
    const MAX: usize = 1000;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Level::best());
        encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("a vector takes it")
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Level::best());
        encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("a vector takes it")
    }

    fn bare(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Level::best());
        encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("a vector takes it")
    }

    fn encoded(word: &str) -> BodyEncoding {
        let none = EncodingHeaders::default();
        BodyEncoding::from_headers(EncodingHeaders { content_encoding: Some(word), ..none })
    }

    fn typed(content_type: &str) -> BodyEncoding {
        let none = EncodingHeaders::default();
        BodyEncoding::from_headers(EncodingHeaders { content_type: Some(content_type), ..none })
    }

    /// The decoded bytes of a body, or the reason and the detail of the refusal.
    fn read(encoding: BodyEncoding, body: &[u8]) -> Result<Vec<u8>, (RejectReason, String)> {
        match encoding.text(body, MAX) {
            Ok(Text { text, bytes }) => {
                assert_eq!(text.as_bytes(), bytes.trim_ascii(), "text and bytes are the same");
                Ok(bytes.into_owned())
            }
            Err(refusal) => Err((refusal.reason, refusal.detail.to_string())),
        }
    }

    #[test]
    fn compression_is_detected_from_the_body_not_from_the_header() {
        for (word, body) in [
            ("gzip", gzip(JSON)),
            ("x-gzip", gzip(JSON)),
            ("GZIP", gzip(JSON)),
            ("gzip", [gzip(&JSON[..9]), gzip(&JSON[9..])].concat()),
            ("deflate", zlib(JSON)),
            ("deflate", bare(JSON)),
            ("x-deflate", bare(JSON)),
            ("zlib", zlib(JSON)),
            ("gzip", zlib(JSON)),
            ("deflate", gzip(JSON)),
            // Stated to be compressed, and is not.
            ("gzip", JSON.to_vec()),
            ("deflate", JSON.to_vec()),
            ("br", JSON.to_vec()),
            // Not compressed at all.
            ("utf-8", JSON.to_vec()),
            ("binary", JSON.to_vec()),
            ("identity", JSON.to_vec()),
            ("", JSON.to_vec()),
        ] {
            assert_eq!(read(encoded(word), &body), Ok(JSON.to_vec()), "{word}");
        }
        let kombu = EncodingHeaders {
            content_encoding: Some("utf-8"),
            compression: Some("application/x-gzip"),
            ..EncodingHeaders::default()
        };
        assert_eq!(read(BodyEncoding::from_headers(kombu), &zlib(JSON)), Ok(JSON.to_vec()));
        let both = BodyEncoding::from_headers(EncodingHeaders {
            kind: Some("amqp-1.0"),
            content_encoding: Some("gzip"),
            ..EncodingHeaders::default()
        });
        let packed = gzip(JSON);
        let length = u8::try_from(packed.len()).expect("it is short");
        let body = [&[0x00, 0x53, 0x75, 0xa0, length], &packed[..]].concat();
        assert_eq!(read(both, &body), Ok(JSON.to_vec()));
    }

    #[test]
    fn rejects_decompression_bombs_as_too_large() {
        let zeros = vec![b' '; 50_000_000];
        for (word, body) in
            [("gzip", gzip(&zeros)), ("deflate", zlib(&zeros)), ("deflate", bare(&zeros))]
        {
            let bomb = [&body[..], b""].concat();
            assert!(bomb.len() < 60_000);
            let decoded = encoded(word).decode(&bomb, 100_000);
            assert_eq!(decoded.map_err(|refusal| refusal.reason), Err(RejectReason::TooLarge));
        }
        let exact = [b'1'; MAX];
        assert!(encoded("gzip").decode(&gzip(&exact), MAX).is_ok());
        assert!(encoded("gzip").decode(&gzip(&[b'1'; MAX + 1]), MAX).is_err());
        // A body that is too long before decompression is refused without decompressing it.
        assert!(encoded("gzip").decode(&[b'1'; MAX + 1], MAX).is_err());
    }

    #[test]
    fn unreadable_body_is_rejected_with_its_stated_encoding() {
        let not_json = |detail: &str| Err((RejectReason::NotJson, detail.to_owned()));
        let damaged = "the body cannot be decompressed: it is cut off, or damaged";
        let packed = gzip(JSON);
        assert_eq!(read(encoded("gzip"), &packed[..packed.len() - 9]), not_json(damaged));
        assert_eq!(read(encoded("deflate"), &zlib(JSON)[..20]), not_json(damaged));
        let other = |name: &str| {
            format!("the body's encoding is {name}, and only gzip and deflate are read")
        };
        for (word, name) in [
            ("br", "br"),
            ("zstd", "zstd"),
            ("application/x-bz2", "bzip2"),
            ("+49 30 1234", "one that is not known"),
        ] {
            assert_eq!(read(encoded(word), b"\x1b\x03"), not_json(&other(name)), "{word}");
        }
        for (content_type, name) in [
            ("application/json; charset=ISO-8859-1", "ISO-8859"),
            ("application/json;a=b; Charset=\"windows-1252\"", "Windows-125x"),
            ("application/json; charset=+49301234", "one that is not known"),
        ] {
            let latin = b"{\"name\":\"Gr\xf6\xdfe\"}";
            let detail = format!(
                "the body is not UTF-8; its character set is said to be {name}, and only UTF-8 is read"
            );
            assert_eq!(read(typed(content_type), latin), not_json(&detail), "{content_type}");
            assert_eq!(
                read(typed(content_type), JSON),
                Ok(JSON.to_vec()),
                "its letters are ASCII's"
            );
        }
        let celery = encoded("latin-1");
        assert!(read(celery, b"\xff").is_err_and(|(_, detail)| detail.contains("ISO-8859")));
        for utf8 in
            ["application/json", "application/json; charset=UTF-8", "text/plain; charset=us-ascii"]
        {
            assert_eq!(typed(utf8), BodyEncoding::default(), "{utf8}");
        }
    }
}
