//! The payloads of `tests/fixtures`, and short ways to decode.

use std::path::Path;

use throughline::domain::{Attached, RawJson, RejectReason};
use throughline::formats::{self, Decoded, Hints, Refusal};

/// One payload as a vendor sends it.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    /// File and line: `sinch-conversation.ndjson:2`.
    pub(crate) name: String,
    pub(crate) body: String,
}

/// Every payload, by file and line.
pub(crate) fn payloads() -> Vec<Payload> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let entries = std::fs::read_dir(&folder).expect("the folder of payloads");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    // Folders hold what other tests read.
    paths.retain(|path| path.is_file());
    paths.sort();
    let mut payloads = Vec::new();
    for path in paths {
        let file = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        let text = std::fs::read_to_string(&path).expect("a payload");
        for (n, line) in text.lines().enumerate() {
            payloads.push(Payload { name: format!("{file}:{}", n + 1), body: line.to_owned() });
        }
    }
    assert!(!payloads.is_empty(), "no payloads in {}", folder.display());
    payloads
}

/// Decodes a text that has passed the checks of a body.
pub(crate) fn decode_as<'a>(text: &'a str, hints: Hints<'a>) -> Result<Decoded<'a>, Refusal> {
    formats::decode(text, text.as_bytes(), hints)
}

/// Decodes by shape what is known to be decodable.
pub(crate) fn decode(text: &str) -> Decoded<'_> {
    decode_as(text, Hints::default()).unwrap_or_else(|refusal| panic!("{refusal} in {text}"))
}

/// Why a text is refused.
pub(crate) fn refusal(text: &str) -> RejectReason {
    match decode_as(text, Hints::default()) {
        Err(refusal) => refusal.reason,
        Ok(decoded) => panic!("{text} is {decoded:?}"),
    }
}

/// The pairs that a message brings, `key=value` each.
pub(crate) fn pairs(decoded: &Decoded<'_>) -> Vec<String> {
    let pairs = decoded.message.own.iter().flat_map(|(_, attached)| match attached {
        Attached::Pairs(pairs) => {
            pairs.iter().map(|(key, value)| format!("{key}={}", value.as_json())).collect()
        }
        Attached::Json(json) => of_json(*json),
        Attached::Unpacked(text) => of_json(RawJson::check(text).expect("JSON")),
    });
    pairs.collect()
}

fn of_json(json: RawJson<'_>) -> Vec<String> {
    let members = json.members().unwrap_or_default();
    members.iter().map(|(key, raw)| format!("{key}={}", raw.get())).collect()
}
