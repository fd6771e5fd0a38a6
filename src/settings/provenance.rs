//! The origin of each setting, and the output of `throughline config show`.

use std::fmt;

use serde_json::{Value, json};

/// The source of a value: the embedded defaults, a file, a variable or a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(Option<String>);

impl Origin {
    /// The file, variable or flag of this name; none for the embedded defaults.
    pub(super) fn new(name: Option<&str>) -> Origin {
        Origin(name.map(str::to_owned))
    }

    /// Whether it is the embedded default, which no file, variable or flag replaces.
    pub fn is_default(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or("default"))
    }
}

/// One setting as it may be shown: secrets are masked.
#[derive(Clone, Debug)]
pub struct EffectiveSetting {
    /// Its path, as in `amqp.queue`.
    pub setting: &'static str,
    /// Its value: a string, a whole number, a boolean, or a list of strings or tables.
    pub value: Value,
    /// Where it came from.
    pub origin: Origin,
}

/// The settings as lines of TOML, each with its origin as a comment.
pub(super) fn as_text(shown: &[EffectiveSetting]) -> String {
    let lines: Vec<_> =
        shown.iter().map(|s| format!("{} = {}", s.setting, toml(&s.value))).collect();
    // Origins stand below each other, but a long URL must not push them all off the screen.
    let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0).min(60);
    let mut text = String::new();
    for (line, shown) in lines.iter().zip(shown) {
        text.push_str(&format!("{line:width$}  # {}\n", shown.origin));
    }
    text
}

/// A value as TOML writes it: as JSON, but for tables.
fn toml(value: &Value) -> String {
    match value {
        Value::Array(entries) => {
            let entries: Vec<_> = entries.iter().map(toml).collect();
            format!("[{}]", entries.join(", "))
        }
        Value::Object(members) => {
            let members: Vec<_> =
                members.iter().map(|(name, value)| format!("{name} = {}", toml(value))).collect();
            format!("{{ {} }}", members.join(", "))
        }
        other => other.to_string(),
    }
}

/// The settings for programs: an array of objects with `setting`, `value` and `origin`.
pub(super) fn as_json(shown: &[EffectiveSetting]) -> Value {
    shown
        .iter()
        .map(|s| json!({ "setting": s.setting, "value": s.value, "origin": s.origin.to_string() }))
        .collect()
}
