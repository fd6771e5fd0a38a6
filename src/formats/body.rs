//! The body as text: of an accepted size, UTF-8, and nested no deeper than 128 levels.
//!
//! Without recursion, because the bytes are untrusted. The grammar itself is checked afterwards, by
//! serde_json when the members are read; this checks what serde_json accepts: depth (it skips nested
//! values without counting), control characters in member names, and line breaks between tokens.

use std::borrow::Cow;
use std::slice::Iter;

use super::Refusal;
use crate::domain::RejectReason;
use crate::domain::byte_order_mark::{bytes_without_mark, is_utf_16};

/// Bodies nested deeper than this are refused. Messages of contact centres stay far below it, and the
/// JSON parsers of consumers have such a limit too.
const MAX_DEPTH: usize = 128;

/// Checks a body and makes it one line of text, without the byte order mark that it may begin with. Line
/// breaks between tokens, which carry no meaning in JSON, become spaces, so that any value can stand in a
/// line of NDJSON, wherever it is published. Spaces rather than nothing: what a line break separates
/// stays two tokens, and no JSON.
///
/// # Errors
/// `too_large` above `max_bytes`; `not_json` for what no JSON nested at most 128 deep begins with.
pub fn check(bytes: &[u8], max_bytes: usize) -> Result<Cow<'_, str>, Refusal> {
    if bytes.len() > max_bytes {
        return Err(too_large(bytes.len(), max_bytes));
    }
    let text = std::str::from_utf8(bytes_without_mark(bytes)).map_err(|_| {
        not_json(match is_utf_16(bytes) {
            true => "the body is UTF-16, not UTF-8",
            false => "the body is not UTF-8",
        })
    })?;
    let breaks_lines = may_hide_something(text.as_bytes()) && scan(text.as_bytes())?;
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    Ok(match breaks_lines {
        true => Cow::Owned(text.replace(['\r', '\n'], " ")),
        false => Cow::Borrowed(text),
    })
}

pub(super) fn too_large(bytes: usize, max_bytes: usize) -> Refusal {
    let what = format!("the body has {bytes} bytes, of {max_bytes} that are allowed");
    Refusal::new(RejectReason::TooLarge, what)
}

/// Whether [`scan`], which goes from token to token, could find anything: most bodies have no control
/// characters and few brackets, wherever those stand.
fn may_hide_something(bytes: &[u8]) -> bool {
    // Counted in runs that a byte can count, which is many bytes at a time.
    let (mut opening, mut controls) = (0, 0);
    for run in bytes.chunks(usize::from(u8::MAX)) {
        opening += count(run, |byte| byte == b'{' || byte == b'[');
        controls += count(run, |byte| byte < 0x20);
    }
    opening > MAX_DEPTH || controls > 0
}

/// How many of at most 255 bytes are such.
fn count(run: &[u8], is: impl Fn(u8) -> bool) -> usize {
    run.iter().map(|byte| u8::from(is(*byte))).sum::<u8>().into()
}

/// Looks for nesting that is too deep and for control characters in strings, where JSON has none.
/// Says whether there are line breaks, which can then only stand between tokens.
fn scan(bytes: &[u8]) -> Result<bool, Refusal> {
    let mut depth = 0_usize;
    let mut breaks_lines = false;
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => skip_string(&mut rest)?,
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(not_json("the body is nested deeper than 128 levels"));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'\r' | b'\n' => breaks_lines = true,
            _ => {}
        }
    }
    Ok(breaks_lines)
}

/// Goes to the end of a string.
fn skip_string(rest: &mut Iter<'_, u8>) -> Result<(), Refusal> {
    loop {
        // A table, because most bytes of a body are looked up.
        match rest.find(|byte| ENDS_RUN[usize::from(**byte)]) {
            // Nothing closes it: what is wrong with that is grammar.
            None | Some(b'"') => return Ok(()),
            // An escaped character cannot end the string; serde_json checks whether the escape is legal.
            Some(b'\\') if rest.next().is_none_or(|escaped| *escaped >= 0x20) => {}
            Some(_) => return Err(not_json("a string holds a control character")),
        }
    }
}

/// The bytes that are looked at within a string.
const ENDS_RUN: [bool; 256] = {
    let mut ends = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        ends[byte] = byte < 0x20 || matches!(byte as u8, b'"' | b'\\');
        byte += 1;
    }
    ends
};

fn not_json(detail: &'static str) -> Refusal {
    Refusal::new(RejectReason::NotJson, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(bytes: &[u8]) -> Option<RejectReason> {
        check(bytes, 1_000_000).err().map(|refusal| refusal.reason)
    }

    #[test]
    fn depth_is_counted_outside_strings() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(reason(nested(128).as_bytes()), None);
        assert_eq!(reason(nested(129).as_bytes()), Some(RejectReason::NotJson));
        assert_eq!(reason(nested(100_000).as_bytes()), Some(RejectReason::NotJson));
        assert_eq!(reason(format!("\"{}\"", "[{\\\"".repeat(500)).as_bytes()), None);
    }

    #[test]
    fn rejects_bytes_that_are_no_text() {
        assert_eq!(reason(b"\xff{}"), Some(RejectReason::NotJson));
        let utf_16 = check(b"\xff\xfe{\0}\0", 100).expect_err("it is not UTF-8");
        assert_eq!(utf_16.detail.as_str(), "the body is UTF-16, not UTF-8");
        assert_eq!(reason(b"\"a\nb\""), Some(RejectReason::NotJson));
        assert_eq!(check(b"12345", 4).err().map(|r| r.reason), Some(RejectReason::TooLarge));
    }

    #[test]
    fn leading_byte_order_mark_is_removed() {
        assert_eq!(check("\u{feff} {}\n".as_bytes(), 100).expect("JSON"), "{}");
        // Within a string it is a character like any other.
        let within = "{\"a\":\"\u{feff}\"}";
        assert_eq!(check(within.as_bytes(), 100).expect("JSON"), within);
    }

    #[test]
    fn line_breaks_between_tokens_become_spaces() {
        let text = check(b" {\r\n \"a\\n\": [1,\n2]\n}\n", 100).expect("JSON");
        assert_eq!(text, r#"{   "a\n": [1, 2] }"#);
    }
}
