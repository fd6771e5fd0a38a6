//! The published messages: `interaction.enriched` and `interaction.ended` (docs/messages.md, *Outbound*).
//!
//! Written straight into one buffer, on one line; values are copied as they came (K2). The outgoing
//! id is derived from tenant, interaction and event, so that a repeat after a crash carries the same.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use uuid::Uuid;

use super::Decoded;
use super::json::Json;
use crate::domain::json_string::write_json_string;
use crate::domain::{EndedInteraction, Enriched, Facts, Outcome, Report, Revision, Routing, Step};

/// The namespace of outgoing ids, made for this purpose and never to be changed: consumers
/// recognise a repeat by the id.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f0c_2f0e_8f1b_5e1c_9d53_6a1d_6b1a_7c11);

/// The outgoing `message_id` of a message: UUIDv5 over tenant, interaction and event.
pub fn message_id(decoded: &Decoded<'_>) -> Uuid {
    let message = &decoded.message;
    let identity = &message.identity;
    let name = [identity.tenant.as_ref(), identity.id.as_ref(), message.event_id.as_ref()];
    Uuid::new_v5(&NAMESPACE, name.join("\0").as_bytes())
}

/// The members that are equal in every message of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'a> {
    /// The rules in force.
    pub revision: &'a Revision,
    /// When the batch was worked out, as [`rfc3339`] has it.
    pub time: &'a str,
    /// Whether `origins` are published (`output.origins`).
    pub origins: bool,
}

/// The `message_id` of what is published of the same message for another output: UUIDv5 in the
/// namespace of the message's own id, so that it is as much derived, and unlike every other.
pub fn further_id(message_id: &Uuid, output: &str) -> Uuid {
    Uuid::new_v5(message_id, output.as_bytes())
}

/// An encoded message whose `routing` is not written yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Unrouted {
    /// The JSON body, on one line.
    pub body: Vec<u8>,
    /// Where in the body [`write_routing`] may add the answer of the status gate; `None` where it has
    /// no place.
    pub routing_at: Option<usize>,
}

/// Encodes what is published of a message; `None` if nothing is.
pub fn encode(decoded: &Decoded<'_>, step: &Step<'_>, stamp: Stamp<'_>) -> Option<Vec<u8>> {
    encode_open(&message_id(decoded).to_string(), decoded, step, stamp).map(|encoded| encoded.body)
}

/// Encodes what is published of a message under its [`message_id`], and says where `routing` may be
/// added to it: the status gate's answer comes later than all else.
pub fn encode_open(
    message_id: &str,
    decoded: &Decoded<'_>,
    step: &Step<'_>,
    stamp: Stamp<'_>,
) -> Option<Unrouted> {
    let kind = kind(&step.outcome)?;
    let mut json = Json::open();
    json.name("type").word(kind);
    json.name("id").text(message_id);
    json.name("time").text(stamp.time);
    let routing_at = content(&mut json, decoded, step, stamp);
    Some(Unrouted { body: json.close(), routing_at })
}

/// The `type` of what is published of an outcome; `None` if nothing is.
pub(super) fn kind(outcome: &Outcome<'_>) -> Option<&'static str> {
    match outcome {
        Outcome::Enriched(_) => Some("interaction.enriched"),
        Outcome::Ended(_) => Some("interaction.ended"),
        Outcome::Ignored | Outcome::Duplicate | Outcome::Waiting(_) | Outcome::Rejected(_) => None,
    }
}

/// Writes the members after `type`, `id` and `time`. Gives the place of `routing`, counted from the
/// beginning of all that is written.
pub(super) fn content(
    json: &mut Json,
    decoded: &Decoded<'_>,
    step: &Step<'_>,
    stamp: Stamp<'_>,
) -> Option<usize> {
    let mut routing_at = None;
    cause(json, decoded);
    json.name("rules").object(|json| {
        json.name("revision").text(stamp.revision.as_str());
    });
    match &step.outcome {
        Outcome::Enriched(enriched) => {
            json.name("parent").word(enriched.parent.as_str());
            routing_at = Some(write_enriched(json, decoded, enriched, stamp));
        }
        Outcome::Ended(ended) => write_ended(json, decoded, ended),
        Outcome::Ignored | Outcome::Duplicate | Outcome::Waiting(_) | Outcome::Rejected(_) => {}
    }
    warnings(json, &step.report);
    routing_at
}

/// Adds `routing` to an encoded interaction, at the place that [`encode_open`] gave.
pub fn write_routing(body: &mut Vec<u8>, at: usize, routing: &Routing) {
    let mut json = Json::open();
    json.name("routing").object(|json| {
        json.name("target").text(routing.target.as_str());
        if let Some(state) = &routing.widget_state {
            json.name("widgetState").text(state);
        }
    });
    // The interaction has members already: the opening brace makes room for the comma.
    let mut member = json.close();
    member.pop();
    member[0] = b',';
    body.splice(at..at, member);
}

/// The same object with `outcome` and `dropped`, for `explain`; of a message that is not published,
/// what there is to say of it.
pub fn explain(decoded: &Decoded<'_>, step: &Step<'_>, stamp: Stamp<'_>) -> Vec<u8> {
    let mut json = Json::open();
    json.name("outcome").word(step.outcome.as_str());
    match encode(decoded, step, stamp) {
        Some(published) => {
            json.members_of(&published);
        }
        None => {
            cause(&mut json, decoded);
            if let Outcome::Rejected(refusal) = &step.outcome {
                json.name("reason").word(refusal.reason.as_str());
                json.name("detail").text(refusal.detail.as_str());
            }
            warnings(&mut json, &step.report);
        }
    }
    json.name("dropped").object(|json| {
        for (key, reason) in step.report.dropped() {
            json.key(|out| key.write_json(out)).word(reason.as_str());
        }
    });
    json.close()
}

fn cause(json: &mut Json, decoded: &Decoded<'_>) {
    json.name("cause").object(|json| {
        json.name("type").word(decoded.message.event.as_str());
        json.name("id").text(&decoded.message.event_id);
    });
}

fn write_enriched(
    json: &mut Json,
    decoded: &Decoded<'_>,
    enriched: &Enriched<'_>,
    stamp: Stamp<'_>,
) -> usize {
    let mut routing_at = 0;
    json.name("interaction").object(|json| {
        write_facts(json, decoded, &enriched.facts);
        json.name("userData").object(|json| {
            for (key, value, _) in enriched.published() {
                json.key(|out| key.write_json(out)).raw(value.as_json());
            }
        });
        json.name("metadata").object(|json| {
            for (name, value) in &enriched.metadata {
                let write_name = |out: &mut Vec<u8>| write_json_string(name.as_bytes(), out);
                json.key(write_name).raw(value.as_json());
            }
        });
        json.name("extraData").written(|out| enriched.record.write_json(out));
        routing_at = json.written_bytes();
    });
    if stamp.origins {
        json.name("origins").object(|json| {
            for (key, _, origin) in enriched.published() {
                json.key(|out| key.write_json(out)).word(origin.as_str());
            }
        });
    }
    routing_at
}

fn write_ended(json: &mut Json, decoded: &Decoded<'_>, ended: &EndedInteraction<'_>) {
    json.name("interaction").object(|json| {
        write_facts(json, decoded, &ended.facts);
        json.name("state").word(ended.state.as_str());
        json.name("extraData").written(|out| ended.record.write_json(out));
    });
}

/// The interaction as received, filled up with what is known of it.
pub(super) fn write_facts(json: &mut Json, decoded: &Decoded<'_>, facts: &Facts<'_>) {
    let identity = &decoded.message.identity;
    json.name("id").text(&identity.id);
    let carried =
        |name: &str| decoded.carried.iter().any(|(key, _)| key.as_bytes() == name.as_bytes());
    for (name, fact) in [
        ("channel", Some(facts.channel.as_ref()).filter(|channel| !channel.is_empty())),
        ("tenant", Some(identity.tenant.as_ref()).filter(|tenant| !tenant.is_empty())),
        ("queue", facts.queue.as_deref()),
        ("widget", facts.widget.as_deref()),
        ("callTarget", facts.call_target.as_deref()),
        ("parentId", facts.parent_id.as_deref()),
        ("direction", facts.direction.as_deref().filter(|_| !carried("direction"))),
        ("createdAt", facts.created_at.as_deref().filter(|_| !carried("createdAt"))),
    ] {
        if let Some(fact) = fact {
            json.name(name).text(fact);
        }
    }
    for (key, value) in &decoded.carried {
        json.key(|out| key.write_json(out)).raw(value.as_json());
    }
}

fn warnings(json: &mut Json, report: &Report<'_>) {
    json.name("warnings").array(|json| {
        for warning in report.warnings() {
            json.element().object(|json| {
                json.name("code").word(warning.code.as_str());
                if let Some(key) = &warning.key {
                    json.name("key").text(key);
                }
            });
        }
    });
}

/// Milliseconds since the Unix epoch as RFC 3339 in UTC.
pub fn rfc3339(ms: i64) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&format).ok())
        .unwrap_or_default()
}

/// Milliseconds since the Unix epoch, read from RFC 3339 in any zone; none if it is something else.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}
