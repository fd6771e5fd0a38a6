//! The name of an inbound format, wherever a setting asks for one; `auto` is none.

use serde_json::Value;

use super::raw::Raw;
use super::tables::Table;
use crate::formats;
use crate::json_schema;

impl Raw {
    /// A format, or `auto`.
    pub(super) fn format(&mut self, setting: &'static str) -> Option<String> {
        self.text_of_schema(setting, &expected(), schema(), format)
    }
}

impl Table<'_> {
    /// A format, or `auto`.
    pub(super) fn format(&mut self, member: &'static str) -> Option<Option<String>> {
        self.text_of_schema(member, &expected(), schema(), format)
    }
}

fn expected() -> String {
    let names: Vec<_> = formats::decodable().collect();
    format!("`auto` or one of {}", names.join(", "))
}

fn schema() -> Value {
    json_schema::words(["auto"].into_iter().chain(formats::decodable()))
}

fn format(name: &str) -> Option<Option<String>> {
    match name {
        "auto" => Some(None),
        name => formats::decodable().any(|known| known == name).then(|| Some(name.to_owned())),
    }
}
