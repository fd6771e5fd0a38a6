//! W3C Trace Context: how messages name the span they come from (`traceparent`).
//!
//! An invalid `traceparent` counts as none; it is never repaired. Pure.

use std::fmt;

use crate::domain::digest::Hex;

/// The id of a trace.
pub type TraceId = [u8; 16];
/// The id of a span.
pub type SpanId = [u8; 8];

/// A span as others refer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
    /// The trace's flags; [`SAMPLED`] is the one that counts here.
    pub flags: u8,
}

/// The flag of a trace that is recorded.
pub const SAMPLED: u8 = 1;

impl SpanContext {
    /// Reads a `traceparent`; `None` if it is none. Later versions of it may append something.
    pub fn parse(text: &str) -> Option<SpanContext> {
        let mut parts = text.split('-');
        let [version, trace, span, flags] = std::array::from_fn(|_| parts.next().unwrap_or(""));
        let [version] = hex::<1>(version)?;
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return None;
        }
        let [flags] = hex::<1>(flags)?;
        let context = SpanContext { trace_id: hex(trace)?, span_id: hex(span)?, flags };
        // All zeros stand for none.
        (context.trace_id != [0; 16] && context.span_id != [0; 8]).then_some(context)
    }

    /// Whether its trace is recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

impl fmt::Display for SpanContext {
    /// As `traceparent` has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SpanContext { trace_id, span_id, flags } = self;
        write!(f, "00-{}-{}-{flags:02x}", Hex(trace_id), Hex(span_id))
    }
}

/// Exactly `N` bytes, of lowercase digits as W3C wants them.
fn hex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != 2 * N || !digits.as_bytes().iter().all(is_digit) {
        return None;
    }
    let mut bytes = [0; N];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparent_round_trips() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = SpanContext::parse(text).expect("the example of W3C");
        assert!(context.is_sampled());
        assert_eq!(context.to_string(), text);
        // A later version may append fields.
        let later = text.replacen("00", "01", 1) + "-more";
        assert_eq!(SpanContext::parse(&later), Some(context));
    }

    #[test]
    fn invalid_traceparent_is_none() {
        let zeros = "0".repeat(16);
        for text in [
            "",
            "00-abc-def-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            &format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{zeros}-01"),
            &format!("00-{zeros}{zeros}-00f067aa0ba902b7-01"),
        ] {
            assert_eq!(SpanContext::parse(text), None, "{text:?}");
        }
    }
}
