//! JSON Schema, draft 2020-12, as far as several rooms write it.
//!
//! Each room describes what it reads or writes itself, beside the code that does it, and
//! `throughline schema` prints it. Parts are taken from the code where possible: words from the
//! `ALL` of their enum, bounds from the read that checks them. `tests/it/schema.rs` compares the parts
//! written by hand (the rules, the case files, the messages) with the code, in both directions.
//!
//! Only keywords are used that mean the same in draft 7, so that a schema can stand in an AsyncAPI
//! document and in front of editors that are behind. Deliberately absent: validation. The loaders
//! validate, and they can say more than a schema.

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

/// The dialect.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Makes a document of a schema: `name` is what `throughline schema` calls it.
pub(crate) fn document(name: &str, title: &str, description: &str, schema: Value) -> Value {
    let mut document = schema;
    document["$schema"] = DIALECT.into();
    document["$id"] = format!("urn:throughline:schema:{name}").into();
    document["title"] = title.into();
    document["description"] = description.into();
    document
}

/// A document as a part of another one, in which it stands at `place` (a JSON Pointer with `#`).
pub(crate) fn embedded(mut document: Value, place: &str) -> Value {
    if let Some(members) = document.as_object_mut() {
        members.remove("$schema");
        members.remove("$id");
    }
    move_references(&mut document, place);
    document
}

fn move_references(schema: &mut Value, place: &str) {
    match schema {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(target) if name == "$ref" => {
                        if let Some(pointer) = target.strip_prefix('#') {
                            *target = format!("{place}{pointer}");
                        }
                    }
                    other => move_references(other, place),
                }
            }
        }
        Value::Array(elements) => {
            elements.iter_mut().for_each(|element| move_references(element, place));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A schema with what it is for.
pub(crate) fn described(description: &str, mut schema: Value) -> Value {
    schema["description"] = description.into();
    schema
}

/// Any text.
pub(crate) fn text() -> Value {
    json!({ "type": "string" })
}

/// A text that is not empty.
pub(crate) fn name() -> Value {
    json!({ "type": "string", "minLength": 1 })
}

/// A whole number within `range`.
pub(crate) fn integer<T: Copy + Into<Value>>(range: &RangeInclusive<T>) -> Value {
    let (minimum, maximum): (Value, Value) = ((*range.start()).into(), (*range.end()).into());
    json!({ "type": "integer", "minimum": minimum, "maximum": maximum })
}

/// One of the words.
pub(crate) fn words(words: impl IntoIterator<Item = &'static str>) -> Value {
    json!({ "type": "string", "enum": words.into_iter().collect::<Vec<_>>() })
}

/// An array.
pub(crate) fn array(items: Value) -> Value {
    let mut array = json!({ "type": "array" });
    array["items"] = items;
    array
}

/// One text, or an array of texts.
pub(crate) fn text_or_texts() -> Value {
    json!({ "type": ["string", "array"], "items": text() })
}

/// The schema, or `null`, for where `null` counts as absent.
pub(crate) fn or_null(mut schema: Value) -> Value {
    // Anything at all.
    if schema.as_object().is_some_and(Map::is_empty) {
        return schema;
    }
    match schema.get_mut("type") {
        Some(Value::Array(kinds)) => kinds.push("null".into()),
        Some(kind) => *kind = json!([kind.take(), "null"]),
        None => return json!({ "anyOf": [schema, { "type": "null" }] }),
    }
    if let Some(Value::Array(words)) = schema.get_mut("enum") {
        words.push(Value::Null);
    }
    schema
}

/// An object whose members are read one by one.
#[derive(Debug, Default)]
pub(crate) struct Table {
    properties: Map<String, Value>,
    required: Vec<&'static str>,
    others: Option<Value>,
    further: Map<String, Value>,
}

impl Table {
    /// An object that knows no members yet.
    pub(crate) fn new() -> Table {
        Table::default()
    }

    /// A member that must be there.
    #[must_use]
    pub(crate) fn required(mut self, key: &'static str, description: &str, schema: Value) -> Table {
        self.properties.insert(key.to_owned(), described(description, schema));
        self.required.push(key);
        self
    }

    /// A member that may be left out, but is never `null`.
    #[must_use]
    pub(crate) fn present(mut self, key: &str, description: &str, schema: Value) -> Table {
        self.properties.insert(key.to_owned(), described(description, schema));
        self
    }

    /// A member that may be left out; `null` is the same.
    #[must_use]
    pub(crate) fn optional(mut self, key: &str, description: &str, schema: Value) -> Table {
        self.properties.insert(key.to_owned(), described(description, or_null(schema)));
        self
    }

    /// What members without a name of their own may be; without this there are none.
    #[must_use]
    pub(crate) fn others(mut self, schema: Value) -> Table {
        self.others = Some(schema);
        self
    }

    /// A further keyword of the object as a whole.
    #[must_use]
    pub(crate) fn with(mut self, keyword: &str, value: Value) -> Table {
        self.further.insert(keyword.to_owned(), value);
        self
    }

    /// The schema.
    pub(crate) fn schema(self) -> Value {
        let Table { properties, required, others, further } = self;
        let mut schema = Map::from_iter([
            ("type".to_owned(), "object".into()),
            ("properties".to_owned(), properties.into()),
            ("additionalProperties".to_owned(), others.unwrap_or(Value::Bool(false))),
        ]);
        if !required.is_empty() {
            schema.insert("required".to_owned(), required.into());
        }
        schema.extend(further);
        schema.into()
    }
}
