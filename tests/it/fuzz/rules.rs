//! Rules files, as TOML and as JSON.
//!
//! An input is the file's text; what begins with `{` is JSON, all else TOML.
//!
//! Laws: the loader answers any text; a refusal names problems; the canonical form is JSON that comes
//! to the same answer and the same revision; what is accepted takes any message to an outcome.

use std::path::Path;

use serde_json::value::RawValue;
use throughline::domain::Attempt;
use throughline::formats::enriched::{self, Stamp};
use throughline::formats::{self, Hints};
use throughline::pipeline::save::table::InteractionTable;
use throughline::settings::rules_file::{self, Document, Syntax};

/// Messages that meet every kind of rule, of the channels and keys that the corpus's rules speak of.
const MESSAGES: [&str; 5] = [
    r#"{"type":"interaction.created","id":"1","interaction":{"id":"P","channel":"webengagement","queue":"q","userData":{"a":"1","rule":"r","jsonEvent":{"page":{"title":"T","n":[1.10]}}}}}"#,
    r#"{"type":"interaction.created","id":"2","interaction":{"id":"C","channel":"chat","parentId":"P","queue":"vip@acme.test","widget":"w-17","userData":{"AccNum":"A-1","b":null,"c":{"d":[1]},"é":""},"attached":[{"source":"integration","userData":{"Tier":"gold","a":2}}]}}"#,
    r#"{"type":"interaction.updated","id":"3","source":"agent","interaction":{"id":"C","userData":{"a":"3","b":"x\r\ny"}}}"#,
    r#"{"type":"interaction.created","id":"4","interaction":{"id":"V","channel":"webcallback","callTarget":"4380","parent":{"id":"P","userData":{"a":true,"noEngageCode":7}},"userData":[{"k":"a","v":"4"}]}}"#,
    r#"{"type":"interaction.ended","id":"5","interaction":{"id":"C","state":"handled"}}"#,
];

/// Panics if a law does not hold for this input.
pub(crate) fn hold_for(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let syntax = Syntax::of(Path::new("rules"), text);
    let document = match Document::parse(text, syntax) {
        Ok(document) => document,
        Err(what) => return assert!(!what.is_empty(), "a refusal says what is wrong"),
    };
    let canonical = document.canonical();
    let again = Document::parse(&canonical, Syntax::Json).expect("the canonical form is JSON");
    assert_eq!(again.canonical(), canonical, "a fixed point");
    let rules = match (rules_file::compile(&document), rules_file::compile(&again)) {
        (Ok(once), Ok(again)) => {
            assert_eq!(once.rules.revision().as_str(), again.rules.revision().as_str());
            assert_eq!(once.warnings.len(), again.warnings.len());
            once.rules
        }
        (Err(once), Err(again)) => {
            assert!(!once.is_empty(), "a refusal names its problems");
            return assert_eq!(once.len(), again.len());
        }
        (once, again) => panic!("{:?} and then {:?}", once.is_ok(), again.is_ok()),
    };
    let decoded = MESSAGES.map(|text| {
        formats::decode(text, text.as_bytes(), Hints::default()).expect("these are messages")
    });
    let mut table = InteractionTable::default();
    for decoded in &decoded {
        let step = table.take(&rules, &decoded.message, Attempt::default());
        let stamp =
            Stamp { revision: rules.revision(), time: "1970-01-01T00:00:00.000Z", origins: true };
        if let Some(line) = enriched::encode(decoded, &step, stamp) {
            assert!(!line.contains(&b'\n'), "what is published is one line");
            serde_json::from_slice::<&RawValue>(&line).expect("what is published is JSON");
        }
    }
}
