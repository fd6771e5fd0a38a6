//! The byte order mark that some editors and libraries begin a text with.
//!
//! In UTF-8 it carries no information, and RFC 8259 allows a JSON parser to ignore it. Parsers do not,
//! and their error messages do not help a user who saved the file with Windows' Notepad. Only the one at
//! the very beginning is a mark; anywhere else the character is part of the text.

/// A text without the mark that it may begin with.
pub fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The same for bytes that are not yet known to be UTF-8.
pub fn bytes_without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// Whether bytes begin with a mark of UTF-16, in either order.
pub fn is_utf_16(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_one_mark_at_the_beginning() {
        for (text, rest) in [
            ("", ""),
            ("{}", "{}"),
            ("\u{feff}", ""),
            ("\u{feff}{}", "{}"),
            ("\u{feff}\u{feff}{}", "\u{feff}{}"),
            (" \u{feff}{}", " \u{feff}{}"),
        ] {
            assert_eq!(without_mark(text), rest, "{text:?}");
            assert_eq!(bytes_without_mark(text.as_bytes()), rest.as_bytes(), "{text:?}");
        }
        assert!(is_utf_16(b"\xff\xfe{\0}\0") && is_utf_16(b"\xfe\xff\0{\0}"));
        assert!(!is_utf_16("\u{feff}{}".as_bytes()));
    }
}
