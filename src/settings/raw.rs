//! The merged layers, read one setting at a time.
//!
//! Every read states the value it expects. A value that is something else becomes a [`Problem`] and the read
//! goes on with a stand-in, so that all problems come out at once; [`Raw::finish`] gives nothing but
//! the problems if there are any, so no stand-in is ever used. What was read is what
//! `throughline config show` shows, in the order of reading; what was expected is what `throughline
//! schema settings` shows, so that a setting cannot be read and be missing there.
//!
//! Nothing is converted silently: `config` by itself would round a float to a whole number and take
//! `"yes"` for `true`.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use config::{Config, Map, Value, ValueKind};
use serde_json::json;

use super::schema::Expectation;
use super::sources::is_secret;
use super::{EffectiveSetting, Origin, Problem, Secret};
use crate::json_schema;

/// The merged layers, and what came of reading them so far.
pub(super) struct Raw {
    root: Value,
    shown: Vec<EffectiveSetting>,
    expectations: Vec<Expectation>,
    problems: Vec<Problem>,
}

impl Raw {
    /// Begins to read, with the problems known so far.
    pub(super) fn new(merged: Config, problems: Vec<Problem>) -> Raw {
        Raw { root: merged.cache, shown: Vec::new(), expectations: Vec::new(), problems }
    }

    /// The effective settings, secrets masked, and the schema of each.
    ///
    /// # Errors
    /// All problems, if there are any.
    pub(super) fn finish(self) -> Result<(Vec<EffectiveSetting>, Vec<Expectation>), Vec<Problem>> {
        match self.problems.is_empty() {
            true => Ok((self.shown, self.expectations)),
            false => Err(self.problems),
        }
    }

    /// A whole number within `range`.
    pub(super) fn integer<T>(&mut self, setting: &'static str, range: RangeInclusive<T>) -> T
    where
        T: TryFrom<i64> + PartialOrd + Display + Copy + Into<serde_json::Value>,
    {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let fallback = *range.start();
        let schema = json_schema::integer(&range);
        self.read(setting, &expected, schema, fallback, |value| match value {
            ValueKind::I64(number) => {
                T::try_from(*number).ok().filter(|number| range.contains(number))
            }
            _ => None,
        })
    }

    /// A whole number of seconds within `range`.
    pub(super) fn seconds(
        &mut self,
        setting: &'static str,
        range: RangeInclusive<u64>,
    ) -> Duration {
        Duration::from_secs(self.integer(setting, range))
    }

    /// A whole number of milliseconds within `range`.
    pub(super) fn milliseconds(
        &mut self,
        setting: &'static str,
        range: RangeInclusive<u64>,
    ) -> Duration {
        Duration::from_millis(self.integer(setting, range))
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, setting: &'static str) -> bool {
        self.read(
            setting,
            "true or false",
            json!({ "type": "boolean" }),
            false,
            |value| match value {
                ValueKind::Boolean(value) => Some(*value),
                _ => None,
            },
        )
    }

    /// A name of 1 to `max_bytes` bytes.
    pub(super) fn name(&mut self, setting: &'static str, max_bytes: usize) -> String {
        let expected = format!("a name of 1 to {max_bytes} bytes");
        // A schema counts characters, of which there are never more than bytes.
        let schema = json!({ "type": "string", "minLength": 1, "maxLength": max_bytes });
        self.text_of_schema(setting, &expected, schema, |text| {
            (1..=max_bytes).contains(&text.len()).then(|| text.to_owned())
        })
    }

    /// A path, relative to the working directory unless absolute.
    pub(super) fn path(&mut self, setting: &'static str) -> PathBuf {
        self.text_of_schema(setting, "a path", json_schema::name(), |text| {
            (!text.is_empty()).then(|| PathBuf::from(text))
        })
    }

    /// A path, or an empty string for none.
    pub(super) fn optional_path(&mut self, setting: &'static str) -> Option<PathBuf> {
        self.text(setting, "a path, or \"\" for none", |text| {
            Some((!text.is_empty()).then(|| PathBuf::from(text)))
        })
    }

    /// A secret URL that begins with one of `schemes`.
    pub(super) fn secret_url(&mut self, setting: &'static str, schemes: &[&str]) -> Secret {
        let expected = format!("a URL that begins with {}", schemes.join(" or "));
        let schema = json!({ "type": "string", "pattern": format!("^({})", schemes.join("|")) });
        self.text_of_schema(setting, &expected, schema, |text| {
            schemes.iter().any(|scheme| text.starts_with(scheme)).then(|| Secret::new(text))
        })
    }

    /// A secret, or an empty string for none.
    pub(super) fn optional_secret(&mut self, setting: &'static str) -> Option<Secret> {
        self.text(setting, "a text", |text| Some((!text.is_empty()).then(|| Secret::new(text))))
    }

    /// A list of texts: an array, or one text with commas between them, as variables give it.
    pub(super) fn list(&mut self, setting: &'static str) -> Vec<String> {
        let schema = json_schema::text_or_texts();
        self.read(setting, "a list of texts", schema, Vec::new(), |value| match value {
            ValueKind::Array(entries) => entries.iter().map(text_of).collect(),
            ValueKind::String(text) => {
                let entries = text.split(',').map(str::trim);
                Some(entries.filter(|entry| !entry.is_empty()).map(str::to_owned).collect())
            }
            _ => None,
        })
    }

    /// One of the words.
    pub(super) fn word<T: Copy + Default>(
        &mut self,
        setting: &'static str,
        words: &[(&'static str, T)],
    ) -> T {
        let quoted: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        let schema = json_schema::words(words.iter().map(|(word, _)| *word));
        self.text_of_schema(setting, &quoted.join(" or "), schema, |text| {
            words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value)
        })
    }

    /// A text that `parse` accepts. Its schema is any text, since no schema can describe `parse`; for
    /// one of a few words there is [`Raw::word`].
    pub(super) fn text<T: Default>(
        &mut self,
        setting: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> T {
        let schema = json!({ "type": "string", "$comment": format!("expected {expected}") });
        self.text_of_schema(setting, expected, schema, parse)
    }

    /// A URL that `parse` accepts, or `None` if it is empty. A problem does not quote the URL, which may
    /// hold a password.
    pub(super) fn optional_url<T, E: Display>(
        &mut self,
        setting: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(setting, "a URL, or \"\" for none", |text| Some(text.to_owned()));
        let parsed = (!text.is_empty()).then(|| parse(&text))?;
        parsed.map_err(|error| self.problem(setting, error.to_string())).ok()
    }

    /// As [`Raw::text`], with a schema of its own.
    pub(super) fn text_of_schema<T: Default>(
        &mut self,
        setting: &'static str,
        expected: &str,
        schema: serde_json::Value,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> T {
        self.read(setting, expected, schema, T::default(), |value| match value {
            ValueKind::String(text) => parse(text),
            _ => None,
        })
    }

    /// Where the value of a setting came from.
    pub(super) fn origin(&self, setting: &str) -> Origin {
        Origin::new(lookup(&self.root, setting).and_then(Value::origin))
    }

    /// Reports a problem of a setting that reading it alone does not find.
    pub(super) fn problem(&mut self, setting: &str, what: impl Into<String>) {
        let origin = self.origin(setting);
        self.problems.push(Problem { setting: setting.to_owned(), origin, what: what.into() });
    }

    /// Reports a problem at a path that is no setting of its own.
    pub(super) fn problem_at(&mut self, setting: String, origin: Origin, what: String) {
        self.problems.push(Problem { setting, origin, what });
    }

    /// The tables of a list, and where they were written.
    pub(super) fn array(
        &mut self,
        setting: &'static str,
        expected: &str,
    ) -> (Vec<Map<String, Value>>, Origin) {
        let schema = json!({ "type": "array" });
        let tables = self.read(setting, expected, schema, Vec::new(), |value| match value {
            ValueKind::Array(entries) => entries
                .iter()
                .map(|entry| match &entry.kind {
                    ValueKind::Table(table) => Some(table.clone()),
                    _ => None,
                })
                .collect(),
            _ => None,
        });
        (tables, self.origin(setting))
    }

    /// Records the schema of the tables of a list, which no default shows: `ask` reads an empty one, and
    /// the problems it finds are discarded.
    pub(super) fn describe_tables(
        &mut self,
        setting: &'static str,
        ask: impl FnOnce(&mut Raw) -> serde_json::Value,
    ) {
        let problems = self.problems.len();
        let items = ask(self);
        self.problems.truncate(problems);
        let expectations = self.expectations.iter_mut();
        for expectation in expectations.filter(|expectation| expectation.setting == setting) {
            expectation.schema["items"] = items.clone();
        }
    }

    fn read<T>(
        &mut self,
        setting: &'static str,
        expected: &str,
        schema: serde_json::Value,
        fallback: T,
        parse: impl FnOnce(&ValueKind) -> Option<T>,
    ) -> T {
        self.expectations.push(Expectation { setting, schema });
        let Some(value) = lookup(&self.root, setting) else {
            self.problem(setting, "has no default");
            return fallback;
        };
        match parse(&value.kind) {
            Some(parsed) => {
                let (origin, value) = (Origin::new(value.origin()), shown(setting, &value.kind));
                self.shown.push(EffectiveSetting { setting, value, origin });
                parsed
            }
            None => {
                // The problem quotes the value, unless it is a secret, even a misplaced or broken one.
                let found = match &value.kind {
                    _ if is_secret(setting) => String::new(),
                    ValueKind::Table(_) => ", found a table".to_owned(),
                    ValueKind::Array(_) => ", found a list".to_owned(),
                    ValueKind::Float(number) => format!(", found {number:?}"),
                    ValueKind::String(text) => format!(", found {text:?}"),
                    other => format!(", found {other}"),
                };
                self.problem(setting, format!("expected {expected}{found}"));
                fallback
            }
        }
    }
}

/// The value at a path, if it is there.
fn lookup<'v>(root: &'v Value, setting: &str) -> Option<&'v Value> {
    setting.split('.').try_fold(root, |value, key| match &value.kind {
        ValueKind::Table(table) => table.get(key),
        _ => None,
    })
}

/// The text of an entry of a list.
fn text_of(entry: &Value) -> Option<String> {
    match &entry.kind {
        ValueKind::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// A value as it may be shown.
fn shown(setting: &str, value: &ValueKind) -> serde_json::Value {
    match value {
        ValueKind::Boolean(value) => (*value).into(),
        ValueKind::I64(number) => (*number).into(),
        ValueKind::String(text) if is_secret(setting) => Secret::new(text).masked().into(),
        ValueKind::Array(entries) => {
            entries.iter().map(|entry| shown(setting, &entry.kind)).collect()
        }
        ValueKind::Table(members) => members
            .iter()
            .map(|(name, member)| (name.clone(), shown(setting, &member.kind)))
            .collect(),
        other => other.to_string().into(),
    }
}
