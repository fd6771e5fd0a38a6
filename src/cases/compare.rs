//! Compares the result of a message with the expectation of its case.
//!
//! Values are compared as written: `1.10` is not `1.1`, and members of nested objects stand in their
//! order; only white space and the escapes of strings are ignored. Differences show values: these
//! come from a case file, not from a customer.

use std::collections::BTreeMap;

use super::file::{Expectation, MAPS};
use crate::domain::json::{elements, members};
use crate::domain::json_string::{string_bytes, write_json_string};
use crate::domain::value::{Kind, kind};
use crate::domain::{Outcome, Refusal, Step};
use crate::settings::rules_file::Problem;

/// Values as written, by key.
pub type PairMap = BTreeMap<String, String>;

/// The result of a message.
#[derive(Debug, Default)]
pub struct ActualResult {
    /// The outcome's word.
    pub outcome: Option<String>,
    /// The reason of a rejection.
    pub reason: Option<String>,
    /// What exactly is wrong with a message that is rejected.
    pub detail: Option<String>,
    /// The parent's status.
    pub parent: Option<String>,
    /// `userData`, `metadata`, `extraData`; `None` where nothing is published.
    pub maps: Option<[PairMap; 3]>,
    /// Origins of what is published.
    pub origins: PairMap,
    /// Why other pairs are not published.
    pub dropped: PairMap,
    /// Codes of warnings.
    pub warnings: Vec<String>,
}

impl ActualResult {
    /// Records the result of a step.
    pub(super) fn record_step(&mut self, step: &Step<'_>) {
        self.outcome = Some(step.outcome.as_str().to_owned());
        self.warnings = step.report.warnings().map(|w| w.code.as_str().to_owned()).collect();
        let dropped = step.report.dropped();
        self.dropped = dropped.map(|(key, why)| (key.to_string(), why.to_string())).collect();
        match &step.outcome {
            Outcome::Enriched(enriched) => {
                self.parent = Some(enriched.parent.as_str().to_owned());
                let (mut data, mut origins) = (PairMap::new(), PairMap::new());
                for (key, value, origin) in enriched.published() {
                    data.insert(key.to_string(), as_written(value.as_json()));
                    origins.insert(key.to_string(), origin.to_string());
                }
                self.origins = origins;
                let metadata = enriched.metadata.iter();
                let metadata = metadata
                    .map(|(name, value)| ((*name).to_owned(), as_written(value.as_json())))
                    .collect();
                self.maps = Some([data, metadata, pairs_as_written(&enriched.record.to_json())]);
            }
            Outcome::Ended(ended) => {
                self.maps = Some([
                    PairMap::new(),
                    PairMap::new(),
                    pairs_as_written(&ended.record.to_json()),
                ]);
            }
            Outcome::Rejected(refusal) => self.record_refusal(refusal),
            Outcome::Ignored | Outcome::Duplicate | Outcome::Waiting(_) => {}
        }
    }

    /// Records that the body was refused.
    pub(super) fn record_refusal(&mut self, refusal: &Refusal) {
        self.outcome = Some("rejected".to_owned());
        self.reason = Some(refusal.reason.as_str().to_owned());
        self.detail = Some(refusal.detail.as_str().to_owned());
    }
}

impl Expectation {
    /// The differences to the actual result, a line each.
    pub fn differences(&self, actual: &ActualResult, rules_warnings: &[Problem]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut word = |name: &str, expected: &Option<String>, found: Option<&str>| {
            if expected.is_some() && expected.as_deref() != found {
                let expected = expected.as_deref().unwrap_or_default();
                lines.push(format!("{name}: expected {expected}, found {}", or_none(found)));
            }
        };
        word("outcome", &self.outcome, actual.outcome.as_deref());
        word("reason", &self.reason, actual.reason.as_deref());
        word("detail", &self.detail, actual.detail.as_deref());
        word("parent", &self.parent, actual.parent.as_deref());
        word("rulesError", &self.rules_error, None);
        for (n, name) in MAPS.iter().enumerate() {
            if let Some(expected) = &self.maps[n] {
                match &actual.maps {
                    Some(maps) => {
                        compare_maps(name, &pairs_as_written(expected), &maps[n], &mut lines);
                    }
                    None => lines.push(format!("{name}: nothing is published")),
                }
            }
        }
        for (name, expected, found) in [
            ("origins", &self.origins, &actual.origins),
            ("dropped", &self.dropped, &actual.dropped),
        ] {
            for (key, word) in expected {
                let found = found.get(key).map(String::as_str);
                if found != Some(word) {
                    lines.push(format!("{name}.{key}: expected {word}, found {}", or_none(found)));
                }
            }
        }
        for code in &self.warnings {
            if !actual.warnings.contains(code) {
                lines.push(format!("warnings: expected {code}, found {:?}", actual.warnings));
            }
        }
        for path in &self.rules_warnings {
            if !rules_warnings.iter().any(|warning| warning.path == *path) {
                let found: Vec<_> = rules_warnings.iter().map(|w| w.path.as_str()).collect();
                lines.push(format!("rulesWarnings: expected one at {path}, found {found:?}"));
            }
        }
        lines
    }
}

fn or_none(found: Option<&str>) -> &str {
    found.unwrap_or("none")
}

fn compare_maps(name: &str, expected: &PairMap, found: &PairMap, lines: &mut Vec<String>) {
    for (key, value) in expected {
        match found.get(key) {
            Some(same) if same == value => {}
            Some(other) => lines.push(format!("{name}.{key}: expected {value}, found {other}")),
            None => lines.push(format!("{name}.{key}: expected {value}, found none")),
        }
    }
    for (key, value) in found.iter().filter(|(key, _)| !expected.contains_key(*key)) {
        lines.push(format!("{name}.{key}: expected none, found {value}"));
    }
}

/// The members of a JSON object, each value as written, by which values are compared. Empty if the text
/// is no object.
pub fn pairs_as_written(json: &str) -> PairMap {
    let members = members(json).unwrap_or_default();
    members.into_iter().map(|(key, raw)| (key.to_string(), as_written(raw.get()))).collect()
}

/// A value without white space between its tokens, its strings escaped in one way.
fn as_written(json: &str) -> String {
    let mut out = Vec::with_capacity(json.len());
    write_as_written(json, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn write_as_written(json: &str, out: &mut Vec<u8>) {
    match kind(json) {
        Kind::String => write_json_string(&string_bytes(json).unwrap_or_default(), out),
        Kind::Null | Kind::Bool | Kind::Number => out.extend_from_slice(json.as_bytes()),
        Kind::Array => {
            out.push(b'[');
            for (n, raw) in elements(json).unwrap_or_default().into_iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write_as_written(raw.get(), out);
            }
            out.push(b']');
        }
        Kind::Object => {
            out.push(b'{');
            for (n, (key, raw)) in members(json).unwrap_or_default().into_iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                key.write_json(out);
                out.push(b':');
                write_as_written(raw.get(), out);
            }
            out.push(b'}');
        }
    }
}
