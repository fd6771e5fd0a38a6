//! The outbound message (docs/messages.md, *Outbound*): what of an interaction is published, beside
//! its data, which the case files compare.

use serde_json::{Value, json};
use throughline::domain::{Attempt, Rules};
use throughline::formats::enriched::{self, Stamp};
use throughline::formats::{self, Hints, body};
use throughline::pipeline::save::table::InteractionTable;

/// Plays messages against empty rules; what is published of the last of them.
fn published(messages: &[Value]) -> Value {
    let rules = Rules::empty();
    let bodies: Vec<_> = messages.iter().map(Value::to_string).collect();
    let texts: Vec<_> = bodies
        .iter()
        .map(|text| body::check(text.as_bytes(), 1_048_576).expect("a body"))
        .collect();
    let mut table = InteractionTable::default();
    let mut last = None;
    for text in &texts {
        let decoded = formats::decode(text, text.as_bytes(), Hints::default()).expect("a message");
        let step = table.take(&rules, &decoded.message, Attempt::default());
        let stamp =
            Stamp { revision: rules.revision(), time: "1970-01-01T00:00:00.000Z", origins: true };
        last = enriched::encode(&decoded, &step, stamp);
    }
    let bytes = last.expect("the last message is published");
    serde_json::from_slice(&bytes).expect("JSON")
}

fn created(mut interaction: Value) -> Value {
    interaction["id"] = json!("A");
    interaction["channel"] = json!("chat");
    json!({ "type": "interaction.created", "id": "1", "interaction": interaction })
}

fn later(kind: &str, mut interaction: Value) -> Value {
    interaction["id"] = json!("A");
    json!({ "type": kind, "id": "2", "interaction": interaction })
}

#[test]
fn envelope_has_the_documented_members() {
    let mut message = created(json!({}));
    message["tracking"] = json!("not an interaction's");
    message["time"] = json!("2026-11-21T09:15:27Z");
    let published = published(&[message]);
    assert_eq!(published["type"], "interaction.enriched");
    // The UUIDv5 of tenant, interaction and event, worked out by another program.
    assert_eq!(published["id"], "2f90ff21-267a-55a3-adf6-98131190fd2b");
    assert_eq!(published["cause"], json!({ "type": "interaction.created", "id": "1" }));
    assert_eq!(published["parent"], "none");
    assert_eq!(published["rules"]["revision"].as_str().map(str::len), Some(12));
    let mut names: Vec<_> = published.as_object().expect("an object").keys().collect();
    names.sort();
    let expected =
        ["cause", "id", "interaction", "origins", "parent", "rules", "time", "type", "warnings"];
    assert_eq!(names, expected);
}

#[test]
fn unknown_members_are_kept_and_own_members_win() {
    let interaction = published(&[created(json!({
        "subject": "s", "nested": { "userData": 1 }, "direction": "inbound",
        "metadata": { "secret": 1 }, "extraData": { "secret": 1 },
        "userData": { "a": 1 }, "attached": [ { "source": "agent", "userData": { "b": 2 } } ],
        "parent": { "userData": { "secret": 1 } },
    }))])["interaction"]
        .take();
    let expected = json!({
        "id": "A", "channel": "chat", "direction": "inbound", "subject": "s",
        "nested": { "userData": 1 }, "userData": { "a": 1, "b": 2 }, "metadata": {}, "extraData": {},
    });
    assert_eq!(interaction, expected);
}

#[test]
fn updates_and_ends_include_known_data() {
    let known = json!({
        "tenant": "t", "queue": "q", "widget": "w", "callTarget": "c", "parentId": "P",
        "direction": "inbound", "createdAt": "2026-11-21T09:15:27.102Z",
    });
    for (kind, data) in [
        ("interaction.updated", json!(["userData", "metadata", "extraData"])),
        ("interaction.ended", json!(["extraData"])),
    ] {
        // `null` and the empty string are absent: they leave room for what is known.
        let said = json!({
            "tenant": "t", "channel": "voice", "direction": null, "createdAt": "", "queue": null,
        });
        let interaction =
            published(&[created(known.clone()), later(kind, said)])["interaction"].take();
        for (name, value) in known.as_object().expect("an object") {
            assert_eq!(&interaction[name], value, "{kind}: {name}");
        }
        assert_eq!(interaction["channel"], "chat", "{kind}");
        for name in ["userData", "metadata", "extraData"] {
            let published = data.as_array().is_some_and(|names| names.contains(&json!(name)));
            assert_eq!(interaction.get(name).is_some(), published, "{kind}: {name}");
        }
    }
}

#[test]
fn a_parent_that_an_update_names_is_not_published() {
    let said = json!({ "parentId": "Q", "ParentId": "Q", "parent_id": "Q", "widget": "v" });
    let interaction = published(&[
        created(json!({ "parentId": "P", "widget": "w" })),
        later("interaction.updated", said),
    ])["interaction"]
        .take();
    assert_eq!(interaction["parentId"], "P");
    assert_eq!(interaction["widget"], "w");
    assert!(!interaction.to_string().contains('Q'));
}

#[test]
fn an_end_is_published_with_its_state_under_its_own_type() {
    let end = |id: &str, state: &str| json!({ "type": "interaction.ended", "id": id, "interaction": { "id": "A", "state": state } });
    let handled = published(&[created(json!({})), end("2", "handled")]);
    assert_eq!(handled["type"], "interaction.ended");
    assert_eq!(handled["interaction"]["state"], "handled");
    let taken_back = published(&[created(json!({})), end("2", "handled"), end("3", "ended")]);
    assert_eq!(taken_back["interaction"]["state"], "handled", "never taken back");
}
