//! What was written: the merged layers, read one setting at a time.
//!
//! Every read says what it expects. A value that is something else becomes a [`Problem`] and the read
//! goes on with a stand-in, so that all problems come out at once; [`Raw::finish`] gives nothing but
//! the problems if there are any, so no stand-in is ever used. What was read is what
//! `throughline config show` shows, in the order of reading.
//!
//! Nothing is converted silently: `config` by itself would round a float to a whole number and take
//! `"yes"` for `true`.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use config::{Config, Map, Value, ValueKind};

use super::sources::is_secret;
use super::{Origin, Problem, Secret, Shown};

/// The merged layers, and what came of reading them so far.
pub(super) struct Raw {
    root: Value,
    shown: Vec<Shown>,
    problems: Vec<Problem>,
}

impl Raw {
    /// Begins to read, with the problems known so far.
    pub(super) fn new(merged: Config, problems: Vec<Problem>) -> Raw {
        Raw { root: merged.cache, shown: Vec::new(), problems }
    }

    /// What was read, as it may be shown.
    ///
    /// # Errors
    /// All problems, if there are any.
    pub(super) fn finish(self) -> Result<Vec<Shown>, Vec<Problem>> {
        if self.problems.is_empty() { Ok(self.shown) } else { Err(self.problems) }
    }

    /// A whole number within `range`.
    pub(super) fn integer<T>(&mut self, setting: &'static str, range: RangeInclusive<T>) -> T
    where
        T: TryFrom<i64> + PartialOrd + Display + Copy,
    {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let fallback = *range.start();
        self.read(setting, &expected, fallback, |value| match value {
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
        self.read(setting, "true or false", false, |value| match value {
            ValueKind::Boolean(value) => Some(*value),
            _ => None,
        })
    }

    /// A name of 1 to `max_bytes` bytes.
    pub(super) fn name(&mut self, setting: &'static str, max_bytes: usize) -> String {
        let expected = format!("a name of 1 to {max_bytes} bytes");
        self.text(setting, &expected, |text| {
            (1..=max_bytes).contains(&text.len()).then(|| text.to_owned())
        })
    }

    /// A path, relative to the working directory unless absolute.
    pub(super) fn path(&mut self, setting: &'static str) -> PathBuf {
        self.text(setting, "a path", |text| (!text.is_empty()).then(|| PathBuf::from(text)))
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
        self.text(setting, &expected, |text| {
            schemes.iter().any(|scheme| text.starts_with(scheme)).then(|| Secret::new(text))
        })
    }

    /// A secret, or an empty string for none.
    pub(super) fn optional_secret(&mut self, setting: &'static str) -> Option<Secret> {
        self.text(setting, "a text", |text| Some((!text.is_empty()).then(|| Secret::new(text))))
    }

    /// A list of texts: an array, or one text with commas between them, as variables give it.
    pub(super) fn list(&mut self, setting: &'static str) -> Vec<String> {
        self.read(setting, "a list of texts", Vec::new(), |value| match value {
            ValueKind::Array(entries) => entries.iter().map(text_of).collect(),
            ValueKind::String(text) => {
                let entries = text.split(',').map(str::trim);
                Some(entries.filter(|entry| !entry.is_empty()).map(str::to_owned).collect())
            }
            _ => None,
        })
    }

    /// A text that `parse` makes something of.
    pub(super) fn text<T: Default>(
        &mut self,
        setting: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> T {
        self.read(setting, expected, T::default(), |value| match value {
            ValueKind::String(text) => parse(text),
            _ => None,
        })
    }

    /// Where the value of a setting came from.
    pub(super) fn origin(&self, setting: &str) -> Origin {
        Origin::new(lookup(&self.root, setting).and_then(Value::origin))
    }

    /// Reports what is wrong with a setting beside the others.
    pub(super) fn problem(&mut self, setting: &str, what: impl Into<String>) {
        let origin = self.origin(setting);
        self.problems.push(Problem { setting: setting.to_owned(), origin, what: what.into() });
    }

    /// Reports what is wrong at a path that is no setting of its own.
    pub(super) fn problem_at(&mut self, setting: String, origin: Origin, what: String) {
        self.problems.push(Problem { setting, origin, what });
    }

    /// The tables of a list, and where they were written.
    pub(super) fn array(
        &mut self,
        setting: &'static str,
        expected: &str,
    ) -> (Vec<Map<String, Value>>, Origin) {
        let tables = self.read(setting, expected, Vec::new(), |value| match value {
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

    fn read<T>(
        &mut self,
        setting: &'static str,
        expected: &str,
        fallback: T,
        parse: impl FnOnce(&ValueKind) -> Option<T>,
    ) -> T {
        let Some(value) = lookup(&self.root, setting) else {
            self.problem(setting, "has no default");
            return fallback;
        };
        match parse(&value.kind) {
            Some(parsed) => {
                let origin = Origin::new(value.origin());
                self.shown.push(Shown { setting, value: shown(setting, &value.kind), origin });
                parsed
            }
            None => {
                // What was found is named, unless it is a secret, even a misplaced or broken one.
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
