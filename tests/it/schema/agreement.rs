//! Schema and loader agree: a document that has everything is changed in one place after the other,
//! to one wrong or odd value after the other, and both must say the same of each.
//!
//! What no schema can say is named here, with its reason; anything else is a disagreement.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use throughline::cases::CaseFile;
use throughline::domain::Rules;
use throughline::settings::rules_file::{self, Document, Problem, Syntax};

use super::{play, schema, validator};
use crate::support::program::{folder, write};

/// Rules with every key.
fn rules() -> Value {
    json!({
        "copy_user_data": {
            "value": "a;b", "parents": ["p"], "children": ["c"],
            "route": [{ "parent": "p", "child": "c", "value": "all" }],
        },
        "assign": [
            { "channel": "chat", "key": "k", "from": "/a/b" },
            { "key": "k", "value": { "any": 1 } },
        ],
        "user_data_set": [{
            "name": "S", "description": "d",
            "key": [{ "name": "k", "default": "v", "replace": true }, { "name": "l" }],
        }],
        "widget": [{ "id": "w", "user_data_set": "S", "call_target": "t" }],
        "call_target": [{ "id": "t", "metadata_item": [{ "name": "k", "default": "v" }] }],
        "metadata_item": [{ "name": "m", "default": "v" }],
        "history": {
            "chat": "a, b", "voice": ["a"],
            "queue": [{ "queue": "q", "keys": "a" }, { "queue": "r", "keys": ["a"] }],
        },
        "allocated": { "chat": "a" },
        "priority": { "order": ["agent"] },
        "keys": { "names": "any", "formats": { "sinch-conversation": "xml" } },
        "updates": { "customer_frozen": ["webchat"] },
        "parents": { "unknown": "publish" },
        "limits": { "user_data_warn_bytes": 1, "user_data_max_bytes": 2 },
    })
}

/// A case file with every key.
fn cases() -> Value {
    json!({
        "rules": { "parents": { "unknown": "publish" } },
        "cases": [{
            "name": "n", "rules": "rules.toml", "format": "auto", "before": [{ "a": 1 }, "raw"],
            "given": { "a": 1 }, "last_attempt": true,
            "expect": {
                "outcome": "enriched", "userData": {}, "metadata": {}, "extraData": {},
                "parent": "none", "origins": { "k": "received" }, "dropped": { "k": "not_in_set" },
                "warnings": ["frozen"], "reason": "not_json", "detail": "a", "rulesError": "a", "rulesWarnings": ["a"],
            },
        }, { "expect": { "outcome": "ended" } }],
    })
}

/// What takes the place of each value in turn.
pub(super) fn replacements() -> Vec<Value> {
    let values = json!([
        null, true, 7, -1, 1.5, "", "x", "jsonEvent", "/jsonEvent", "/a~2", "a\nb", [], ["x"], [7],
        [null], {}, { "x": 7 }, [{}], [{ "x": 7 }],
    ]);
    values.as_array().expect("an array").clone()
}

/// The document changed in one place, each time with the place's JSON Pointer.
pub(super) fn changes(document: &Value) -> Vec<(String, Value)> {
    let mut places = Vec::new();
    collect(document, String::new(), &mut places);
    let mut changes = vec![(String::new(), document.clone())];
    for place in places {
        for value in replacements() {
            let mut changed = document.clone();
            *changed.pointer_mut(&place).expect("the place is there") = value;
            changes.push((place.clone(), changed));
        }
        let mut unknown = document.clone();
        if let Some(table) = unknown.pointer_mut(&place).and_then(Value::as_object_mut) {
            table.insert("no such key".to_owned(), json!(["x"]));
            changes.push((place.clone(), unknown));
        }
        let mut removed = document.clone();
        let (parent, key) = place.rsplit_once('/').unwrap_or_default();
        match removed.pointer_mut(parent) {
            Some(Value::Object(members)) => {
                members.remove(key);
            }
            Some(Value::Array(elements)) if !key.is_empty() => {
                elements.remove(key.parse().expect("an index"));
            }
            _ => {}
        }
        changes.push((place.clone(), removed));
    }
    changes
}

fn collect(value: &Value, place: String, places: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            members
                .iter()
                .for_each(|(key, member)| collect(member, format!("{place}/{key}"), places));
        }
        Value::Array(elements) => {
            let numbered = elements.iter().enumerate();
            numbered.for_each(|(n, element)| collect(element, format!("{place}/{n}"), places));
        }
        _ => {}
    }
    places.push(place);
}

/// The problems that are about one place alone. The others compare places with each other.
fn problems_at_one_place(mut problems: Vec<Problem>) -> Vec<Problem> {
    const COMPARING: [&str; 4] =
        ["of an earlier", "names no set", "names no call target", "given twice"];
    problems.retain(|problem| !COMPARING.iter().any(|what| problem.message.contains(what)));
    problems
}

/// The problems of a rules document.
fn rules_problems(document: &Value) -> Vec<Problem> {
    let document = Document::parse(&document.to_string(), Syntax::Json).expect("JSON");
    problems_at_one_place(rules_file::compile(&document).err().unwrap_or_default())
}

/// The problems of a case file.
fn cases_problems(document: &Value) -> Vec<Problem> {
    let folder = folder();
    let path = write(folder.path(), "cases.json", &document.to_string());
    match CaseFile::load(&path) {
        Ok(_) => Vec::new(),
        Err(error) => {
            let message = error.to_string();
            vec![Problem { path: String::new(), message }]
        }
    }
}

fn agree(name: &str, document: &Value, problems: impl Fn(&Value) -> Vec<Problem>) {
    let schema = validator(&schema(name));
    assert!(schema.is_valid(document), "the document itself is valid");
    let mut disagreements = Vec::new();
    let changes = changes(document);
    assert!(changes.len() > 500, "{} changes", changes.len());
    for (place, changed) in changes {
        // Inline rules of a case are judged when it runs: an array or a number is refused then.
        let is_rules_of_case = name == "cases" && place.ends_with("/rules");
        let is_table = |value: &Value| value.is_object() || value.is_string() || value.is_null();
        if is_rules_of_case && changed.pointer(&place).is_some_and(|value| !is_table(value)) {
            continue;
        }
        let problems = problems(&changed);
        if schema.is_valid(&changed) != problems.is_empty() {
            let value = changed.pointer(&place);
            disagreements.push(format!("{place} = {value:?}: the loader finds {problems:?}"));
        }
    }
    assert!(disagreements.is_empty(), "{name}: {disagreements:#?}");
}

#[test]
fn rules_schema_agrees_with_the_loader() {
    agree("rules", &rules(), rules_problems);
}

#[test]
fn cases_schema_agrees_with_the_loader() {
    agree("cases", &cases(), cases_problems);
}

/// Whenever the loader names the keys or the words that it knows, they are those of the schema.
fn names_the_same(name: &str, document: &Value, problems: impl Fn(&Value) -> Vec<Problem>) {
    let schema = schema(name);
    let mut compared = 0;
    for (place, _) in changes(document) {
        let mut unknown = document.clone();
        let table = unknown.pointer_mut(&place).and_then(Value::as_object_mut);
        let known = &schema_at(&schema, &place);
        if let Some(table) = table {
            table.insert("no such key".to_owned(), json!(1));
            let said = problems(&unknown).into_iter().find_map(|problem| {
                let (_, keys) = problem.message.split_once("known here: ")?;
                Some(keys.lines().next()?.split(", ").map(str::to_owned).collect::<Vec<_>>())
            });
            if let Some(mut said) = said {
                said.sort();
                let keys: Vec<_> =
                    known["properties"].as_object().expect("keys").keys().cloned().collect();
                assert_eq!(said, keys, "{name}{place}");
                compared += 1;
            }
        }
        if let Some(words) = known["enum"].as_array() {
            let mut wrong = document.clone();
            *wrong.pointer_mut(&place).expect("the place is there") = json!("no such word");
            let found = problems(&wrong);
            let said = found.iter().find_map(|problem| problem.message.split_once("must be "));
            let (_, said) = said.expect("a wrong word is refused");
            let said: Vec<_> =
                said.lines().next().expect("a line").split(" or ").map(super::json).collect();
            let words: Vec<_> = words.iter().filter(|word| !word.is_null()).cloned().collect();
            assert_eq!(said, words, "{name}{place}");
            compared += 1;
        }
    }
    assert!(compared > 50, "{compared} places were compared");
}

/// The schema of a place, as far as it is found without a reference; of alternatives the first.
pub(super) fn schema_at(schema: &Value, place: &str) -> Value {
    place.split('/').skip(1).fold(schema.clone(), |schema, key| {
        let schema = schema["anyOf"].get(0).cloned().unwrap_or(schema);
        let member = &schema["properties"][key];
        match (member, &schema["items"]) {
            (Value::Null, Value::Null) => schema["additionalProperties"].clone(),
            (Value::Null, items) => items.clone(),
            (member, _) => member.clone(),
        }
    })
}

#[test]
fn the_keys_and_words_of_rules_are_those_of_the_schema() {
    names_the_same("rules", &rules(), rules_problems);
}

#[test]
fn the_keys_and_words_of_cases_are_those_of_the_schema() {
    names_the_same("cases", &cases(), cases_problems);
}

#[test]
fn complete_documents_have_every_key() {
    for (name, document) in [("rules", rules()), ("cases", cases())] {
        let schema = schema(name);
        let mut written: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut places = Vec::new();
        collect(&document, String::new(), &mut places);
        for place in &places {
            let Some(Value::Object(table)) = document.pointer(place) else { continue };
            // Of a list of tables, each key in one of them.
            let is_index = |key: &&str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_digit());
            let keys = place.split('/').map(|key| if is_index(&key) { "0" } else { key });
            let place = keys.collect::<Vec<_>>().join("/");
            written.entry(place).or_default().extend(table.keys().cloned());
        }
        for (place, written) in written {
            let known = schema_at(&schema, &place);
            let Some(known) = known["properties"].as_object() else { continue };
            // One format stands for all.
            for key in known.keys().filter(|_| !place.ends_with("/formats")) {
                assert!(written.contains(key), "{name}{place} lacks {key}");
            }
        }
    }
}

/// A `null` says nothing: to the loader not even under a key that it does not know, where the schema
/// warns of the key.
#[test]
fn null_equals_absent() {
    let unknown = json!({ "no such key": null });
    assert!(rules_problems(&unknown).is_empty() && !validator(&schema("rules")).is_valid(&unknown));
    let nothing = json!({ "cases": [{ "expect": { "origins": { "k": null } } }] });
    assert!(
        !cases_problems(&nothing).is_empty() && !validator(&schema("cases")).is_valid(&nothing)
    );
}

// ----------------------------------------------------------------------------------------- inbound

#[test]
fn inbound_schema_agrees_with_the_decoder() {
    let valid = validator(&schema("inbound"));
    let interaction = json!({
        "id": "A", "channel": "chat", "tenant": "1", "queue": "q", "widget": "w", "callTarget": "c",
        "direction": "inbound", "createdAt": "t", "parentId": "P", "other": 1,
        "parent": { "id": "P", "channel": "webengagement", "userData": { "k": 1 } },
        "userData": [{ "key": "k", "type": "str", "value": "v" }, { "k": "l", "v": 1 }],
        "attached": [{ "source": "agent", "userData": { "k": 1 } }],
    });
    let bare = |kind: &str, interaction: &Value| json!({ "type": kind, "id": "1", "time": "t", "source": "agent", "interaction": interaction });
    let event = |kind: &str, interaction: &Value| {
        json!({ "specversion": "1.0", "type": kind, "id": "1", "time": "t", "source": "/crm",
                "data": { "source": "agent", "interaction": interaction } })
    };
    let end = json!({ "id": "A", "tenant": "1", "state": "handled" });
    let mut disagreements = Vec::new();
    for (kind, interaction) in [
        ("interaction.created", &interaction),
        ("interaction.opened", &interaction),
        ("interaction.updated", &interaction),
        ("interaction.ended", &end),
    ] {
        for message in [bare(kind, interaction), event(kind, interaction)] {
            for (place, changed) in changes(&message) {
                let is_event = message.get("specversion").is_some();
                // The schema says what CloudEvents asks for, of which not everything is read; and of
                // an end the source is not read, since its data is not; nor is the data of an update
                // that waits for its interaction, as it does here.
                let unread = is_event && matches!(place.as_str(), "/specversion" | "/source")
                    || kind.ends_with("ended") && place.ends_with("/source")
                    || kind.ends_with("updated") && place.contains("userData");
                if unread {
                    continue;
                }
                let (is_refused, _) = play(&Rules::empty(), &[changed.to_string()]).remove(0);
                let is_refused = is_refused.unwrap_or(false);
                if valid.is_valid(&changed) == is_refused {
                    let value = changed.pointer(&place);
                    disagreements
                        .push(format!("{kind}, {place} = {value:?}: refused {is_refused}"));
                }
            }
        }
    }
    assert!(disagreements.is_empty(), "{disagreements:#?}");
}
