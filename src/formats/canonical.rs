//! Our own inbound format (docs/messages.md, *Inbound*).
//!
//! ```json
//! { "type": "interaction.created", "id": "evt-0001", "time": "…", "source": "customer",
//!   "interaction": { "id": "…", "channel": "chat", "userData": { } } }
//! ```
//!
//! A message decoded from any format can be written as this one, see [`encode`].

use std::borrow::Cow;

use super::enriched::write_facts;
use super::fields::Fields;
use super::json::Json;
use super::look_alike::{USER_DATA, each_user_data, looks_like_user_data, warn_of};
use super::{Decoded, Envelope, Fallback, Refusal, Trace};
use crate::domain::value::{Key, Kind, Value};
use crate::domain::{
    Attached, EndState, Event, Facts, Identity, InlineParent, KeyNames, Message, RawJson,
    RejectReason, Source, Warning,
};

/// The format's name.
pub(super) const NAME: &str = "canonical";

/// The members that make its shape.
pub(super) const SHAPE: &[&str] = &["type", "interaction"];

/// Where the parent's id may stand; the first that is present counts, then `parent.id`.
pub(super) const PARENT_IDS: [&str; 4] =
    ["parentId", "ParentId", "parentInteractionId", "parent_id"];

/// A `type` starting `interaction.`, and an `interaction` object.
pub(super) fn recognise(envelope: &Envelope<'_>) -> bool {
    let fields = &envelope.fields;
    let kind = fields.last("type").and_then(RawJson::string_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"interaction."))
        && fields.kind_of("interaction") == Some(Kind::Object)
}

/// Decodes the envelope.
///
/// # Errors
/// When a named member is missing, twice, of the wrong type or too long.
pub(super) fn decode<'a>(envelope: &Envelope<'a>) -> Result<Decoded<'a>, Refusal> {
    let fields = &envelope.fields;
    let missing = || fields.refuse("type", "is missing");
    // The attributes of an event around it take precedence.
    let own = EnvelopeParts {
        kind: match envelope.event.kind.clone() {
            Some(kind) => kind,
            None => fields.text("type")?.ok_or_else(missing)?,
        },
        id: envelope.event.id.clone().map_or_else(|| fields.name("id"), |id| Ok(Some(id)))?,
        time: envelope.event.time.clone().map_or_else(|| fields.text("time"), |t| Ok(Some(t)))?,
        fallback: envelope.fallback,
        format: NAME,
    };
    decode_parts(fields, own)
}

/// The attributes of the envelope: of a canonical message or of a CloudEvent.
pub(super) struct EnvelopeParts<'a> {
    pub(super) kind: Cow<'a, str>,
    pub(super) id: Option<Cow<'a, str>>,
    pub(super) time: Option<Cow<'a, str>>,
    pub(super) fallback: Fallback<'a>,
    pub(super) format: &'static str,
}

/// Decodes `{ "source": …, "interaction": … }` with the event's attributes given.
pub(super) fn decode_parts<'a>(
    fields: &Fields<'a>,
    parts: EnvelopeParts<'a>,
) -> Result<Decoded<'a>, Refusal> {
    let interaction = fields
        .object("interaction", "interaction.")?
        .ok_or_else(|| fields.refuse("interaction", "is missing"))?;
    let event = match parts.kind.as_ref() {
        "interaction.created" => Event::Created,
        "interaction.opened" => Event::Opened,
        "interaction.updated" => Event::Updated,
        "interaction.ended" => Event::Ended(end_state(&interaction)?),
        kind if kind.starts_with("interaction.") => {
            return Err(Refusal::new(
                RejectReason::UnsupportedType,
                "type is none of interaction.created, interaction.opened, interaction.updated, \
                 interaction.ended",
            ));
        }
        _ => return Err(fields.refuse("type", "does not start with interaction.")),
    };
    let tenant = interaction.name("tenant")?.unwrap_or_default();
    let identity = Identity { tenant, id: interaction.required("id")? };
    let (facts, own, inline_parent) = match event {
        // Only its state is read from an end; its data gives a warning and is not read.
        Event::Ended(_) => (Facts::default(), unread_data(&interaction), None),
        Event::Created | Event::Opened | Event::Updated => {
            let facts = facts(&interaction)?;
            if event == Event::Created && facts.channel.is_empty() {
                return Err(interaction.refuse("channel", "is missing"));
            }
            (facts, own_data(fields, &interaction)?, inline_parent(&interaction)?)
        }
    };
    let mut message = Message {
        event,
        event_id: parts.id.unwrap_or_else(|| parts.fallback.id()),
        identity,
        facts,
        own,
        inline_parent,
        set_ms: None,
        session: None,
        key_names: KeyNames::Any,
        format: parts.format,
        warnings: Vec::new(),
        progress: None,
    };
    let carried = carried(&interaction, event, &mut message.warnings);
    Ok(Decoded { carried, time: parts.time, trace: Trace::default(), message })
}

fn end_state(interaction: &Fields<'_>) -> Result<EndState, Refusal> {
    match interaction.text("state")?.as_deref() {
        None | Some("ended") => Ok(EndState::Ended),
        Some("handled") => Ok(EndState::Handled),
        Some(_) => Err(interaction.refuse("state", "is neither ended nor handled")),
    }
}

fn facts<'a>(interaction: &Fields<'a>) -> Result<Facts<'a>, Refusal> {
    let mut parent_id = None;
    for name in PARENT_IDS {
        let given = interaction.name(name)?;
        parent_id = parent_id.or(given);
    }
    if let Some(parent) = interaction.object("parent", "interaction.parent.")? {
        let given = parent.name("id")?;
        parent_id = parent_id.or(given);
    }
    Ok(Facts {
        channel: interaction.name("channel")?.unwrap_or_default(),
        queue: interaction.name("queue")?,
        widget: interaction.name("widget")?,
        call_target: interaction.name("callTarget")?,
        parent_id,
        direction: interaction.text("direction")?.filter(|text| is_memorable(text)),
        created_at: interaction.text("createdAt")?.filter(|text| is_memorable(text)),
    })
}

/// A member that is neither id nor name is published as it came; to be known later, too, it must be of a
/// length and kind that a store can hold.
fn is_memorable(text: &str) -> bool {
    text.len() <= 255 && !text.contains('\0')
}

/// `userData`, under whichever of its names (K5), then `attached` in its order (P1).
fn own_data<'a>(
    fields: &Fields<'a>,
    interaction: &Fields<'a>,
) -> Result<Vec<(Source<'a>, Attached<'a>)>, Refusal> {
    let source = |fields: &Fields<'a>| {
        Ok::<_, Refusal>(fields.text("source")?.map_or(Source::Customer, Source::from_name))
    };
    let mut own = Vec::with_capacity(1);
    let from = source(fields)?;
    each_user_data(interaction, |raw| own.push((from.clone(), Attached::Json(raw))))?;
    for raw in interaction.array("attached")? {
        let lot = Fields::new(raw, "interaction.attached[].")?;
        let from = source(&lot)?;
        each_user_data(&lot, |raw| own.push((from.clone(), Attached::Json(raw))))?;
    }
    Ok(own)
}

fn unread_data<'a>(interaction: &Fields<'a>) -> Vec<(Source<'a>, Attached<'a>)> {
    USER_DATA
        .into_iter()
        .chain(["attached"])
        .filter_map(|name| interaction.last(name))
        .map(|raw| (Source::Customer, Attached::Json(raw)))
        .collect()
}

fn inline_parent<'a>(interaction: &Fields<'a>) -> Result<Option<InlineParent<'a>>, Refusal> {
    let Some(parent) = interaction.object("parent", "interaction.parent.")? else {
        return Ok(None);
    };
    let channel = parent.name("channel")?;
    let mut user_data = Vec::new();
    each_user_data(&parent, |raw| user_data.push(Attached::Json(raw)))?;
    Ok((!user_data.is_empty()).then(|| InlineParent {
        // C8: without a channel it counts as the one that copyUserData was made for.
        channel: channel.unwrap_or(Cow::Borrowed("webengagement")),
        user_data,
    }))
}

/// The members that are published as they came: all except those that the encoder writes and those that
/// hold user data. A parent's id under a vendor's name is carried on a creation only, where it is used. A
/// direction or time of creation that is null or empty is not carried, so that the stored one is
/// published. A member that only looks like user data is left out with a warning (K5).
fn carried<'a>(
    interaction: &Fields<'a>,
    event: Event,
    warnings: &mut Vec<Warning>,
) -> Vec<(Key<'a>, Value<'a>)> {
    let mut ours = |key: &Key<'_>, raw: RawJson<'_>| match key.as_bytes() {
        b"id" | b"channel" | b"tenant" | b"queue" | b"widget" | b"callTarget" | b"parentId"
        | b"userData" | b"UserData" | b"user_data" | b"attached" | b"parent" | b"metadata"
        | b"routing" => true,
        b"ParentId" | b"parentInteractionId" | b"parent_id" => event != Event::Created,
        b"state" => matches!(event, Event::Ended(_)),
        b"direction" | b"createdAt" => matches!(raw.get(), "null" | r#""""#),
        name if looks_like_user_data(name) => {
            warnings.extend(warn_of(key, raw));
            true
        }
        _ => false,
    };
    // As many as most upstreams have.
    let mut carried = Vec::with_capacity(4);
    let members = interaction.iter().filter(|(key, raw)| !ours(key, *raw));
    carried.extend(members.map(|(key, raw)| (key.clone(), Value::from_raw(raw))));
    carried
}

/// Writes a message of any format as canonical JSON, on one line. Decoding it again gives the same,
/// except for what only its own format provides: its default for the names of keys (K6), its warnings,
/// and the documented order of its steps.
pub fn encode(decoded: &Decoded<'_>) -> Vec<u8> {
    let message = &decoded.message;
    let mut own = message.own.iter();
    let first = match message.event {
        // An end's data only gives a warning, so one part of it is enough.
        Event::Ended(_) => own.find(|(_, attached)| !attached.is_blank()),
        Event::Created | Event::Opened | Event::Updated => own.next(),
    };
    let mut json = Json::open();
    json.name("type").text(message.event.as_str());
    json.name("id").text(&message.event_id);
    if let Some(time) = &decoded.time {
        json.name("time").text(time);
    }
    if let Some((source, _)) = first {
        write_source(&mut json, source);
    }
    json.name("interaction").object(|json| {
        write_facts(json, decoded, &message.facts);
        if message.event == Event::Ended(EndState::Handled) {
            json.name("state").text("handled");
        }
        if let Some(parent) = &message.inline_parent {
            json.name("parent").object(|json| {
                json.name("channel").text(&parent.channel);
                for (name, attached) in USER_DATA.into_iter().zip(&parent.user_data) {
                    write_user_data(json, name, attached);
                }
            });
        }
        if let Some((_, attached)) = first {
            write_user_data(json, USER_DATA[0], attached);
        }
        if own.len() > 0 && !matches!(message.event, Event::Ended(_)) {
            json.name("attached").array(|json| {
                for (source, attached) in own {
                    json.element().object(|json| {
                        write_source(json, source);
                        write_user_data(json, USER_DATA[0], attached);
                    });
                }
            });
        }
    });
    json.close()
}

fn write_source(json: &mut Json, source: &Source<'_>) {
    if *source != Source::Customer {
        json.name("source").text(source.as_str());
    }
}

fn write_user_data(json: &mut Json, name: &'static str, attached: &Attached<'_>) {
    json.name(name);
    match attached {
        Attached::Json(raw) => json.raw(raw.get()),
        Attached::Unpacked(text) => json.raw(text),
        Attached::Pairs(pairs) => json.object(|json| {
            for (key, value) in pairs {
                json.key(|out| key.write_json(out)).raw(value.as_json());
            }
        }),
    }
}
