//! Malformed and extreme message bodies: the decoder rejects each with the right reason or accepts it,
//! and never panics.
//!
//! The corpus is data, in the spirit of JSONTestSuite: `tests/fixtures/json/*.json` hold pairs of a
//! name and a text. Each text is tried twice: as a body, and as a value within a message. Bytes that
//! no JSON file can hold are in the tables below.

use std::path::Path;

use throughline::domain::{Attempt, Outcome, RejectReason, Rules};
use throughline::formats::{self, Hints, body};
use throughline::pipeline::save::table::InteractionTable;

/// The default of `limits.body_max_bytes`.
const MAX_BYTES: usize = 1_048_576;

/// What becomes of a body: `None` if it is published, else why not.
fn verdict(bytes: &[u8]) -> Option<RejectReason> {
    let rules = Rules::empty();
    let text = match body::check(bytes, MAX_BYTES) {
        Ok(text) => text,
        Err(refusal) => return Some(refusal.reason),
    };
    let decoded = match formats::decode(&text, bytes, Hints::default()) {
        Ok(decoded) => decoded,
        Err(refusal) => return Some(refusal.reason),
    };
    let mut table = InteractionTable::default();
    match table.take(&rules, &decoded.message, Attempt::default()).outcome {
        Outcome::Rejected(refusal) => Some(refusal.reason),
        _ => None,
    }
}

/// A message that holds `value` as a value of its user data.
fn message_with(value: &[u8]) -> Vec<u8> {
    let head = br#"{"type":"interaction.created","id":"1","interaction":{"id":"A","channel":"chat","userData":{"k":"#;
    [head, value, b"}}}"].concat()
}

fn message_with_text(value: &str) -> Vec<u8> {
    message_with(value.as_bytes())
}

/// Name and text of every entry of a corpus file.
fn corpus(name: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/json").join(name);
    let text = std::fs::read_to_string(&path).expect("a corpus file");
    serde_json::from_str(&text).expect("pairs of a name and a text")
}

#[test]
fn valid_json_values_are_published_unchanged() {
    let entries = corpus("accepted.json");
    assert!(entries.len() >= 60, "the corpus has {} entries", entries.len());
    for (name, json) in &entries {
        assert_eq!(verdict(&message_with_text(json)), None, "{name} as a value");
        let as_body = verdict(json.as_bytes());
        assert_eq!(as_body, Some(RejectReason::NotAnInteraction), "{name} as a body");
    }
}

#[test]
fn invalid_json_is_rejected_at_any_position() {
    let entries = corpus("refused.json");
    assert!(entries.len() >= 100, "the corpus has {} entries", entries.len());
    for (name, json) in &entries {
        let as_value = verdict(&message_with_text(json));
        assert_eq!(as_value, Some(RejectReason::NotJson), "{name} as a value");
        // Before a body a byte order mark is passed over; what follows it here is JSON, but no message.
        let marked = json.starts_with('\u{feff}');
        let expected = if marked { RejectReason::NotAnInteraction } else { RejectReason::NotJson };
        assert_eq!(verdict(json.as_bytes()), Some(expected), "{name} as a body");
    }
}

#[test]
fn bytes_that_are_no_utf8_are_not_json() {
    let bytes: &[(&str, &[u8])] = &[
        ("a lone continuation byte", b"\"\x80\""),
        ("an overlong slash", b"\"\xc0\xaf\""),
        ("an overlong NUL", b"\"\xc0\x80\""),
        ("an overlong form of three bytes", b"\"\xe0\x80\xaf\""),
        ("a sequence cut short", b"\"\xe2\x82\""),
        ("a surrogate in UTF-8", b"\"\xed\xa0\x80\""),
        ("a pair of surrogates in UTF-8", b"\"\xed\xa0\xbd\xed\xb8\x80\""),
        ("beyond U+10FFFF", b"\"\xf4\x90\x80\x80\""),
        ("a byte that UTF-8 has not", b"\"\xff\""),
        ("Latin-1", b"\"gr\xf6\xdfe\""),
        ("an escape followed by a bad byte", b"\"\\\xe5\""),
        ("a bad byte after the value", b"1\xff"),
        ("a bad byte as a number", b"[\xff]"),
    ];
    for (name, value) in bytes {
        assert_eq!(verdict(value), Some(RejectReason::NotJson), "{name} as a body");
        let message = message_with(value);
        assert_eq!(verdict(&message), Some(RejectReason::NotJson), "{name} as a value");
    }
}

#[test]
fn only_utf8_with_or_without_a_byte_order_mark_is_read() {
    let message = message_with_text("1");
    let utf16: Vec<u8> = message.iter().flat_map(|byte| [*byte, 0]).collect();
    for (name, bytes) in [
        ("a byte order mark after it", [message.as_slice(), b"\xef\xbb\xbf"].concat()),
        ("half a byte order mark", [b"\xef\xbb", message.as_slice()].concat()),
        ("UTF-16", utf16.clone()),
        ("UTF-16 with its mark", [b"\xff\xfe", utf16.as_slice()].concat()),
        ("a NUL after it", [message.as_slice(), b"\0"].concat()),
        ("a form feed before it", [b"\x0c", message.as_slice()].concat()),
        ("another message after it", [message.as_slice(), message.as_slice()].concat()),
    ] {
        assert_eq!(verdict(&bytes), Some(RejectReason::NotJson), "{name}");
    }
    let marked = [b"\xef\xbb\xbf", message.as_slice()].concat();
    assert_eq!(verdict(&marked), None, "a byte order mark before a body is passed over (RFC 8259)");
    let spaced = [b" \t\r\n", message.as_slice(), b"\n\r\t "].concat();
    assert_eq!(verdict(&spaced), None, "white space around a body is nothing");
}

#[test]
fn a_body_cut_short_at_any_byte_is_not_json() {
    let message = concat!(
        r#"{"type":"interaction.created","id":"e1","time":"2026-11-21T09:15:27Z","source":"agent","#,
        r#""interaction":{"id":"größe","channel":"chat","tenant":null,"parent":{"id":"P","userData":{}},"#,
        r#""userData":[{"key":"a","type":"int","value":-1.5e+3}],"attached":[{"userData":{"\u00e9":"\\"}}]}}"#
    );
    assert_eq!(verdict(message.as_bytes()), None);
    for end in 0..message.len() {
        let cut = &message.as_bytes()[..end];
        assert_eq!(verdict(cut), Some(RejectReason::NotJson), "cut after {end} bytes");
    }
}

#[test]
fn every_byte_changed_to_every_other_is_decided() {
    let message = message_with_text(r#"["\u00e9",-1.5e3,null]"#);
    for position in 0..message.len() {
        for byte in
            [0, b' ', b'"', b'\\', b'{', b'}', b'[', b']', b',', b':', b'0', b'\n', 0x80, 0xFF]
        {
            let mut changed = message.clone();
            changed[position] = byte;
            // Any answer will do, a panic will not; and what is published must have been JSON.
            if verdict(&changed).is_none() {
                let json = serde_json::from_slice::<serde::de::IgnoredAny>(&changed);
                assert!(json.is_ok(), "byte {position} changed to {byte:#x}");
            }
        }
    }
}

#[test]
fn deep_nesting_is_rejected_cheaply() {
    let nested = |open: &str, close: &str, levels: usize| {
        message_with_text(&format!("{}0{}", open.repeat(levels), close.repeat(levels)))
    };
    // The value stands three levels down.
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        assert_eq!(verdict(&nested(open, close, 125)), None);
        assert_eq!(verdict(&nested(open, close, 126)), Some(RejectReason::NotJson));
        assert_eq!(verdict(&nested(open, close, 100_000)), Some(RejectReason::NotJson));
    }
    for endless in ["[", r#"{"a":"#, r#"[{"":"#] {
        let unclosed = endless.repeat(100_000);
        assert_eq!(verdict(unclosed.as_bytes()), Some(RejectReason::NotJson), "{endless}");
    }
    let closed_only = "]".repeat(100_000);
    assert_eq!(verdict(closed_only.as_bytes()), Some(RejectReason::NotJson));
}

#[test]
fn size_limit_is_checked_before_content() {
    let empty = message_with_text(r#""""#).len();
    let of_bytes = |bytes: usize| message_with_text(&format!("\"{}\"", "x".repeat(bytes - empty)));
    // As a body it is accepted; as user data it is over K7's limit: the same reason, another stage.
    assert!(body::check(&of_bytes(MAX_BYTES), MAX_BYTES).is_ok());
    let refusal = body::check(&of_bytes(MAX_BYTES + 1), MAX_BYTES).expect_err("one byte too many");
    assert_eq!(refusal.reason, RejectReason::TooLarge);
    assert_eq!(verdict(&of_bytes(MAX_BYTES)), Some(RejectReason::TooLarge));
    assert_eq!(verdict(&of_bytes(10_000_000)), Some(RejectReason::TooLarge), "10 MB");
    assert_eq!(verdict(&vec![0xFF; 10_000_000]), Some(RejectReason::TooLarge), "10 MB of nothing");
    assert_eq!(verdict(&vec![b'['; MAX_BYTES]), Some(RejectReason::NotJson));
}

#[test]
fn a_message_of_very_many_members_is_decided() {
    let pairs = |n: usize| (0..n).map(|i| format!("\"{i}\":{i}")).collect::<Vec<_>>().join(",");
    let repeats = vec![r#""a":1"#; 20_000].join(",");
    for (userdata, expected) in [
        (format!("{{{}}}", pairs(4_000)), None),
        (format!("{{{}}}", pairs(20_000)), Some(RejectReason::TooLarge)),
        (format!("{{{repeats}}}"), None),
    ] {
        let body = format!(
            r#"{{"type":"interaction.created","id":"1","interaction":{{"id":"A","channel":"chat","userData":{userdata}}}}}"#
        );
        assert_eq!(verdict(body.as_bytes()), expected);
    }
}

#[test]
fn refusals_do_not_quote_the_body() {
    for body in [
        r#"{"planted"#,
        r#"{"type":"planted"}"#,
        r#"{"type":"interaction.planted","interaction":{"id":"A"}}"#,
        r#"{"type":"interaction.created","id":["planted"],"interaction":{"id":"A","channel":"chat"}}"#,
        r#"{"type":"interaction.created","interaction":{"id":{"x":"planted"},"channel":"chat"}}"#,
        r#"{"type":"interaction.ended","interaction":{"id":"A","state":"planted"}}"#,
        r#"{"type":"interaction.created","interaction":{"id":"A","channel":"chat","attached":"planted"}}"#,
        r#"{"specversion":"planted","type":"planted","data":"planted"}"#,
    ] {
        let refusal = body::check(body.as_bytes(), MAX_BYTES)
            .and_then(|text| formats::decode(&text, body.as_bytes(), Hints::default()).map(drop))
            .expect_err("a refusal");
        assert!(!format!("{refusal} {refusal:?}").contains("planted"), "{refusal}");
    }
}

#[test]
fn attributes_of_a_cloud_event_in_headers_have_the_limits_of_its_members() {
    let body = r#"{"interaction":{"id":"A","channel":"chat"}}"#;
    for (id, refused) in [
        ("e".repeat(255), false),
        ("e".repeat(256), true),
        ("é".repeat(128), true),
        ("a\0b".to_owned(), true),
    ] {
        let attributes = [("specversion", "1.0"), ("type", "interaction.created"), ("id", &id)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let hints = Hints { cloud_event: &attributes, ..Hints::default() };
        let reason = formats::decode(body, body.as_bytes(), hints).err().map(|r| r.reason);
        assert_eq!(reason, refused.then_some(RejectReason::NotAnInteraction));
    }
}
