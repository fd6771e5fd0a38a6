//! The schemas: that they are current, that they are schemas, and that what we ship, read and publish
//! is as they say.
//!
//! `agreement` and `settings` hold them to the loaders, `refused` has documents that they must not accept, `broker`
//! compares the AsyncAPI document with real messages.

mod agreement;
mod broker;
mod refused;
mod settings;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jsonschema::Validator;
use serde_json::Value;
use throughline::cases::CaseFile;
use throughline::domain::{Attempt, Outcome, RejectReason, Routing, RoutingTarget, Rules};
use throughline::formats::enriched::{self, Stamp, Unrouted};
use throughline::formats::{self, Hints, body};
use throughline::pipeline::save::table::InteractionTable;
use throughline::settings::rules_file::{self, Document, Syntax};

use crate::support::program::{folder, run, stderr, stdout};

/// What `throughline schema` prints.
const NAMES: [&str; 6] = ["inbound", "enriched", "rules", "settings", "cases", "asyncapi"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn files(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).expect("the folder is there");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    assert!(!files.is_empty(), "{folder} holds no file");
    files
}

/// What the program prints.
fn printed(name: &str) -> String {
    let output = run(folder().path(), &["schema", name]);
    assert!(output.status.success(), "{name}: {}", stderr(&output));
    stdout(&output)
}

fn schema(name: &str) -> Value {
    serde_json::from_str(&printed(name)).expect("a schema is JSON")
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::new(schema).expect("a schema that can be used")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// A file of either syntax as JSON.
fn document(path: &Path) -> Value {
    // A lone surrogate, or a number above all floats, is more than this reader of JSON takes.
    let text = text(path).replace("\\ud", "\\ue").replace("1E400", "1E40");
    json(Document::parse(&text, Syntax::of(path, &text)).expect("it can be parsed").as_json())
}

/// Fails with all that the schema has against the instance.
fn assert_valid(validator: &Validator, instance: &Value, what: &str) {
    let errors = validator.iter_errors(instance);
    let errors: Vec<_> =
        errors.map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{what}: {errors:#?}");
}

#[test]
fn the_documents_under_docs_are_current() {
    for name in NAMES {
        let path = format!("docs/schemas/{name}.json");
        assert!(
            std::fs::read_to_string(root().join(&path)).is_ok_and(|kept| kept == printed(name)),
            "{path} is not current: throughline schema {name} > {path}"
        );
    }
    let kept: Vec<_> = files("docs/schemas");
    assert_eq!(kept.len(), NAMES.len(), "docs/schemas holds something else: {kept:?}");
}

#[test]
fn every_schema_is_a_schema() {
    for name in NAMES.into_iter().filter(|name| *name != "asyncapi") {
        let schema = schema(name);
        if let Err(error) = jsonschema::draft202012::meta::validate(&schema) {
            panic!("{name}: {error}");
        }
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert_eq!(schema["$id"], format!("urn:throughline:schema:{name}"));
        validator(&schema);
    }
}

#[test]
fn every_shipped_file_is_valid() {
    let (rules, settings, cases) = (schema("rules"), schema("settings"), schema("cases"));
    let rules = validator(&rules);
    let settings = validator(&settings);
    assert_valid(&rules, &document(Path::new("config/rules.toml")), "config/rules.toml");
    for name in ["config/default.toml", "config/production.toml"] {
        assert_valid(&settings, &document(Path::new(name)), name);
    }
    let cases = validator(&cases);
    for path in files("tests/cases") {
        assert_valid(&cases, &document(&path), &path.display().to_string());
    }
}

#[test]
fn every_setting_is_described_with_its_type() {
    let schema = schema("settings");
    let mut described = 0;
    let mut look = |path: &str, setting: &Value| {
        assert!(setting["description"].is_string(), "{path} has no description");
        assert!(setting.get("type").or(setting.get("anyOf")).is_some(), "{path} has no type");
        let is_secret = setting["writeOnly"] == true;
        assert_ne!(setting.get("default").is_some(), is_secret, "{path}: a default, or a secret");
        described += 1;
    };
    for (name, member) in schema["properties"].as_object().expect("settings") {
        // `[output]`, or tables under [[output]].
        let section = member["anyOf"].get(0).unwrap_or(member);
        match section.get("properties").and_then(Value::as_object) {
            Some(section) => {
                section.iter().for_each(|(key, setting)| look(&format!("{name}.{key}"), setting));
            }
            None => look(name, member),
        }
    }
    let loaded = throughline::settings::load(Default::default()).expect("the defaults load");
    assert_eq!(described, loaded.provenance.len());
}

// ---------------------------------------------------------------------------------------- messages

/// What becomes of bodies under rules, in order: whether each is refused for what it is, if that was
/// looked at, and what is published of it.
fn play(rules: &Rules, bodies: &[String]) -> Vec<(Option<bool>, Option<Value>)> {
    let texts: Vec<_> = bodies.iter().map(|b| body::check(b.as_bytes(), 1_048_576)).collect();
    let mut table = InteractionTable::default();
    let mut played = Vec::new();
    for text in &texts {
        let Ok(text) = text else {
            played.push((Some(true), None));
            continue;
        };
        let Ok(decoded) = formats::decode(text, text.as_bytes(), Hints::default()) else {
            played.push((Some(true), None));
            continue;
        };
        let step = table.take(rules, &decoded.message, Attempt::default());
        let refused = match &step.outcome {
            Outcome::Rejected(refusal) => Some(refusal.reason == RejectReason::UserDataNotAMap),
            Outcome::Enriched(_) | Outcome::Ended(_) => Some(false),
            Outcome::Ignored | Outcome::Duplicate | Outcome::Waiting(_) => None,
        };
        let stamp =
            Stamp { revision: rules.revision(), time: "2023-11-14T22:13:20.123Z", origins: true };
        let id = enriched::message_id(&decoded).to_string();
        let bytes = enriched::encode_open(&id, &decoded, &step, stamp).map(
            |Unrouted { mut body, routing_at }| {
                if let Some(at) = routing_at {
                    let widget_state = Some("offer_callback".to_owned());
                    let routing = Routing { target: RoutingTarget::Callback, widget_state };
                    enriched::write_routing(&mut body, at, &routing);
                }
                body
            },
        );
        // A lone surrogate, or a value as deep as may be, is more than this reader of JSON takes.
        let published = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        played.push((refused, published));
    }
    played
}

/// Lines of the samples, of the vendors' payloads, and the messages of each case.
fn conversations() -> Vec<(String, Vec<String>)> {
    let lines = |path: &Path| text(path).lines().map(str::to_owned).collect::<Vec<_>>();
    let mut all =
        vec![("samples".to_owned(), lines(Path::new("config/samples/interactions.ndjson")))];
    for path in files("tests/fixtures") {
        all.push((path.display().to_string(), lines(&path)));
    }
    for path in files("tests/cases") {
        for case in CaseFile::load(&path).expect("a case file").cases {
            let bodies = case.before.into_iter().chain(case.given).collect();
            all.push((format!("{}: {}", path.display(), case.name), bodies));
        }
    }
    all
}

#[test]
fn everything_published_is_valid_and_described() {
    let schema = schema("enriched");
    let valid = validator(&schema);
    let sample =
        rules_file::load(&root().join("config/rules.toml")).expect("the sample rules").rules;
    let (mut seen, mut compared) = (BTreeSet::new(), 0);
    for (name, bodies) in conversations() {
        for rules in [&Rules::empty(), &sample] {
            for published in play(rules, &bodies).into_iter().filter_map(|(_, published)| published)
            {
                assert_valid(&valid, &published, &name);
                let kind = published["type"].as_str().expect("a type");
                let of_kind = kind.trim_start_matches("interaction.");
                for member in published.as_object().expect("an object").keys() {
                    let described = &schema["$defs"][of_kind]["properties"][member];
                    assert!(described.is_object(), "{kind} has {member}, which is not described");
                }
                seen.insert(kind.to_owned());
                compared += 1;
            }
        }
    }
    assert!(seen.len() == 2 && compared > 200, "{compared} of the types {seen:?} were published");
}

#[test]
fn inbound_schema_accepts_exactly_decodable_messages() {
    let valid = validator(&schema("inbound"));
    let (mut taken, mut refused) = (0, 0);
    for (name, bodies) in conversations() {
        for (body, (is_refused, _)) in bodies.iter().zip(play(&Rules::empty(), &bodies)) {
            let (Ok(message), Some(is_refused)) = (serde_json::from_str::<Value>(body), is_refused)
            else {
                continue;
            };
            let kind = message["type"].as_str().unwrap_or_default();
            let is_ours = kind.starts_with("interaction.");
            if !is_ours || is_beyond(body) {
                continue;
            }
            assert_eq!(valid.is_valid(&message), !is_refused, "{name}: {body}");
            if is_refused { refused += 1 } else { taken += 1 }
        }
    }
    assert!(taken > 100 && refused > 3, "{taken} taken, {refused} refused");
}

/// Whether a message is refused for what a schema cannot see: a member that stands twice, and names
/// whose characters are few and whose bytes are many.
fn is_beyond(body: &str) -> bool {
    let refusal = formats::decode(body, body.as_bytes(), Hints::default()).err();
    refusal.is_some_and(|refusal| {
        refusal.detail.contains("given twice")
            || refusal.detail.contains("longer than 255 bytes") && !body.is_ascii()
    })
}
