//! Metadata: the pairs that are passed on to the contact centre for a call target (rules M1, M2).

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use super::report::{Report, Warning, WarningCode};
use super::user_data::UserData;
use super::value::{Key, Kind, Value};

/// The metadata items of every call target.
#[derive(Clone, Debug, Default)]
pub struct MetadataItems {
    /// Items for every call target.
    pub(crate) global: Vec<MetadataItem>,
    /// Items of one call target; they override global ones of the same name.
    pub(crate) targets: HashMap<String, Vec<MetadataItem>>,
}

/// One item: a key that is passed on. `Debug` names it (K8).
#[derive(Clone)]
pub struct MetadataItem {
    pub(crate) name: String,
    /// Text without CR, LF and NUL (M2).
    pub(crate) default: Option<String>,
}

impl fmt::Debug for MetadataItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name)
    }
}

/// Metadata as it is published: names and JSON strings.
pub type Metadata<'a> = Vec<(&'a str, Value<'a>)>;

impl MetadataItems {
    /// The metadata of an interaction with this call target (M1); empty without a call target.
    pub(crate) fn select<'a>(
        &'a self,
        call_target: Option<&str>,
        data: &UserData<'a>,
        report: &mut Report<'a>,
    ) -> Metadata<'a> {
        let Some(call_target) = call_target else { return Metadata::new() };
        self.of_target(call_target)
            .filter_map(|item| Some((item.name.as_str(), item.value(data, report)?)))
            .collect()
    }
}

impl MetadataItems {
    /// The items of a call target: its own, then the global ones that it does not override. A target that
    /// the rules do not name has the global ones.
    pub(crate) fn of_target(&self, call_target: &str) -> impl Iterator<Item = &MetadataItem> {
        let own = self.targets.get(call_target).map_or(&[][..], Vec::as_slice);
        let overridden =
            move |global: &&MetadataItem| !own.iter().any(|item| item.name == global.name);
        own.iter().chain(self.global.iter().filter(overridden))
    }
}

impl MetadataItem {
    fn value<'a>(&self, data: &UserData<'a>, report: &mut Report<'a>) -> Option<Value<'a>> {
        let Some(value) = data.get(&Key::from(self.name.as_str())) else {
            return self.default.as_deref().map(Value::from_text);
        };
        let text = header_text(value);
        if text.is_none() {
            report.warn(Warning::about(WarningCode::MetadataLeftOut, &self.name));
        }
        text
    }
}

/// The value as a JSON string that a header can carry; `None` for nested values, `null`, and text
/// with CR, LF or NUL (header injection).
fn header_text<'a>(value: &Value<'a>) -> Option<Value<'a>> {
    match value.kind() {
        Kind::String => {
            let text = value.string_bytes()?;
            let safe = !text.iter().any(|byte| is_line_breaking(*byte));
            safe.then(|| value.clone())
        }
        Kind::Number | Kind::Bool => {
            Some(Value::from_json(Cow::Owned(format!("\"{}\"", value.as_json()))))
        }
        Kind::Null | Kind::Array | Kind::Object => None,
    }
}

/// CR, LF and NUL end or cut a header (M2).
pub fn is_line_breaking(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n' | 0)
}
