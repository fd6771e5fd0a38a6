//! One document for both syntaxes: TOML is turned into JSON with its number literals kept, so that
//! a constant written `1.10` is published as `1.10` (K2).

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use serde_json::value::RawValue;
use toml_edit::{DocumentMut, Item, TomlError, Value as TomlValue};

use crate::domain::byte_order_mark::without_mark;
use crate::domain::json::{elements, members};
use crate::domain::json_string::{string_bytes, write_json_string};
use crate::domain::value::{Kind, kind};

/// A rules or case document, as JSON text that is known to be valid.
///
/// `Debug` gives its length: defaults may be customer data (K8).
#[derive(Clone, PartialEq, Eq)]
pub struct Document(String);

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({} bytes)", self.0.len())
    }
}

/// The syntax of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// TOML.
    Toml,
    /// JSON.
    Json,
}

impl Syntax {
    /// The syntax of a file, by its ending, else by whether it begins like a JSON object.
    pub fn of(path: &Path, text: &str) -> Syntax {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("json") => Syntax::Json,
            Some("toml") => Syntax::Toml,
            _ if without_mark(text).trim_start().starts_with('{') => Syntax::Json,
            _ => Syntax::Toml,
        }
    }
}

impl Document {
    /// Parses a text, which may begin with a byte order mark.
    ///
    /// # Errors
    /// The parser's message, with line and column; never the text, which may hold a value (K8).
    pub fn parse(text: &str, syntax: Syntax) -> Result<Document, String> {
        let text = without_mark(text);
        match syntax {
            Syntax::Json => {
                let raw: &RawValue = serde_json::from_str(text).map_err(|e| e.to_string())?;
                Ok(Document(raw.get().to_owned()))
            }
            Syntax::Toml => {
                let unquoted = |error: TomlError| {
                    let (line, column) = place_of(&error, text);
                    format!("{} at line {line} column {column}", error.message())
                };
                let document: DocumentMut = text.parse().map_err(unquoted)?;
                let mut json = String::new();
                write_item(document.as_item(), "", &mut json)?;
                Ok(Document(json))
            }
        }
    }

    /// The document of no rules at all.
    pub fn empty() -> Document {
        Document("{}".to_owned())
    }

    /// The JSON text.
    pub fn as_json(&self) -> &str {
        &self.0
    }

    /// The same document in canonical form: members sorted, `null` members left out (they count as
    /// absent), no white space, strings escaped in one way; numbers as written. Within a constant
    /// the order of members and their `null`s stay: they are published.
    pub fn canonical(&self) -> String {
        let mut out = Vec::with_capacity(self.0.len());
        write_canonical(&self.0, false, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Whether the document nests deeper than `levels`. Counted without recursion: the
    /// document is not validated yet.
    pub(super) fn nests_deeper_than(&self, levels: usize) -> bool {
        let (mut depth, mut in_string, mut bytes) = (0_usize, false, self.0.bytes());
        while let Some(byte) = bytes.next() {
            match byte {
                b'"' => in_string = !in_string,
                // Whatever is escaped cannot end the string.
                b'\\' => {
                    bytes.next();
                }
                b'{' | b'[' if !in_string => depth += 1,
                b'}' | b']' if !in_string => depth -= 1,
                _ => {}
            }
            if depth > levels {
                return true;
            }
        }
        false
    }
}

/// The line and the column at which a text is not valid TOML. They go with the error's message, since the
/// error's `Display` would quote the line.
pub(in crate::settings) fn place_of(error: &TomlError, text: &str) -> (usize, usize) {
    let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or_default();
    let line = 1 + before.bytes().filter(|byte| *byte == b'\n').count();
    let column = 1 + before.chars().rev().take_while(|character| *character != '\n').count();
    (line, column)
}

fn write_canonical(json: &str, constant: bool, out: &mut Vec<u8>) {
    match kind(json) {
        Kind::Object => {
            let mut pairs = members(json).unwrap_or_default();
            if !constant {
                pairs.retain(|(_, raw)| kind(raw.get()) != Kind::Null);
                pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
            }
            out.push(b'{');
            for (n, (key, raw)) in pairs.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                key.write_json(out);
                out.push(b':');
                // These two hold what is published as it stands; elsewhere they hold no objects.
                let constant = constant || matches!(key.as_bytes(), b"default" | b"value");
                write_canonical(raw.get(), constant, out);
            }
            out.push(b'}');
        }
        Kind::Array => {
            out.push(b'[');
            for (n, raw) in elements(json).unwrap_or_default().iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write_canonical(raw.get(), constant, out);
            }
            out.push(b']');
        }
        Kind::String => write_json_string(&string_bytes(json).unwrap_or_default(), out),
        Kind::Null | Kind::Bool | Kind::Number => out.extend_from_slice(json.as_bytes()),
    }
}

fn write_item(item: &Item, path: &str, json: &mut String) -> Result<(), String> {
    match item {
        Item::None => json.push_str("null"),
        Item::Value(value) => write_value(value, path, json)?,
        Item::Table(table) => {
            write_object(table.iter().map(|(key, item)| (key, Cow::Borrowed(item))), path, json)?;
        }
        Item::ArrayOfTables(tables) => {
            let tables = tables.iter().map(|table| Cow::Owned(Item::Table(table.clone())));
            write_array(tables, path, json)?;
        }
    }
    Ok(())
}

fn write_value(value: &TomlValue, path: &str, json: &mut String) -> Result<(), String> {
    match value {
        TomlValue::String(text) => json.push_str(&quoted(text.value())),
        TomlValue::Boolean(flag) => json.push_str(if *flag.value() { "true" } else { "false" }),
        TomlValue::Integer(number) => {
            let written = number.as_repr().and_then(|repr| repr.as_raw().as_str());
            json.push_str(&literal(written).unwrap_or_else(|| number.value().to_string()));
        }
        TomlValue::Float(number) => {
            let written = number.as_repr().and_then(|repr| repr.as_raw().as_str());
            let plain = || number.value().is_finite().then(|| number.value().to_string());
            let text = literal(written).or_else(plain);
            json.push_str(&text.ok_or_else(|| format!("{path}: is no number that JSON has"))?);
        }
        TomlValue::Datetime(_) => {
            return Err(format!("{path}: is a date, which JSON has not; put it in quotes"));
        }
        TomlValue::Array(array) => {
            let items = array.iter().map(|value| Cow::Owned(Item::Value(value.clone())));
            write_array(items, path, json)?;
        }
        TomlValue::InlineTable(table) => write_object(
            table.iter().map(|(key, value)| (key, Cow::Owned(Item::Value(value.clone())))),
            path,
            json,
        )?,
    }
    Ok(())
}

fn write_object<'t>(
    members: impl Iterator<Item = (&'t str, Cow<'t, Item>)>,
    path: &str,
    json: &mut String,
) -> Result<(), String> {
    json.push('{');
    for (n, (key, item)) in members.enumerate() {
        if n > 0 {
            json.push(',');
        }
        json.push_str(&quoted(key));
        json.push(':');
        let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        write_item(&item, &path, json)?;
    }
    json.push('}');
    Ok(())
}

fn write_array<'t>(
    items: impl Iterator<Item = Cow<'t, Item>>,
    path: &str,
    json: &mut String,
) -> Result<(), String> {
    json.push('[');
    for (n, item) in items.enumerate() {
        if n > 0 {
            json.push(',');
        }
        write_item(&item, &format!("{path}[{n}]"), json)?;
    }
    json.push(']');
    Ok(())
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A TOML number literal as JSON would write it, if it would.
fn literal(written: Option<&str>) -> Option<String> {
    let plain: String = written?.trim_start_matches('+').chars().filter(|c| *c != '_').collect();
    let number = kind(&plain) == Kind::Number && serde_json::from_str::<&RawValue>(&plain).is_ok();
    number.then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_becomes_json_with_its_literals() {
        let toml = "a = 1.10\nb = +1_000\nc = 0x1F\nd = 'x\"y'\n[t]\nz = [1, {k = true}]\n[[l]]\nn = 1\n[[l]]\nn = 2\n";
        let document = Document::parse(toml, Syntax::Toml).expect("TOML");
        assert_eq!(
            document.as_json(),
            r#"{"a":1.10,"b":1000,"c":31,"d":"x\"y","t":{"z":[1,{"k":true}]},"l":[{"n":1},{"n":2}]}"#
        );
    }

    #[test]
    fn rejects_toml_values_that_json_lacks_with_their_path() {
        let date = Document::parse("[a]\nb = [1979-05-27]", Syntax::Toml).expect_err("a date");
        assert!(date.starts_with("a.b[0]: is a date"), "{date}");
        assert!(Document::parse("a = inf", Syntax::Toml).is_err());
    }

    #[test]
    fn constants_that_differ_in_what_is_published_differ_in_canonical_form() {
        let canonical = |constant: &str| {
            let json = format!(r#"{{"assign":[{{"value":{constant},"key":"k"}}]}}"#);
            Document::parse(&json, Syntax::Json).expect("JSON").canonical()
        };
        assert_eq!(canonical(r#"{ "a": 1 }"#), canonical(r#"{"a":1}"#));
        assert_ne!(canonical(r#"{"a":null}"#), canonical("{}"));
        assert_ne!(canonical(r#"{"a":1,"b":2}"#), canonical(r#"{"b":2,"a":1}"#));
    }

    #[test]
    fn depth_is_counted_outside_strings() {
        let document = |json: &str| Document::parse(json, Syntax::Json).expect("JSON");
        let nested = document(r#"{"a":[{"[[[\"{":"\\"}]}"#);
        assert!(nested.nests_deeper_than(2) && !nested.nests_deeper_than(3));
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(document(&deep).nests_deeper_than(128));
    }

    #[test]
    fn toml_and_json_have_the_same_canonical_form() {
        let toml = Document::parse("b = \"é\"\n[a]\ny = 1\nx = 2", Syntax::Toml).expect("TOML");
        let json = r#" { "a": { "x": 2, "y": 1, "z": null }, "b": "\u00e9" } "#;
        let json = Document::parse(json, Syntax::Json).expect("JSON");
        assert_eq!(toml.canonical(), json.canonical());
        assert_eq!(toml.canonical(), r#"{"a":{"x":2,"y":1},"b":"é"}"#);
    }
}
