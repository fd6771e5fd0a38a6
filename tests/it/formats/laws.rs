//! Laws of decoding, over untrusted bytes: the decoder never panics, a refusal has a reason and shows no
//! value, user data is published in no other member, and a converted message gives the same result.

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};
use throughline::domain::{Attempt, Rules, Step, step};
use throughline::formats::enriched::{self, Stamp};
use throughline::formats::{self, Decoded, Hints, canonical};

use super::payloads::payloads;

/// A text that stands for customers' values: found anywhere it should not be, it has leaked.
const LEAK_MARKER: &str = "d41d8cd9";

/// A change of a payload's structure: where, by an index into its places, and what.
#[derive(Clone, Debug)]
struct Mutation {
    place: prop::sample::Index,
    change: MutationKind,
}

#[derive(Clone, Debug)]
enum MutationKind {
    /// Something else stands there.
    Replace(Json),
    /// The member or element is gone.
    Remove,
    /// What stands there stands one level deeper.
    Nest,
    /// The member is called like another one.
    Rename(&'static str),
    /// What stands there stands there as text.
    Pack,
}

fn change() -> impl Strategy<Value = MutationKind> {
    let names = [
        "id",
        "userData",
        "metadata",
        "data",
        "message",
        "type",
        "event",
        "interaction",
        "detail",
        "callback.state",
        "",
        "k",
        "key",
        "attached",
        "upstream",
    ];
    prop_oneof![
        scalar().prop_map(MutationKind::Replace),
        Just(MutationKind::Replace(json!([{ "k": "x", "v": LEAK_MARKER }]))),
        Just(MutationKind::Replace(json!({ "k": LEAK_MARKER }))),
        Just(MutationKind::Remove),
        Just(MutationKind::Nest),
        prop::sample::select(names.to_vec()).prop_map(MutationKind::Rename),
        Just(MutationKind::Pack),
    ]
}

fn scalar() -> impl Strategy<Value = Json> {
    prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        ".{0,8}".prop_map(Json::from),
        Just(json!("x".repeat(256))),
        Just(json!("a\u{0}b")),
        Just(json!("")),
        Just(json!([])),
        Just(json!({})),
    ]
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let mutation = (any::<prop::sample::Index>(), change())
        .prop_map(|(place, change)| Mutation { place, change });
    prop::collection::vec(mutation, 0..6)
}

/// The pointers of all places in a document but its root.
fn places(json: &Json, at: &str, found: &mut Vec<String>) {
    let mut visit = |name: &str, inner: &Json| {
        let place = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        found.push(place.clone());
        places(inner, &place, found);
    };
    match json {
        Json::Object(members) => members.iter().for_each(|(name, inner)| visit(name, inner)),
        Json::Array(elements) => {
            elements.iter().enumerate().for_each(|(n, inner)| visit(&n.to_string(), inner));
        }
        _ => {}
    }
}

fn mutate(json: &mut Json, mutation: &Mutation) {
    let mut found = Vec::new();
    places(json, "", &mut found);
    if found.is_empty() {
        return;
    }
    let place = mutation.place.get(&found).clone();
    let (parent, name) = place.rsplit_once('/').expect("a pointer");
    let name = name.replace("~1", "/").replace("~0", "~");
    match (&mutation.change, json.pointer_mut(parent)) {
        (MutationKind::Remove, Some(Json::Object(members))) => {
            members.remove(&name);
        }
        (MutationKind::Rename(other), Some(Json::Object(members))) => {
            if let Some(inner) = members.remove(&name) {
                members.insert((*other).to_owned(), inner);
            }
        }
        _ => {}
    }
    let Some(at) = json.pointer_mut(&place) else { return };
    match &mutation.change {
        MutationKind::Replace(other) => *at = other.clone(),
        MutationKind::Nest => *at = json!({ "data": at.take() }),
        MutationKind::Pack => *at = Json::from(at.to_string()),
        MutationKind::Remove | MutationKind::Rename(_) => {}
    }
}

/// Messages in our own format with everything that it has.
const CANONICAL: [&str; 3] = [
    r#"{"type":"interaction.created","id":"e","time":"t","source":"agent","interaction":{"id":"i",
        "tenant":"t","channel":"chat","queue":"q","widget":"w","callTarget":"c","direction":"in",
        "createdAt":"t","parentInteractionId":"p","parent":{"id":"p","channel":"voice",
        "userData":{"a":1}},"state":"x","other":{"b":[1.10]},"userData":[{"key":"k","value":"v"}],
        "attached":[{"source":"crm","userData":{"k":"w"}},{"userData":{}}]}}"#,
    r#"{"type":"interaction.updated","interaction":{"id":"i","parent_id":"p","userData":null}}"#,
    r#"{"type":"interaction.ended","id":"e","source":"agent","interaction":{"id":"i","state":"handled",
        "userData":{},"attached":[{"userData":{"k":"v"}}],"ParentId":"p"}}"#,
];

/// A message, a vendor's or ours, changed a little, perhaps as a CloudEvent.
fn changed_payload() -> impl Strategy<Value = String> {
    let ours = CANONICAL.map(|body| body.replace('\n', ""));
    let bodies: Vec<_> = payloads().into_iter().map(|payload| payload.body).chain(ours).collect();
    (prop::sample::select(bodies), mutations(), any::<bool>()).prop_map(|(body, changes, wrap)| {
        let mut json: Json = serde_json::from_str(&body).expect("a payload is JSON");
        for mutation in &changes {
            mutate(&mut json, mutation);
        }
        if wrap {
            json = json!({ "specversion": "1.0", "id": "e", "type": "x.y", "data": json });
        }
        json.to_string()
    })
}

/// Every string below, marked; strings that hold JSON are marked inside.
fn mark(json: &mut Json) {
    match json {
        Json::String(text) => match serde_json::from_str::<Json>(text) {
            Ok(mut inner @ Json::Object(_)) => {
                mark(&mut inner);
                *text = inner.to_string();
            }
            _ => *text = format!("{LEAK_MARKER}{text}"),
        },
        Json::Array(elements) => elements.iter_mut().for_each(mark),
        Json::Object(members) => members.values_mut().for_each(mark),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

fn hints(format: Option<&str>) -> Hints<'_> {
    Hints { format, message_id: Some("m-1"), widget: Some("w-1"), ..Hints::default() }
}

fn take<'a>(rules: &'a Rules, decoded: &Decoded<'a>) -> Step<'a> {
    let attempt =
        Attempt { last_for_parent: true, last_for_interaction: true, ..Attempt::default() };
    step(rules, &decoded.message, None, None, attempt)
}

/// What is published, less what only the message's own format knows.
fn published(rules: &Rules, decoded: &Decoded<'_>) -> Option<String> {
    let stamp =
        Stamp { revision: rules.revision(), time: "1970-01-01T00:00:00.000Z", origins: true };
    let json = enriched::encode(decoded, &take(rules, decoded), stamp)?;
    let mut json: Json = serde_json::from_slice(&json).expect("what is published is JSON");
    json.as_object_mut().map(|members: &mut Map<_, _>| members.remove("warnings"));
    Some(json.to_string())
}

proptest! {
    #[test]
    fn decoders_accept_any_bytes_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let Ok(text) = formats::body::check(&bytes, 1_000_000) else { return Ok(()) };
        for format in formats::decodable().map(Some).chain([None]) {
            if let Err(refusal) = formats::decode(&text, &bytes, hints(format)) {
                prop_assert!(!refusal.detail.is_empty());
            }
        }
    }

    #[test]
    fn a_changed_payload_is_decoded_or_refused_with_a_reason(text in changed_payload()) {
        let rules = Rules::empty();
        for format in formats::decodable().map(Some).chain([None]) {
            match formats::decode(&text, text.as_bytes(), hints(format)) {
                Err(refusal) => prop_assert!(!refusal.detail.is_empty()),
                Ok(decoded) => {
                    for id in [&decoded.message.identity.id, &decoded.message.identity.tenant] {
                        prop_assert!(id.len() <= 255 && !id.contains('\0'));
                    }
                    prop_assert!(!decoded.message.identity.id.is_empty());
                    // Whatever was decoded has an outcome, and what is published is one line of JSON.
                    let line = published(&rules, &decoded).unwrap_or_default();
                    prop_assert!(!line.contains('\n'));
                }
            }
        }
    }

    #[test]
    fn refusal_contains_no_value(text in changed_payload()) {
        let mut json: Json = serde_json::from_str(&text).expect("JSON");
        mark(&mut json);
        let text = json.to_string();
        for format in formats::decodable().map(Some).chain([None]) {
            if let Err(refusal) = formats::decode(&text, text.as_bytes(), hints(format)) {
                let told = format!("{refusal} {refusal:?}");
                prop_assert!(!told.contains(LEAK_MARKER), "{}", told);
            }
        }
    }

    #[test]
    fn user_data_is_published_only_in_its_member(n in any::<prop::sample::Index>(), changes in mutations()) {
        let payloads = payloads();
        let body = &n.get(&payloads).body;
        let mut json: Json = serde_json::from_str(body).expect("a payload is JSON");
        let format = formats::decode(body, body.as_bytes(), Hints::default())
            .expect("a known payload").message.format;
        for (_, pointers) in super::USER_DATA.iter().filter(|(name, _)| *name == format) {
            for pointer in *pointers {
                if let Some(data) = json.pointer_mut(pointer) {
                    // Its shape changes, its place stays.
                    for mutation in &changes {
                        mutate(data, mutation);
                    }
                    mark(data);
                }
            }
        }
        let text = json.to_string();
        let decoded = formats::decode(&text, text.as_bytes(), Hints::default());
        for (_, value) in decoded.expect("the shape is the same").carried {
            prop_assert!(!value.as_json().contains(LEAK_MARKER));
        }
    }

    #[test]
    fn converted_message_gives_the_same_result(text in changed_payload()) {
        let rules = Rules::empty();
        let Ok(decoded) = formats::decode(&text, text.as_bytes(), hints(None)) else {
            return Ok(());
        };
        let once = String::from_utf8(canonical::encode(&decoded)).expect("UTF-8");
        let again = formats::decode(&once, once.as_bytes(), Hints::default());
        let again = again.unwrap_or_else(|refusal| panic!("{refusal} in {once}"));
        prop_assert_eq!(again.message.format, "canonical");
        let twice = String::from_utf8(canonical::encode(&again)).expect("UTF-8");
        prop_assert_eq!(&once, &twice);
        prop_assert_eq!(decoded.message.event, again.message.event);
        prop_assert_eq!(&decoded.message.event_id, &again.message.event_id);
        prop_assert_eq!(&decoded.message.identity, &again.message.identity);
        prop_assert_eq!(&decoded.message.facts, &again.message.facts);
        prop_assert_eq!(&decoded.time, &again.time);
        // Names of keys are judged by the format's own default, which conversion does not carry.
        if !decoded.message.format.starts_with("sinch-") {
            prop_assert_eq!(published(&rules, &decoded), published(&rules, &again));
        }
    }
}
