//! Further outputs (docs/messages.md, *Further outputs*): routing keys from whatever comes, and the
//! shapes an interaction leaves in. `flows.rs` has them on a real broker.

use std::borrow::Cow;

use pretty_assertions::assert_eq;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, proptest};
use proptest::sample::select;
use serde_json::{Value, json};
use throughline::domain::{Attempt, Event, Facts, Identity, RejectReason, Routing, Rules};
use throughline::formats::enriched::{self, Stamp};
use throughline::formats::outbound::{Encoded, OutboundFormat, Prefix};
use throughline::formats::{self, Hints, body};
use throughline::pipeline::routing_key::KeyTemplate;
use throughline::pipeline::save::table::InteractionTable;

/// Plays messages against empty rules; what is published of the last of them in a format.
fn encoded(messages: &[Value], format: OutboundFormat) -> Encoded {
    let rules = Rules::empty();
    let texts: Vec<_> = messages.iter().map(Value::to_string).collect();
    let mut table = InteractionTable::default();
    let mut last = None;
    for text in &texts {
        let text = body::check(text.as_bytes(), 1_048_576).expect("a body");
        let Cow::Borrowed(_) = text else { panic!("nothing to be left out") };
    }
    for text in &texts {
        let decoded = formats::decode(text, text.as_bytes(), Hints::default()).expect("a message");
        let step = table.take(&rules, &decoded.message, Attempt::default());
        let stamp =
            Stamp { revision: rules.revision(), time: "1970-01-01T00:00:00.000Z", origins: true };
        last = format.encode(&decoded, &step, stamp);
    }
    last.expect("the last message is published")
}

fn json_of(encoded: &Encoded) -> Value {
    serde_json::from_slice(&encoded.body).expect("JSON")
}

fn text_of(encoded: &Encoded) -> &str {
    std::str::from_utf8(&encoded.body).expect("UTF-8")
}

fn created(channel: &str, mut interaction: Value) -> Value {
    interaction["id"] = json!("0000-DaFU_51GM001D");
    interaction["channel"] = json!(channel);
    json!({ "type": "interaction.created", "id": "1", "interaction": interaction })
}

fn later(kind: &str, mut interaction: Value) -> Value {
    interaction["id"] = json!("0000-DaFU_51GM001D");
    json!({ "type": kind, "id": "2", "interaction": interaction })
}

// ------------------------------------------------------------------------------------ CloudEvents

#[test]
fn a_cloud_event_holds_what_the_enriched_message_holds() {
    let message = created("chat", json!({ "queue": "q", "userData": { "n": 1 } }));
    let messages = [message];
    let enriched = json_of(&encoded(&messages, OutboundFormat::Enriched));
    let structured = encoded(&messages, OutboundFormat::CloudEvent);
    assert_eq!(structured.content_type, "application/cloudevents+json");
    let event = json_of(&structured);
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["source"], "/throughline");
    assert_eq!(event["subject"], "0000-DaFU_51GM001D");
    assert_eq!(event["datacontenttype"], "application/json");
    let mut told_again = event["data"].clone();
    for name in ["type", "id", "time"] {
        told_again[name] = event[name].clone();
    }
    assert_eq!(told_again, enriched);

    let binary = encoded(&messages, OutboundFormat::CloudEventBinary(Prefix::Colon));
    assert_eq!(binary.content_type, "application/json");
    assert_eq!(json_of(&binary), event["data"]);
    for (name, value) in &binary.headers {
        let attribute = name.strip_prefix("cloudEvents:").expect("a header of an attribute");
        assert_eq!(event[attribute], value.as_str(), "{name}");
    }
    assert_eq!(binary.headers.len(), 6);

    for prefix in Prefix::ALL {
        let told = encoded(&messages, OutboundFormat::CloudEventBinary(prefix));
        assert_eq!(told.body, binary.body);
        for ((name, value), (usual, same)) in told.headers.iter().zip(&binary.headers) {
            let attribute = usual.strip_prefix("cloudEvents:").expect("a header of an attribute");
            assert_eq!(*name, format!("{}{attribute}", prefix.as_str()));
            assert_eq!(value, same);
        }
    }
}

#[test]
fn gate_verdict_is_in_every_output_format() {
    let messages = [created("voice", json!({ "widget": "w", "userData": { "extraData": 1 } }))];
    let routing = Routing::from_state("a \"state\"".to_owned());
    for (format, path) in [
        (OutboundFormat::Enriched, "/interaction"),
        (OutboundFormat::CloudEvent, "/data/interaction"),
        (OutboundFormat::CloudEventBinary(Prefix::Colon), "/interaction"),
    ] {
        let mut encoded = encoded(&messages, format);
        let mut expected = json_of(&encoded);
        let interaction = expected.pointer_mut(path).expect("the interaction");
        interaction["routing"] = json!({ "target": "agent_queue", "widgetState": "a \"state\"" });
        let at = encoded.routing_at.expect("a place");
        enriched::write_routing(&mut encoded.body, at, &routing);
        assert_eq!(json_of(&encoded), expected, "{format:?}");
    }
    let ended = [messages[0].clone(), later("interaction.ended", json!({}))];
    assert_eq!(encoded(&ended, OutboundFormat::Enriched).routing_at, None);
    assert_eq!(encoded(&messages, OutboundFormat::SapC4cJson).routing_at, None);
}

#[test]
fn a_cloud_event_of_ours_is_read_by_our_own_decoder() {
    let end = later("interaction.ended", json!({ "state": "handled" }));
    let messages = [created("chat", json!({ "userData": { "n": 1 } })), end];
    let structured = encoded(&messages, OutboundFormat::CloudEvent);
    let binary = encoded(&messages, OutboundFormat::CloudEventBinary(Prefix::Colon));
    let attributes: Vec<_> = binary
        .headers
        .iter()
        .filter_map(|(name, value)| {
            Some((name.strip_prefix("cloudEvents:")?.to_owned(), value.clone()))
        })
        .collect();
    let hints = Hints { cloud_event: &attributes, ..Hints::default() };
    for (encoded, hints) in [(&structured, Hints::default()), (&binary, hints)] {
        let decoded = formats::decode(text_of(encoded), &encoded.body, hints).expect("ours");
        assert_eq!(decoded.message.event, Event::Ended(throughline::domain::EndState::Handled));
        assert_eq!(decoded.message.identity.id, "0000-DaFU_51GM001D");
        assert_eq!(decoded.message.event_id, json_of(&structured)["id"].as_str().expect("an id"));
    }

    // What is enriched is not to be enriched again, wherever it is led.
    let again = encoded(&messages[..1], OutboundFormat::CloudEvent);
    let refusal = formats::decode(text_of(&again), &again.body, Hints::default());
    assert_eq!(refusal.map(|_| ()).map_err(|it| it.reason), Err(RejectReason::UnsupportedType));
}

// ------------------------------------------------------------------------------ SAP Service Cloud

#[test]
fn the_payload_of_sap_is_flat_text() {
    let messages = [created(
        "voice",
        json!({
            "direction": "Inbound", "parentId": "P/9", "parent": { "id": "P/9" },
            "userData": {
                "ani": "+49 (30) 123456", "DNIS": "0800 1", "AccNum": "A-778", "n": 1.10,
                "yes": true, "nothing": null, "nested": { "a": [1] }, "CUSTOM_1": "gold",
                "custom_1": "silver", "Custom_5": "x", "Type": "FAX", "a b": "<&>",
            },
        }),
    )];
    let payload = json!({ "payload": {
        "Type": "CALL", "EventType": "INBOUND", "Action": "NOTIFY",
        "ANI": "+4930123456",
        "ExternalReferenceID": "0000DaFU51GM001D", "ExternalOriginalReferenceID": "P9",
        "ani": "+49 (30) 123456", "AccNum": "A-778", "n": "1.1", "yes": "true", "nothing": "",
        "nested": "{\"a\":[1]}", "Custom_1": "gold", "Custom_5": "x", "a b": "<&>",
    }});
    let encoded = encoded(&messages, OutboundFormat::SapC4cJson);
    assert_eq!(encoded.content_type, "application/json");
    let national = [("x-throughline-number-left-out", "DNIS".to_owned())];
    assert_eq!(encoded.headers, national);
    let found = json_of(&encoded);
    assert_eq!(found, payload);
    let members = found["payload"].as_object().expect("an object");
    assert!(members.values().all(Value::is_string), "every value is text");
    let written = text_of(&encoded).matches("\":\"").count();
    assert_eq!(written, members.len(), "no member stands twice");
}

#[test]
fn sap_receives_created_updated_and_ended_events() {
    let first = created("chat", json!({ "direction": "OUTBOUND" }));
    let update = later("interaction.updated", json!({ "userData": { "k": "v" } }));
    let end = later("interaction.ended", json!({}));
    let again = json!({ "type": "interaction.opened", "id": "3",
                        "interaction": { "id": "0000-DaFU_51GM001D", "channel": "chat" } });
    let transfer = created("email", json!({ "direction": "transfer" }));
    for (name, messages, expected) in [
        ("begins", vec![first.clone()], ["CHAT", "OUTBOUND", "NOTIFY"]),
        ("opens", vec![again.clone()], ["CHAT", "INBOUND", "NOTIFY"]),
        ("opens again", vec![first.clone(), again], ["CHAT", "UPDATEACTIVITY", "ACCEPT"]),
        ("is updated", vec![first.clone(), update], ["CHAT", "UPDATEACTIVITY", "ACCEPT"]),
        ("ends", vec![first, end], ["CHAT", "UPDATEACTIVITY", "END"]),
        ("is transferred", vec![transfer], ["CHAT", "TRANSFER", "NOTIFY"]),
        ("is a callback", vec![created("webcallback", json!({}))], ["CALL", "INBOUND", "NOTIFY"]),
    ] {
        let payload = json_of(&encoded(&messages, OutboundFormat::SapC4cJson));
        let told = ["Type", "EventType", "Action"].map(|name| payload["payload"][name].clone());
        assert_eq!(told, expected.map(Value::from), "{name}");
        let id = &payload["payload"]["ExternalOriginalReferenceID"];
        assert_eq!(id, "0000DaFU51GM001D", "{name}: its own without a parent");
    }
}

#[test]
fn xml_is_escaped_and_invalid_names_are_omitted() {
    let messages = [created(
        "chat",
        json!({ "userData": {
            "ok.key-1": "<a href=\"x\">&'", "größe": "]]>", "1st": "x", "a b": "x", "p:q": "x",
            "line": "a\r\nb\u{1}",
        }}),
    )];
    let encoded = encoded(&messages, OutboundFormat::SapC4cXml);
    assert_eq!(encoded.content_type, "application/xml");
    assert_eq!(encoded.headers, [("x-throughline-left-out", "3".to_owned())]);
    assert_eq!(
        text_of(&encoded),
        "<payload><Type>CHAT</Type><EventType>INBOUND</EventType><Action>NOTIFY</Action>\
         <ExternalReferenceID>0000DaFU51GM001D</ExternalReferenceID>\
         <ExternalOriginalReferenceID>0000DaFU51GM001D</ExternalOriginalReferenceID>\
         <größe>]]&gt;</größe><line>a&#13;\nb\u{FFFD}</line>\
         <ok.key-1>&lt;a href=&quot;x&quot;&gt;&amp;&apos;</ok.key-1></payload>"
    );
}

// ------------------------------------------------------------------------------------ routing keys

fn anything() -> impl Strategy<Value = String> {
    // Any characters at all, up to what an id may have.
    proptest::collection::vec(any::<char>(), 0..80).prop_map(|it| it.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever goes in, the key is legal: its words are those of the template, and it fits.
    #[test]
    fn routing_key_is_always_legal(
        parts in proptest::collection::vec(
            select(&["{id}", "{channel}", "{tenant}", "{queue}", "{widget}", "{call_target}", ".", "a", "-"][..]),
            1..20,
        ),
        values in proptest::collection::vec(anything(), 6),
        known in any::<bool>(),
    ) {
        let text = parts.concat();
        let template = KeyTemplate::parse(&text).expect("a template");
        let identity = Identity { tenant: values[0].as_str().into(), id: values[1].as_str().into() };
        let optional = |n: usize| known.then(|| Cow::Borrowed(values[n].as_str()));
        let facts = Facts {
            channel: values[2].as_str().into(),
            queue: optional(3),
            widget: optional(4),
            call_target: optional(5),
            ..Facts::default()
        };
        let key = template.fill(&identity, &facts);
        prop_assert!(!key.is_empty() && key.len() <= 255);
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        prop_assert!(key.chars().all(legal), "{key}");
        let dots = |text: &str| text.matches('.').count();
        prop_assert!(dots(&key) == dots(&text) || key.len() == 255, "no value adds a word");
    }

    /// What is no template is refused and never panics.
    #[test]
    fn any_text_is_a_template_or_is_refused(text in anything()) {
        if let Ok(template) = KeyTemplate::parse(&text) {
            prop_assert!(text.is_ascii());
            prop_assert!(template.to_string() == text);
        }
    }
}
