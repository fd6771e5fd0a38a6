//! The vendors' inbound formats: what each payload of `tests/fixtures` becomes, which ids count, what is
//! carried along, and what is refused. What the rules make of them stands in `tests/cases/formats_*`.

mod convert;
mod laws;
mod lifecycle;
mod mutated;
pub(crate) mod payloads;
mod refusals;
mod sinch_metadata;
mod stored;
mod widgets;

use pretty_assertions::assert_eq;
use throughline::domain::{EndState, Event, RejectReason};
use throughline::formats::{self, Decoded, Hints};

use self::payloads::{Payload, decode, decode_as, payloads};

/// What a message is about, in one line: event, tenant/interaction, and what is known of it.
fn describe(decoded: &Decoded<'_>) -> String {
    let message = &decoded.message;
    let facts = &message.facts;
    let mut gist = format!("{} {}", message.event.as_str(), message.identity);
    if message.event == Event::Ended(EndState::Handled) {
        gist += " handled";
    }
    for (name, fact) in [
        ("channel", Some(facts.channel.as_ref()).filter(|channel| !channel.is_empty())),
        ("queue", facts.queue.as_deref()),
        ("widget", facts.widget.as_deref()),
        ("target", facts.call_target.as_deref()),
        ("parent", facts.parent_id.as_deref()),
        ("direction", facts.direction.as_deref()),
        ("created", facts.created_at.as_deref()),
    ] {
        if let Some(fact) = fact {
            gist += &format!(" {name}={fact}");
        }
    }
    gist
}

/// The ids that stand for SHA-256 digests in the table below.
fn is_digest(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[test]
fn each_payload_becomes_an_interaction() {
    let widgets = |event: &str| format!("{event} cb-77 channel=webcallback");
    let conversation = "c7a1f8b0-1111-4222-8333-444444444444";
    let sessions = "c7a1f8b0-1111-4222-8333-555555555555";
    let expected = [
        ("genesys-callback.json:1", "genesys-callback", "interaction.created SHA channel=webcallback parent=0000DaFU51GM001C".to_owned()),
        ("genesys-cloud-sessions.ndjson:1", "genesys-cloud", format!("interaction.opened {sessions} channel=voice direction=INBOUND")),
        ("genesys-cloud-sessions.ndjson:2", "genesys-cloud", format!("interaction.updated {sessions}")),
        ("genesys-cloud-sessions.ndjson:3", "genesys-cloud", format!("interaction.opened {sessions} channel=callback direction=OUTBOUND")),
        ("genesys-cloud-sessions.ndjson:4", "genesys-cloud", format!("interaction.updated {sessions}")),
        ("genesys-cloud-sessions.ndjson:5", "genesys-cloud", format!("interaction.ended {sessions}")),
        ("genesys-cloud-sessions.ndjson:6", "genesys-cloud", format!("interaction.updated {sessions}")),
        ("genesys-cloud-sessions.ndjson:7", "genesys-cloud", format!("interaction.ended {sessions}")),
        ("genesys-cloud.ndjson:1", "genesys-cloud", format!("interaction.opened {conversation} channel=voice direction=INBOUND")),
        ("genesys-cloud.ndjson:2", "genesys-cloud", format!("interaction.updated {conversation}")),
        ("genesys-open-media-parent.json:1", "genesys-open-media", "interaction.created 101/0000DaFU51GM001C channel=webengagement queue=New Interactions".to_owned()),
        ("genesys-open-media.json:1", "genesys-open-media", "interaction.created 101/0000DaFU51GM001D channel=chat queue=Webengagement_Chat parent=0000DaFU51GM001C".to_owned()),
        ("genesys-widgets-callback.ndjson:1", "genesys-widgets", widgets("interaction.opened")),
        ("genesys-widgets-callback.ndjson:2", "genesys-widgets", widgets("interaction.opened")),
        ("genesys-widgets-callback.ndjson:3", "genesys-widgets", widgets("interaction.opened")),
        ("genesys-widgets-callback.ndjson:4", "genesys-widgets", widgets("interaction.opened")),
        ("genesys-widgets-callback.ndjson:5", "genesys-widgets", widgets("interaction.opened")),
        ("genesys-widgets-callback.ndjson:6", "genesys-widgets", "interaction.ended cb-77 handled".to_owned()),
        ("mindful-scheduler.json:1", "mindful-scheduler", "interaction.created SHA channel=webcallback widget=w-17".to_owned()),
        ("mindful-webhook.json:1", "mindful-webhook", "interaction.opened 90210 channel=webcallback target=4380 created=2026-11-21T09:15:27Z".to_owned()),
        ("sinch-contact-pro-integration.json:1", "sinch-contact-pro", "interaction.opened 1166301942A6EE11B3ED58961D1810CC channel=chat queue=chat.queue@acme.test direction=inbound created=2026-11-21T09:15:20.215Z".to_owned()),
        ("sinch-contact-pro.json:1", "sinch-contact-pro", "interaction.created A0F3C1D2E3B4A5968778695A4B3C2D1E channel=chat queue=Chat Queue direction=inbound".to_owned()),
        ("sinch-conversation-lifecycle.ndjson:1", "sinch-conversation", "interaction.opened 01HCONV000000000000000002 channel=unspecified".to_owned()),
        ("sinch-conversation-lifecycle.ndjson:2", "sinch-conversation", "interaction.opened 01HCONV000000000000000002 channel=messenger".to_owned()),
        ("sinch-conversation-lifecycle.ndjson:3", "sinch-conversation", "interaction.ended 01HCONV000000000000000002".to_owned()),
        ("sinch-conversation.ndjson:1", "sinch-conversation", "interaction.opened 01HCONV000000000000000001 channel=whatsapp".to_owned()),
        ("sinch-conversation.ndjson:2", "sinch-conversation", "interaction.opened 01HMSG0000000000000000002 channel=sms".to_owned()),
        ("sinch-rti.json:1", "sinch-rti", "interaction.created SHA channel=task queue=tasks@acme.test".to_owned()),
    ];
    let found: Vec<_> = payloads()
        .iter()
        .map(|payload| {
            let decoded = decode(&payload.body);
            let gist = describe(&decoded);
            let id = decoded.message.identity.id.as_ref();
            let gist = if is_digest(id) { gist.replace(id, "SHA") } else { gist };
            (payload.name.clone(), decoded.message.format, gist)
        })
        .collect();
    let expected: Vec<_> =
        expected.into_iter().map(|(name, format, gist)| (name.to_owned(), format, gist)).collect();
    assert_eq!(found, expected);
}

#[test]
fn an_event_has_the_vendors_id_else_the_transports_else_its_bodys_digest() {
    let of_vendor = |name: &str| match name {
        "genesys-cloud.ndjson:1" => {
            Some("5d7c4b3e-0001-4a11-9a5e-111111111111/6d99031135e48f51ed69f80a23ed129b")
        }
        "genesys-cloud.ndjson:2" => Some(
            "c7a1f8b0-1111-4222-8333-444444444444/p-1/1763716521647/v2.detail.events.conversation.c7a1f8b0-1111-4222-8333-444444444444.attributes/f3af6d0e188ff341f1c9a45c8fba455b",
        ),
        "mindful-webhook.json:1" => Some("0d7be0c4-2222-4333-8444-555555555555"),
        "sinch-conversation-lifecycle.ndjson:2" => Some("01HMSG0000000000000000003"),
        "sinch-conversation.ndjson:1" => Some("01HMSG0000000000000000001"),
        "sinch-conversation.ndjson:2" => Some("01HMSG0000000000000000002"),
        _ => None,
    };
    let others = payloads().into_iter().filter(|payload| !payload.name.contains("-sessions."));
    for Payload { name, body } in others {
        let decoded = decode(&body);
        let hints = Hints { message_id: Some("amqp-1"), ..Hints::default() };
        let with_message_id = decode_as(&body, hints).expect("a known payload");
        match of_vendor(&name) {
            Some(id) => {
                assert_eq!(decoded.message.event_id, id, "{name}");
                assert_eq!(with_message_id.message.event_id, id, "{name}");
            }
            None => {
                assert!(is_digest(&decoded.message.event_id), "{name}");
                assert_eq!(with_message_id.message.event_id, "amqp-1", "{name}");
            }
        }
        // Where the vendor gives no interaction id, the event's stands in for it.
        if is_digest(&decoded.message.identity.id) {
            assert_eq!(decoded.message.identity.id, decoded.message.event_id, "{name}");
            assert_eq!(with_message_id.message.identity.id, "amqp-1", "{name}");
        }
    }
}

#[test]
fn an_event_of_genesys_cloud_without_all_four_parts_has_the_transports_id() {
    let body = r#"{"topicName":"v2.detail.events.conversation.c.attributes","eventBody":{"conversationId":"c","eventTime":1,"attributes":{}}}"#;
    assert!(is_digest(&decode(body).message.event_id));
}

/// The members of each payload that held user data, as JSON Pointers.
const USER_DATA: &[(&str, &[&str])] = &[
    ("genesys-callback", &["/userData"]),
    ("genesys-cloud", &["/eventBody/attributes", "/detail/eventBody/attributes"]),
    ("genesys-open-media", &["/userData"]),
    ("genesys-widgets", &["/metadata"]),
    ("mindful-scheduler", &["/user_data"]),
    ("mindful-webhook", &["/data/call/metadata"]),
    ("sinch-contact-pro", &["/attached_data", "/contact/attached_data"]),
    (
        "sinch-conversation",
        &[
            "/message_metadata",
            "/message/metadata",
            "/conversation_start_notification/conversation/metadata",
            "/conversation_stop_notification/conversation/metadata",
        ],
    ),
    ("sinch-rti", &["/data/values/KV"]),
];

/// The ids and names of each payload that stand in the interaction as they came.
const READ: &[(&str, &[&str])] = &[
    ("genesys-callback", &["/cbOriginationIxnId"]),
    ("genesys-cloud", &["/eventBody/conversationId", "/detail/eventBody/conversationId"]),
    ("genesys-open-media", &["/id", "/tenantId", "/queue", "/parentInteractionId"]),
    ("genesys-widgets", &["/interactionId"]),
    ("mindful-scheduler", &["/widget_id"]),
    ("mindful-webhook", &["/data/call/id", "/data/call/callTargetId"]),
    ("sinch-contact-pro", &["/id", "/from_queue/name", "/contact/id"]),
    (
        "sinch-conversation",
        &[
            "/message/conversation_id",
            "/conversation_start_notification/conversation/id",
            "/conversation_stop_notification/conversation/id",
        ],
    ),
    ("sinch-rti", &["/data/item/queue"]),
];

fn take_out(json: &mut serde_json::Value, pointer: &str) {
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    if let Some(serde_json::Value::Object(members)) = json.pointer_mut(parent) {
        members.remove(name);
    }
}

#[test]
fn the_rest_of_a_payload_is_carried_untouched_and_holds_no_user_data() {
    for Payload { name, body } in payloads() {
        let decoded = decode(&body);
        let mut rest: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        for (_, pointers) in
            USER_DATA.iter().chain(READ).filter(|(format, _)| *format == decoded.message.format)
        {
            for pointer in *pointers {
                take_out(&mut rest, pointer);
            }
        }
        let [(key, upstream)] = &decoded.carried[..] else { panic!("{name}: {decoded:?}") };
        assert_eq!(key.as_str(), Some("upstream"), "{name}");
        let upstream: serde_json::Value = serde_json::from_str(upstream.as_json()).expect("JSON");
        assert_eq!(upstream, rest, "{name}");
    }
}

#[test]
fn unknown_number_literals_and_enum_values_are_kept_verbatim() {
    let body = r#"{"channel_type":"hologram","attached_data":null,"status":"pondering","n":1.10,"big":12345678901234567890}"#;
    let decoded = decode(body);
    assert_eq!(decoded.message.facts.channel, "hologram");
    let carried: Vec<_> = decoded.carried.iter().map(|(_, value)| value.as_json()).collect();
    assert_eq!(
        carried,
        [r#"{"channel_type":"hologram","status":"pondering","n":1.10,"big":12345678901234567890}"#]
    );
}

#[test]
fn ended_interaction_publishes_user_data_in_no_other_member() {
    let body = r#"{"topicName":"v2.detail.events.conversation.c.customer.end","eventBody":{"conversationId":"c","attributes":{"k":"secret"}}}"#;
    let decoded = decode(body);
    assert_eq!(decoded.message.event, Event::Ended(EndState::Ended));
    assert!(decoded.carried.iter().all(|(_, value)| !value.as_json().contains("secret")));
}

#[test]
fn every_format_comes_through_cloud_events_too() {
    for Payload { name, body } in payloads() {
        let bare = decode(&body);
        let structured = format!(
            r#"{{"specversion":"1.0","id":"ce-1","type":"com.vendor.thing","source":"/gw","time":"2026-11-21T09:15:27Z","data":{body}}}"#
        );
        let attributes = [
            ("specversion".to_owned(), "1.0".to_owned()),
            ("id".to_owned(), "ce-1".to_owned()),
            ("type".to_owned(), "com.vendor.thing".to_owned()),
            ("time".to_owned(), "2026-11-21T09:15:27Z".to_owned()),
        ];
        let binary = Hints { cloud_event: &attributes, ..Hints::default() };
        for (mode, wrapped) in [
            ("structured", decode_as(&structured, Hints::default())),
            ("binary", decode_as(&body, binary)),
        ] {
            let wrapped = wrapped.unwrap_or_else(|refusal| panic!("{name} {mode}: {refusal}"));
            assert_eq!(wrapped.message.format, bare.message.format, "{name} {mode}");
            assert_eq!(wrapped.message.event_id, "ce-1", "{name} {mode}");
            assert_eq!(wrapped.time.as_deref(), Some("2026-11-21T09:15:27Z"), "{name} {mode}");
            assert_eq!(wrapped.carried, bare.carried, "{name} {mode}");
            let id = bare.message.identity.id.as_ref();
            let expected = match is_digest(id) {
                true => describe(&bare).replace(id, "ce-1"),
                false => describe(&bare),
            };
            assert_eq!(describe(&wrapped), expected, "{name} {mode}");
        }
    }
}

#[test]
fn the_order_of_the_formats_decides_where_a_payload_has_two_shapes() {
    let names: Vec<_> = formats::decodable().collect();
    let expected = [
        "canonical",
        "cloud-event",
        "genesys-open-media",
        "genesys-widgets",
        "genesys-callback",
        "genesys-cloud",
        "sinch-conversation",
        "sinch-contact-pro",
        "sinch-rti",
        "mindful-scheduler",
        "mindful-webhook",
    ];
    assert_eq!(names, expected);
    let (table, _) = include_str!("../../docs/formats.md").split_once("\n\nSome").expect("a table");
    let documented = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(documented.collect::<Vec<_>>(), expected, "docs/formats.md");
    // What each shape asks for, all of it compatible with all that comes after.
    let shapes = [
        r#""type":"interaction.created","interaction":{"id":"a","channel":"chat"}"#,
        r#""specversion":"1.0","type":"interaction.created","data":{"interaction":{"id":"a","channel":"chat"}}"#,
        r#""mediaType":"chat","interactionType":"Inbound""#,
        r#""event":"ready","metadata":{}"#,
        r#""serviceName":"s","phoneNumber":"1""#,
        r#""topicName":"v2.detail.events.conversation.c.attributes","eventBody":{"conversationId":"c"}"#,
        r#""app_id":"a","message":{"id":"m"}"#,
        r#""channel_type":"chat","attached_data":{}"#,
        r#""data":{"item":{},"values":{"KV":[]},"call":{"id":"c"}}"#,
        r#""contact_number":"1""#,
        r#""event":"ready","data":{"call":{"id":"c"}}"#,
    ];
    for (first, (shape, name)) in shapes.iter().zip(expected).enumerate() {
        for later in &shapes[first + 1..] {
            // A member that both name would stand twice.
            let members = |shape: &str| -> Vec<String> {
                let json: serde_json::Value =
                    serde_json::from_str(&format!("{{{shape}}}")).expect("JSON");
                json.as_object().expect("an object").keys().cloned().collect()
            };
            if members(shape).iter().any(|member| members(later).contains(member)) {
                continue;
            }
            for body in [format!("{{{shape},{later}}}"), format!("{{{later},{shape}}}")] {
                let both_of_mindful = name == "mindful-scheduler";
                let expected = if both_of_mindful { "mindful-webhook" } else { name };
                assert_eq!(decode(&body).message.format, expected, "{body}");
            }
        }
    }
    // A task with a call in it is a task.
    let both = format!("{{{},\"event\":\"ready\"}}", shapes[8]);
    assert_eq!(decode(&both).message.format, "sinch-rti");
}

#[test]
fn a_named_format_overrides_the_shape() {
    let body = r#"{"contact_number":"1","widget_id":"w","mediaType":"chat","interactionType":"x"}"#;
    assert_eq!(decode(body).message.format, "genesys-open-media");
    let named = Hints { format: Some("mindful-scheduler"), ..Hints::default() };
    let decoded = decode_as(body, named).expect("a scheduler's request");
    assert_eq!(decoded.message.facts.widget.as_deref(), Some("w"));
    for name in formats::decodable() {
        let named = Hints { format: Some(name), ..Hints::default() };
        assert_eq!(
            decode_as("{}", named).err().map(|refusal| refusal.reason),
            match name {
                // They need nothing that must be there.
                "genesys-callback" | "mindful-scheduler" => None,
                _ => Some(RejectReason::NotAnInteraction),
            },
            "{name}"
        );
    }
}

#[test]
fn the_widget_of_the_header_is_the_schedulers_where_the_body_names_none() {
    let widget = |body: &str, widget| {
        let hints = Hints { widget, ..Hints::default() };
        let decoded = decode_as(body, hints).expect("a request");
        decoded.message.facts.widget.map(|widget| widget.into_owned())
    };
    assert_eq!(widget(r#"{"contact_number":"1"}"#, Some("w-1")).as_deref(), Some("w-1"));
    assert_eq!(widget(r#"{"contact_number":"1"}"#, None), None);
    assert_eq!(
        widget(r#"{"contact_number":"1","widget_id":17}"#, Some("w-1")).as_deref(),
        Some("17")
    );
    let chat = r#"{"id":"a","mediaType":"chat","interactionType":"Inbound"}"#;
    assert_eq!(widget(chat, Some("w-1")), None, "no other format asks");
    let long = "w".repeat(256);
    let hints = Hints { widget: Some(&long), ..Hints::default() };
    let refused = decode_as(r#"{"contact_number":"1"}"#, hints);
    assert_eq!(refused.err().map(|r| r.reason), Some(RejectReason::NotAnInteraction));
}
