//! Lists of tables: `[[source]]` and `[[output]]`, read one member at a time.
//!
//! Each member is read as [`Raw`] reads a setting: what is wrong becomes a problem with the member's
//! path (`source[1].queue`), and reading goes on with a stand-in. Members that no code reads are reported
//! as unknown. Members may be left out here, unlike settings, which have an embedded default.
//!
//! The same reads make the schema of such a table: it comes from reading an empty one.
//!
//! Variables cannot hold tables: such a list is written in a file.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use config::{Map, Value, ValueKind};
use serde_json::json;

use super::Origin;
use super::nearest::nearest;
use super::raw::Raw;
use crate::json_schema;

/// One table of a list.
pub(super) struct Table<'r> {
    raw: &'r mut Raw,
    /// Its path, as in `source[1]`.
    path: String,
    members: Map<String, Value>,
    origin: Origin,
    /// The members that were read so far: all that there may be.
    known: Vec<&'static str>,
    /// The schema of each of them.
    properties: serde_json::Map<String, serde_json::Value>,
    /// Those that must be there.
    required: Vec<String>,
}

impl Raw {
    /// The tables of a list, each as `read` makes something of it.
    pub(super) fn tables<T>(
        &mut self,
        setting: &'static str,
        mut read: impl FnMut(&mut Table<'_>) -> T,
    ) -> Vec<T> {
        // As it is mostly written: `[[output]]` is short for `[[output.further]]`.
        let short = setting.trim_end_matches(".further");
        let expected = format!("tables, each under [[{short}]]");
        let (tables, origin) = self.array(setting, &expected);
        let mut all = Vec::with_capacity(tables.len());
        for (place, members) in tables.into_iter().enumerate() {
            let (path, origin) = (format!("{short}[{place}]"), origin.clone());
            let mut table = Table::new(self, path, members, origin);
            all.push(read(&mut table));
            table.name_unknown();
        }
        self.describe_tables(setting, |raw| {
            let mut table = Table::new(raw, String::new(), Map::new(), Origin::new(None));
            read(&mut table);
            table.schema()
        });
        all
    }
}

impl<'r> Table<'r> {
    fn new(
        raw: &'r mut Raw,
        path: String,
        members: Map<String, Value>,
        origin: Origin,
    ) -> Table<'r> {
        let (known, properties, required) = (Vec::new(), serde_json::Map::new(), Vec::new());
        Table { raw, path, members, origin, known, properties, required }
    }

    /// The schema of such a table, once an empty one was read.
    fn schema(self) -> serde_json::Value {
        let Table { properties, required, .. } = self;
        json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        })
    }
}

impl Table<'_> {
    /// Reports a problem of a member, or of the table as a whole (`""`).
    pub(super) fn problem(&mut self, member: &str, what: impl Into<String>) {
        let dot = if member.is_empty() { "" } else { "." };
        let setting = format!("{}{dot}{member}", self.path);
        self.raw.problem_at(setting, self.origin.clone(), what.into());
    }

    /// A name of 1 to `max_bytes` bytes that must be there.
    pub(super) fn name(&mut self, member: &'static str, max_bytes: usize) -> String {
        let name = self.optional_name(member, max_bytes);
        self.missing(member);
        name.unwrap_or_default()
    }

    /// Reports a member that must be there and is not.
    pub(super) fn missing(&mut self, member: &str) {
        if !self.members.contains_key(member) {
            self.required.push(member.to_owned());
            self.problem(member, "is missing");
        }
    }

    /// A name of 1 to `max_bytes` bytes.
    pub(super) fn optional_name(
        &mut self,
        member: &'static str,
        max_bytes: usize,
    ) -> Option<String> {
        let expected = format!("a name of 1 to {max_bytes} bytes");
        let schema = json!({
            "type": "string",
            "minLength": 1,
            "maxLength": max_bytes,
            "pattern": "^[^\\u0000]*$",
        });
        self.text_of_schema(member, &expected, schema, |text| {
            let fits = (1..=max_bytes).contains(&text.len()) && !text.contains('\0');
            fits.then(|| text.to_owned())
        })
    }

    /// A path, relative to the working directory unless absolute.
    pub(super) fn path(&mut self, member: &'static str) -> Option<PathBuf> {
        self.text_of_schema(member, "a path", json_schema::name(), |text| {
            (!text.is_empty()).then(|| PathBuf::from(text))
        })
    }

    /// A text that `parse` accepts, with its schema.
    pub(super) fn text_of_schema<T>(
        &mut self,
        member: &'static str,
        expected: &str,
        schema: serde_json::Value,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.read(member, expected, schema, |value| match value {
            ValueKind::String(text) => parse(text),
            _ => None,
        })
    }

    /// A list of texts; none where it is absent.
    pub(super) fn texts(&mut self, member: &'static str) -> Vec<String> {
        let schema = json_schema::array(json_schema::text());
        let texts = self.read(member, "a list of texts", schema, |value| match value {
            ValueKind::Array(entries) => entries
                .iter()
                .map(|entry| match &entry.kind {
                    ValueKind::String(text) => Some(text.clone()),
                    _ => None,
                })
                .collect(),
            _ => None,
        });
        texts.unwrap_or_default()
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, member: &'static str) -> Option<bool> {
        self.read(member, "true or false", json!({ "type": "boolean" }), |value| match value {
            ValueKind::Boolean(value) => Some(*value),
            _ => None,
        })
    }

    /// A whole number within `range`.
    pub(super) fn integer<T>(&mut self, member: &'static str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Display + Copy + Into<serde_json::Value>,
    {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let schema = json_schema::integer(&range);
        self.read(member, &expected, schema, |value| match value {
            ValueKind::I64(number) => {
                T::try_from(*number).ok().filter(|number| range.contains(number))
            }
            _ => None,
        })
    }

    fn read<T>(
        &mut self,
        member: &'static str,
        expected: &str,
        schema: serde_json::Value,
        parse: impl FnOnce(&ValueKind) -> Option<T>,
    ) -> Option<T> {
        self.known.push(member);
        self.properties.insert(member.to_owned(), schema);
        let value = self.members.get(member)?;
        let parsed = parse(&value.kind);
        if parsed.is_none() {
            let found = match &value.kind {
                ValueKind::Table(_) => "a table".to_owned(),
                ValueKind::Array(_) => "a list".to_owned(),
                ValueKind::Float(number) => format!("{number:?}"),
                ValueKind::String(text) => format!("{text:?}"),
                other => other.to_string(),
            };
            self.problem(member, format!("expected {expected}, found {found}"));
        }
        parsed
    }

    fn name_unknown(&mut self) {
        let is_unknown = |member: &&String| !self.known.contains(&member.as_str());
        let mut unknown: Vec<_> = self.members.keys().filter(is_unknown).cloned().collect();
        unknown.sort();
        for member in unknown {
            let meant = nearest(&member, self.known.iter().copied());
            let hint = meant.map_or_else(String::new, |name| format!("; did you mean {name}?"));
            self.problem(&member, format!("is no setting{hint}"));
        }
    }
}
