//! Laws: what holds for any rules and any messages, tried on a few hundred of each.
//!
//! The samples are the same on every run: a law that fails today failed yesterday. What the rules say
//! of a particular message is for the case files; here is what no message may bring about.

mod json;
mod samples;

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, proptest};
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};
use throughline::domain::json::members;
use throughline::domain::value::Key;
use throughline::domain::{Attempt, LiveData, Origin, Outcome, Record, Rules, Step};
use throughline::formats::enriched::{self, Stamp};
use throughline::formats::{self, Decoded, Hints, body};
use throughline::pipeline::ports::{Plaintext, StoredLiveData};
use throughline::pipeline::save::table::InteractionTable;
use throughline::settings::rules_file::{self, Document, Syntax};

use samples::{
    StoredRows, any_document, checked, compiled, decoded, message, object, pairs, rules,
};

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x7468_726F_7567_686C),
        ..ProptestConfig::default()
    }
}

fn published(rules: &Rules, decoded: &Decoded<'_>, step: &Step<'_>) -> Option<Vec<u8>> {
    let stamp =
        Stamp { revision: rules.revision(), time: "1970-01-01T00:00:00.000Z", origins: true };
    enriched::encode(decoded, step, stamp)
}

/// Takes the messages through one table; each message with its step.
fn play<'a>(
    rules: &'a Rules,
    decoded: &[Decoded<'a>],
    table: &mut InteractionTable<'a>,
) -> Vec<Step<'a>> {
    decoded.iter().map(|decoded| table.take(rules, &decoded.message, Attempt::default())).collect()
}

/// The list that history has for a channel and queue, read from the document anew.
fn listed(document: &Value, channel: &str, queue: Option<&str>) -> Vec<String> {
    let history = &document["history"];
    let of_queue = queue.and_then(|queue| {
        history["queue"].as_array()?.iter().find(|entry| entry["queue"] == queue)
    });
    match of_queue.map_or(&history[channel], |entry| &entry["keys"]) {
        Value::String(text) => text.split(',').map(|key| key.trim().to_owned()).collect(),
        Value::Array(keys) => keys.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn history_holds_exactly_the_listed_finished_data(document in rules(), bodies in vec(message(), 1..8)) {
        let rules = compiled(&document);
        let texts = checked(&bodies);
        let decoded = decoded(&texts);
        for step in play(&rules, &decoded, &mut InteractionTable::default()) {
            let Outcome::Enriched(enriched) = &step.outcome else { continue };
            let list = listed(&document, &enriched.facts.channel, enriched.facts.queue.as_deref());
            for (key, text) in enriched.record.pairs() {
                prop_assert!(list.iter().any(|listed| listed == key), "{key} is not listed");
                prop_assert!(key != "jsonEvent");
                let value = enriched.data.get(&Key::from(key)).expect("a finished value");
                let as_text = serde_json::from_str::<String>(value.as_json());
                prop_assert_eq!(text, as_text.as_deref().unwrap_or(value.as_json()));
            }
        }
    }

    #[test]
    fn nothing_is_copied_that_the_filter_does_not_select(
        document in rules(), bodies in vec(message(), 1..8),
    ) {
        let rules = compiled(&document);
        let texts = checked(&bodies);
        let decoded = decoded(&texts);
        let filter = document["copy_user_data"]["value"].as_str().expect("a value");
        for step in play(&rules, &decoded, &mut InteractionTable::default()) {
            let Outcome::Enriched(enriched) = &step.outcome else { continue };
            for (key, _, origin) in enriched.data.iter().filter(|pair| pair.2 == Origin::Copied) {
                let name = key.as_str().expect("a key of the samples");
                let selected = filter == "all" || filter.split(';').any(|listed| listed == name);
                prop_assert!(filter != "no" && selected && name != "jsonEvent", "{name}: {origin}");
            }
        }
    }

    #[test]
    fn batch_result_equals_sequential_result(
        document in rules(), bodies in vec((message(), any::<[bool; 2]>()), 1..10),
    ) {
        let rules = compiled(&document);
        let (bodies, attempts): (Vec<_>, Vec<_>) = bodies.into_iter().unzip();
        let attempt = |n: usize| Attempt {
            may_be_unfinished: attempts[n][0],
            last_for_parent: attempts[n][1],
            last_for_interaction: attempts[n][1],
        };
        let texts = checked(&bodies);
        let decoded = decoded(&texts);
        let mut together = InteractionTable::default();
        let mut stored = StoredRows::default();
        for (n, decoded) in decoded.iter().enumerate() {
            let step = together.take(&rules, &decoded.message, attempt(n));
            let mut alone = stored.table();
            let step_alone = alone.take(&rules, &decoded.message, attempt(n));
            prop_assert_eq!(step.outcome.as_str(), step_alone.outcome.as_str(), "message {}", n);
            let bytes = published(&rules, decoded, &step);
            prop_assert_eq!(&bytes, &published(&rules, decoded, &step_alone), "message {}", n);
            if let Some(bytes) = bytes {
                prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok());
                prop_assert!(!bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r')), "one line");
            }
            let changed = StoredRows::changed(&alone, 0);
            stored.write(changed);
        }
        let mut at_once = StoredRows::default();
        at_once.write(StoredRows::changed(&together, 0));
        prop_assert_eq!(at_once.0.len(), stored.0.len());
        for (identity, row) in &at_once.0 {
            let other = &stored.0[identity];
            let live = |live: &StoredLiveData| match live {
                StoredLiveData::Open(Plaintext(bytes)) => Some(bytes.clone()),
                _ => None,
            };
            prop_assert_eq!(row.state, other.state);
            prop_assert_eq!(&row.record, &other.record);
            prop_assert_eq!(live(&row.live), live(&other.live));
            prop_assert_eq!((&row.facts, &row.channel, &row.queue), (&other.facts, &other.channel, &other.queue));
            prop_assert_eq!((&row.events, row.ended_ms), (&other.events, other.ended_ms));
        }
    }

    #[test]
    fn json_event_is_never_stored(document in rules(), bodies in vec(message(), 1..8)) {
        let rules = compiled(&document);
        let texts = checked(&bodies);
        let decoded = decoded(&texts);
        let mut table = InteractionTable::default();
        for (body, step) in bodies.iter().zip(play(&rules, &decoded, &mut table)) {
            let Outcome::Enriched(enriched) = &step.outcome else { continue };
            let brought = body.contains("jsonEvent");
            prop_assert!(brought || enriched.data.get(&Key::from("jsonEvent")).is_none());
        }
        for row in StoredRows::changed(&table, 0) {
            prop_assert!(row.record.pairs().all(|(key, _)| key != "jsonEvent"));
            if let StoredLiveData::Open(Plaintext(bytes)) = &row.live {
                let name = b"jsonEvent".as_slice();
                prop_assert!(!bytes.windows(name.len()).any(|window| window == name));
            }
        }
    }

    #[test]
    fn values_are_published_byte_for_byte(own in pairs(), channel in select(&["chat", "voice"][..])) {
        // Without rules, what is published is what was received: of each key the last value.
        let body = format!(
            r#"{{"type":"interaction.created","id":"1","interaction":{{"id":"A","channel":"{channel}","userData":{own}}}}}"#
        );
        let rules = Rules::empty();
        let bodies = [body];
        let texts = checked(&bodies);
        let decoded = decoded(&texts);
        let steps = play(&rules, &decoded, &mut InteractionTable::default());
        let bytes = published(&rules, &decoded[0], &steps[0]).expect("it is published");
        let json = String::from_utf8(bytes).expect("text");
        let member = |json: &str, name: &str| {
            let found = members(json).expect("an object").into_iter();
            let mut named = found.filter(|(key, _)| key.as_bytes() == name.as_bytes());
            named.next_back().expect("the member").1.get().to_owned()
        };
        let data = member(&member(&json, "interaction"), "userData");
        // Line breaks between tokens are the only thing that may differ.
        let sent = own.replace(['\r', '\n'], " ");
        let sent = members(&sent).expect("an object");
        let got = members(&data).expect("an object");
        for (key, raw) in &got {
            let last = sent.iter().rfind(|(other, _)| other == key).expect("a key that was sent");
            prop_assert_eq!(raw.get(), last.1.get());
        }
        let distinct: std::collections::HashSet<_> = sent.iter().map(|(key, _)| key).collect();
        prop_assert_eq!(got.len(), distinct.len());
    }

    #[test]
    fn a_set_applied_to_its_own_result_changes_nothing(document in rules(), own in pairs()) {
        let mut document = document;
        document["assign"] = json!([]);
        let rules = compiled(&document);
        let message = |data: &str| {
            format!(
                r#"{{"type":"interaction.created","id":"1","interaction":{{"id":"A","channel":"task","widget":"w","userData":{data}}}}}"#
            )
        };
        let finished = |data: &str| {
            let bodies = [message(data)];
            let texts = checked(&bodies);
            let decoded = decoded(&texts);
            let steps = play(&rules, &decoded, &mut InteractionTable::default());
            let Outcome::Enriched(enriched) = &steps[0].outcome else { panic!("it is enriched") };
            let mut pairs: Vec<_> = enriched
                .data
                .iter()
                .map(|(key, value, _)| (key.to_string(), value.as_json().to_owned()))
                .collect();
            pairs.sort();
            pairs
        };
        let once = finished(&own);
        let again: Vec<_> = once.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        prop_assert_eq!(finished(&object(&again)), once);
    }

    #[test]
    fn toml_and_json_of_the_same_content_are_the_same_revision(document in rules()) {
        let toml: String = document
            .as_object()
            .expect("an object")
            .iter()
            .map(|(name, value)| format!("{name} = {}\n", toml_value(value)))
            .collect();
        let parsed = Document::parse(&toml, Syntax::Toml).expect("TOML");
        let of_toml = rules_file::compile(&parsed).expect("rules that are accepted").rules;
        let of_json = compiled(&document);
        prop_assert_eq!(of_toml.revision(), of_json.revision());
    }

    #[test]
    fn rules_loader_handles_any_document(document in any_document()) {
        let parsed = Document::parse(&document.to_string(), Syntax::Json).expect("JSON");
        if let Err(problems) = rules_file::compile(&parsed) {
            prop_assert!(!problems.is_empty());
        }
    }

    #[test]
    fn rules_loader_handles_any_text(text in "\\PC{0,80}") {
        for syntax in [Syntax::Json, Syntax::Toml] {
            if let Ok(document) = Document::parse(&text, syntax) {
                // Whatever it comes to, it is an answer.
                let answer = rules_file::compile(&document);
                prop_assert!(answer.is_ok() || answer.is_err_and(|problems| !problems.is_empty()));
            }
        }
    }

    #[test]
    fn decoder_handles_any_bytes(bytes in vec(any::<u8>(), 0..200)) {
        decide(&bytes);
    }

    #[test]
    fn decoder_handles_any_mutation(
        body in message(), changes in vec((any::<Index>(), any::<u8>(), 0..3_u8), 1..6),
    ) {
        let mut bytes = body.into_bytes();
        for (at, byte, how) in changes {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => bytes.truncate(at.max(1)),
            }
        }
        decide(&bytes);
    }

    #[test]
    fn live_data_and_records_read_back_what_they_wrote(
        document in rules(), bodies in vec(message(), 1..8),
    ) {
        let rules = compiled(&document);
        let texts = checked(&bodies);
        let decoded = decoded(&texts);
        let mut table = InteractionTable::default();
        play(&rules, &decoded, &mut table);
        for row in StoredRows::changed(&table, 0) {
            let json = row.record.to_json();
            prop_assert_eq!(Record::restored(&json).expect("a record").to_json(), json);
            let StoredLiveData::Open(Plaintext(bytes)) = &row.live else { continue };
            let live = LiveData::decode(bytes).expect("live data");
            prop_assert_eq!(&live.encode(), bytes);
            for end in 0..bytes.len() {
                prop_assert!(LiveData::decode(&bytes[..end]).is_err(), "cut after {end} bytes");
            }
        }
    }

    #[test]
    fn invalid_live_data_is_an_error_not_a_panic(bytes in vec(any::<u8>(), 0..60)) {
        let form = [&[1], bytes.as_slice()].concat();
        if let Ok(live) = LiveData::decode(&form) {
            prop_assert!(live.encode().len() <= form.len());
        }
    }

    #[test]
    fn debug_shows_no_value(document in rules(), bodies in vec(planted_message(), 1..4)) {
        let mut document = document;
        document["assign"] = json!([{ "key": "x", "value": { "y": "planted" } }]);
        document["metadata_item"] = json!([{ "name": "m", "default": "planted" }]);
        let rules = compiled(&document);
        let texts = checked(&bodies);
        let decoded = decoded(&texts);
        let mut table = InteractionTable::default();
        let steps = play(&rules, &decoded, &mut table);
        let rows = StoredRows::changed(&table, 0);
        let parsed = Document::parse(&document.to_string(), Syntax::Json).expect("JSON");
        let shown = format!("{rules:?} {parsed:?} {decoded:?} {steps:?} {table:?} {rows:?}");
        prop_assert!(!shown.contains("planted"), "{}", shown);
    }
}

/// What begins an interaction and was saved, but perhaps not published, comes out as it would have, also
/// where the customer's pairs are frozen from the next message on.
#[test]
fn any_first_event_gives_the_same_finished_result() {
    let rules = compiled(&json!({}));
    for kind in ["interaction.created", "interaction.opened"] {
        let body = json!({
            "type": kind, "id": "1", "interaction": {
                "id": "A", "channel": "webchat", "userData": {"name": "Sam", "jsonEvent": {"a": 1}}
            }
        });
        let texts = [body.to_string()];
        let texts = checked(&texts);
        let [decoded] = &decoded(&texts)[..] else { panic!("one") };
        let mut table = InteractionTable::default();
        let first = table.take(&rules, &decoded.message, Attempt::default());
        let again = Attempt { may_be_unfinished: true, ..Attempt::default() };
        let again = table.take(&rules, &decoded.message, again);
        let [first, again] = [first, again].map(|step| published(&rules, decoded, &step));
        let text = String::from_utf8(first.clone().expect("published")).expect("UTF-8");
        assert!(text.contains("jsonEvent") && text.contains(r#""warnings":[]"#), "{text}");
        assert_eq!(first, again, "{kind}");
    }
}

/// Decides bytes as the worker would; what it comes to does not matter here.
fn decide(bytes: &[u8]) {
    let rules = Rules::empty();
    if let Ok(text) = body::check(bytes, 1_048_576)
        && let Ok(decoded) = formats::decode(&text, bytes, Hints::default())
    {
        let step = InteractionTable::default().take(&rules, &decoded.message, Attempt::default());
        if let Some(bytes) = published(&rules, &decoded, &step) {
            assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok());
        }
    }
}

/// A message whose every value of user data holds the word that is looked for.
fn planted_message() -> impl Strategy<Value = String> {
    let value =
        select(&[r#""planted""#, r#"{"x":"planted"}"#, r#"["planted"]"#, "\"planted\\n\""][..]);
    (message(), value).prop_map(|(body, value)| {
        let mut message: Value = serde_json::from_str(&body.replace("1E400", "1"))
            .unwrap_or_else(|_| json!({ "type": "interaction.created", "interaction": {} }));
        let data = format!(r#"{{"a":{value},"rule":{value},"jsonEvent":{value}}}"#);
        let data: Value = serde_json::from_str(&data).expect("JSON");
        let interaction = &mut message["interaction"];
        interaction["id"] = json!("A");
        interaction["channel"] = json!("chat");
        interaction["userData"] = data.clone();
        interaction["attached"] = json!([{ "source": "agent", "userData": data }]);
        interaction["parent"] = json!({ "userData": data });
        interaction["upstream"] = json!("planted");
        message.to_string()
    })
}

/// A JSON value as TOML writes it, tables inline; the samples hold no null outside constants.
fn toml_value(value: &Value) -> String {
    let list = |items: Vec<String>| items.join(", ");
    match value {
        Value::Object(members) => {
            let member =
                |(name, value): (&String, &Value)| format!("{name:?} = {}", toml_value(value));
            format!("{{ {} }}", list(members.iter().map(member).collect()))
        }
        Value::Array(items) => format!("[ {} ]", list(items.iter().map(toml_value).collect())),
        other => other.to_string(),
    }
}
