//! The schema of a settings file.
//!
//! Nothing of it is written by hand: which settings there are, their types and their bounds come from
//! the reads themselves ([`super::raw`]), descriptions and defaults from `config/default.toml`. A new
//! setting is in the schema as soon as it is read.
//!
//! Members of a list of tables have no defaults to hang comments on; the comment of the list has them all.
//!
//! Deliberately absent: constraints that no schema can express. Names are bounded in bytes and a schema
//! counts characters; some settings are compared with others; and TOML tells `1.0` from `1`. There the
//! loader decides.

use serde_json::{Map, Value, json};
use toml_edit::{DocumentMut, Item, Key};

use super::sources::{DEFAULTS, is_secret};
use super::{SettingsError, Sources};
use crate::json_schema;

/// The schema of a setting.
#[derive(Clone, Debug)]
pub(super) struct Expectation {
    /// Its path, as in `amqp.queue`.
    pub(super) setting: &'static str,
    /// Its schema.
    pub(super) schema: Value,
}

/// The schema of a settings file (JSON Schema, draft 2020-12).
///
/// # Errors
/// When the embedded defaults cannot be read, which a test rules out.
pub fn schema() -> Result<Value, SettingsError> {
    let (loaded, expectations) = super::read(Sources::default())?;
    let comments = Comments::of(DEFAULTS);
    let mut root = Map::new();
    for Expectation { setting, mut schema } in expectations {
        if let Some(comment) = comments.of_setting(setting) {
            schema["description"] = comment.into();
        }
        let shown = loaded.provenance.iter().find(|shown| shown.setting == setting);
        if is_secret(setting) {
            schema["writeOnly"] = true.into();
        } else if let Some(shown) = shown {
            schema["default"] = shown.value.clone();
        }
        match setting.split_once('.') {
            None => root.insert(setting.to_owned(), schema),
            Some((section, key)) => {
                let table = root.entry(section).or_insert_with(|| table(&comments, section));
                table["properties"][key] = schema;
                None
            }
        };
    }
    for member in root.values_mut() {
        // `[[output]]` is short for `[[output.further]]`.
        let further = member.get("properties").and_then(|settings| settings.get("further"));
        if let Some(further) = further.cloned() {
            *member = json!({ "anyOf": [member.take(), further] });
        }
    }
    Ok(json_schema::document(
        "settings",
        "Settings of Throughline",
        "A settings file (TOML), as `throughline --config FILE` takes it. What it leaves out keeps \
         its default. Settings marked writeOnly are secrets, better given by a file that a variable \
         names, as in THROUGHLINE_AMQP__URL_FILE.",
        json!({ "type": "object", "properties": root, "additionalProperties": false }),
    ))
}

fn table(comments: &Comments, section: &str) -> Value {
    let mut table = json!({ "type": "object", "properties": {}, "additionalProperties": false });
    if let Some(comment) = comments.of_setting(section) {
        table["description"] = comment.into();
    }
    table
}

/// The comments of `config/default.toml`, by the path of what they stand above.
struct Comments(Vec<(String, String)>);

impl Comments {
    /// Collects them. A setting without one shares that of the setting above it.
    fn of(text: &str) -> Comments {
        let mut comments = Comments(Vec::new());
        // That the defaults are TOML is found out when they are loaded.
        let Ok(document) = text.parse::<DocumentMut>() else { return comments };
        for (name, item) in document.iter() {
            let Item::Table(table) = item else {
                comments.add(name.to_owned(), prefix_of(document.key(name)));
                continue;
            };
            comments.add(name.to_owned(), table.decor().prefix().and_then(|raw| raw.as_str()));
            let mut above = None;
            for (key, _) in table.iter() {
                let prefix = prefix_of(table.key(key)).filter(|prefix| prefix.contains('#'));
                above = prefix.or(above);
                comments.add(format!("{name}.{key}"), above);
            }
        }
        comments
    }

    fn add(&mut self, path: String, prefix: Option<&str>) {
        let comment = prefix.map(comment).filter(|comment| !comment.is_empty());
        self.0.extend(comment.map(|comment| (path, comment)));
    }

    fn of_setting(&self, path: &str) -> Option<&str> {
        self.0.iter().find(|(of, _)| of == path).map(|(_, comment)| comment.as_str())
    }
}

fn prefix_of(key: Option<&Key>) -> Option<&str> {
    key?.leaf_decor().prefix()?.as_str()
}

/// The last block of comment lines, as running text; an indented line is an example and stays one.
fn comment(prefix: &str) -> String {
    let block = prefix.trim_end().rsplit("\n\n").next().unwrap_or_default();
    let mut text = String::new();
    let mut after_example = false;
    for line in block.lines() {
        let line = line.trim_start_matches('#');
        let is_example = line.starts_with("   ");
        if !text.is_empty() {
            text.push(if is_example || after_example { '\n' } else { ' ' });
        }
        text.push_str(if is_example { line.trim_end() } else { line.trim() });
        after_example = is_example;
    }
    text
}
