//! Settings: schema and loader agree on every setting, and on every member of a list of tables.

use std::collections::BTreeSet;

use std::path::PathBuf;

use serde_json::{Value, json};
use throughline::settings::{self, Problem, SettingsError, Sources};

use super::agreement::{changes, replacements, schema_at};
use super::{schema, validator};
use crate::support::program::{folder, write};

/// A value as TOML; there is no `null`.
fn toml(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members: Vec<_> =
                members.iter().map(|(key, value)| format!("{key} = {}", toml(value))).collect();
            format!("{{ {} }}", members.join(", "))
        }
        Value::Array(elements) => {
            format!("[{}]", elements.iter().map(toml).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// What the loader finds in a file.
fn problems(file: PathBuf) -> Vec<Problem> {
    match settings::load(Sources { files: vec![file], ..Sources::default() }) {
        Err(SettingsError::Invalid(problems)) => problems,
        Err(SettingsError::Layers(error)) => panic!("layers do not merge: {error}"),
        Ok(_) => Vec::new(),
    }
}

#[test]
fn settings_schema_agrees_with_the_loader() {
    let schema = schema("settings");
    let valid = validator(&schema);
    let folder = folder();
    let mut compared = 0;
    for shown in settings::load(Sources::default()).expect("the defaults load").provenance {
        let setting = shown.setting;
        let of_setting = schema_at(&schema, &format!("/{}", setting.replace('.', "/")));
        let mut values = replacements();
        values.retain(|value| !toml(value).contains("null"));
        for bound in ["minimum", "maximum"].iter().filter_map(|name| of_setting[name].as_i64()) {
            values.extend([bound - 1, bound, bound + 1].map(Value::from));
        }
        values.extend(of_setting["enum"].as_array().into_iter().flatten().cloned());
        for value in values {
            let (section, key) = setting.split_once('.').unwrap_or(("", setting));
            let header = if section.is_empty() { String::new() } else { format!("[{section}]\n") };
            let file =
                write(folder.path(), "s.toml", &format!("{header}{key} = {}\n", toml(&value)));
            let instance = match section {
                "" => json!({ key: value }),
                section => json!({ section: { key: value } }),
            };
            let found = problems(file);
            let is_valid = valid.is_valid(&instance);
            // What a text must say besides being one ($comment tells), what the entries of a list
            // must say, and what other settings demand, is for the loader alone.
            let is_beyond = of_setting.get("$comment").is_some() && value.is_string()
                || setting == "history.retention"
                || found.iter().all(|problem| !problem.what.starts_with("expected "));
            let agree = is_valid == found.is_empty() || is_valid && is_beyond;
            assert!(agree, "{instance}: valid {is_valid}, the loader finds {found:?}");
            compared += 1;
        }
    }
    assert!(compared > 500, "{compared} values were compared");
}

#[test]
fn sources_and_outputs_schema_agrees_with_the_loader() {
    let folder = folder();
    let secret = write(folder.path(), "secret", "s3cret");
    let document = json!({
        "source": [{
            "queue": "q", "exchange": "e", "routing_keys": ["a.#"], "format": "sinch-conversation",
            "tenant": "t", "lanes": 2, "prefetch_messages": 3, "signature_secret_file": secret,
        }, { "queue": "r" }],
        "output": [{
            "exchange": "x", "routing_key": "k.{channel}", "format": "sap-c4c", "encoding": "xml",
            "channels": ["voice"], "mandatory": false,
        }, {
            "exchange": "x", "routing_key": "l", "format": "cloud-event-binary", "prefix": "ce-",
        }],
    });
    let schema = schema("settings");
    let valid = validator(&schema);
    for list in ["source", "output"] {
        let table = match list {
            "source" => &schema["properties"]["source"]["items"],
            _ => &schema["properties"]["output"]["anyOf"][1]["items"],
        };
        let known: BTreeSet<_> = table["properties"].as_object().expect("members").keys().collect();
        let tables = document[list].as_array().into_iter().flatten();
        let written: BTreeSet<_> =
            tables.flat_map(|table| table.as_object().expect("a table").keys()).collect();
        assert_eq!(known, written, "{list} is tried with every key");
    }
    let mut compared = 0;
    for (place, changed) in changes(&document) {
        let lines = changed.as_object().into_iter().flatten();
        let lines: Vec<_> =
            lines.map(|(key, value)| format!("{key} = {}\n", toml(value))).collect();
        // TOML has no null, and is a table.
        if place.is_empty()
            || lines.concat().contains("null")
            || lines.concat().contains("no such key")
        {
            continue;
        }
        let found = problems(write(folder.path(), "s.toml", &lines.concat()));
        let is_valid = valid.is_valid(&changed);
        // What a routing key may be, whether a file is there, and what compares settings is for the
        // loader alone.
        let of_shape = ["expected ", "is missing", "is no setting", "is a section"];
        let is_of_shape =
            |problem: &Problem| of_shape.iter().any(|what| problem.what.starts_with(what));
        let agree = is_valid != found.iter().any(is_of_shape);
        assert!(agree, "{place}: valid {is_valid}, the loader finds {found:?}\n{}", lines.concat());
        compared += 1;
    }
    assert!(compared > 200, "{compared} documents were compared");
}
