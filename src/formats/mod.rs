//! Formats: from bytes to the domain's [`Message`], and from its outcome to the published bytes.
//!
//! | file | what |
//! |---|---|
//! | [`body_encoding`], `amqp_sections`, `compression` | what a body is once it is unpacked |
//! | [`body`] | is it text, is it JSON, is it nested too deep |
//! | `fields` | the named members of an object, each with its type and its limits |
//! | `look_alike` | which members hold user data, by their names |
//! | [`canonical`] | our own inbound format |
//! | `cloud_event` | the same thing, or a vendor's, as a CloudEvent 1.0 |
//! | `genesys_*`, `sinch_*`, `mindful_*` | the vendors' own formats (docs/formats.md) |
//! | `vendor`, `upstream` | shared by the vendors: their message as a canonical one, and the part of it that is carried along |
//! | `unknown_shape` | the refusal of an object that is none of them |
//! | [`trace_context`] | how messages name the span they come from |
//! | [`enriched`] | the published messages |
//! | [`outbound`], `sap_c4c`, `telephone` | the same interaction in other shapes, for other outputs |
//! | [`signature`] | whether a body was signed with the shared secret |
//! | [`schema`] | our own messages, as JSON Schema |
//! | `json` | how what is published is written |
//!
//! Every inbound format has the same two verbs: `recognise` checks whether an object has its shape,
//! `decode` returns a [`Decoded`] or a refusal. The order of `FORMATS` decides where an object has two
//! shapes. A vendor's format is a file here and a line in that table.

pub(crate) mod amqp_sections;
pub mod body;
pub mod body_encoding;
pub mod canonical;
mod cloud_event;
mod compression;
pub mod enriched;
mod fields;
mod genesys_callback;
mod genesys_cloud;
mod genesys_open_media;
mod genesys_widgets;
mod json;
mod look_alike;
mod mindful_scheduler;
mod mindful_webhook;
pub mod outbound;
mod sap_c4c;
pub mod schema;
pub mod signature;
mod sinch_contact_pro;
mod sinch_conversation;
mod sinch_rti;
mod telephone;
pub mod trace_context;
mod unknown_shape;
mod upstream;
mod vendor;

use std::borrow::Cow;
use std::fmt;

pub use crate::domain::Refusal;
use crate::domain::digest::{Hex, sha256};
use crate::domain::{Key, Message, Value};
use fields::Fields;
use trace_context::SpanContext;
use unknown_shape::shown;

/// A decoded message, with what is carried through beside the domain.
#[derive(Clone, Debug)]
pub struct Decoded<'a> {
    /// The message that the rules evaluate.
    pub message: Message<'a>,
    /// Members of the interaction that are published as they came. None of them holds user data.
    pub carried: Vec<(Key<'a>, Value<'a>)>,
    /// The upstream's time of the event, as it states it.
    pub time: Option<Cow<'a, str>>,
    /// The trace context that the published messages carry: the CloudEvent's own, until the caller sets
    /// another.
    pub trace: Trace<'a>,
}

/// W3C Trace Context, as text.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Trace<'a> {
    /// `traceparent`.
    pub parent: Option<Cow<'a, str>>,
    /// `tracestate`.
    pub state: Option<Cow<'a, str>>,
}

impl Decoded<'_> {
    /// The same message, without a borrow of what it was read from.
    fn into_owned(self) -> Decoded<'static> {
        let carried = self.carried.into_iter();
        Decoded {
            message: self.message.into_owned(),
            carried: carried.map(|(key, value)| (key.into_owned(), value.into_owned())).collect(),
            time: self.time.map(|time| Cow::Owned(time.into_owned())),
            trace: self.trace.to_owned(),
        }
    }
}

impl Trace<'_> {
    /// The trace if W3C calls it one; else none, so that nothing invalid is carried on. What belongs to
    /// a `traceparent` that is none is none either.
    #[must_use]
    pub fn valid(self) -> Self {
        match self.parent.as_deref().is_some_and(|parent| SpanContext::parse(parent).is_some()) {
            true => self,
            false => Trace::default(),
        }
    }

    /// The same without a copy of the text.
    pub fn borrowed(&self) -> Trace<'_> {
        Trace {
            parent: self.parent.as_deref().map(Cow::Borrowed),
            state: self.state.as_deref().map(Cow::Borrowed),
        }
    }

    /// A copy that outlives what it was read from.
    pub fn to_owned(&self) -> Trace<'static> {
        let owned =
            |text: &Option<Cow<'_, str>>| text.as_deref().map(|text| text.to_owned().into());
        Trace { parent: owned(&self.parent), state: owned(&self.state) }
    }
}

/// Metadata beside the body that decoding depends on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hints<'a> {
    /// The event's id where the body has none: the transport's message id.
    pub message_id: Option<&'a str>,
    /// The format, where a queue or a header names it; `None` or `auto` lets the shape decide.
    pub format: Option<&'a str>,
    /// The attributes of a CloudEvent in binary mode.
    pub cloud_event: &'a [(String, String)],
    /// The widget that a header names, for formats whose body may leave it to the page.
    pub widget: Option<&'a str>,
    /// The tenant of interactions whose message names none.
    pub tenant: Option<&'a str>,
}

/// An object on its way to being decoded.
#[derive(Clone, Debug)]
struct Envelope<'a> {
    fields: Fields<'a>,
    /// The attributes of an event around it.
    event: OuterEvent<'a>,
    /// The event's id where neither the message nor an event around it has one.
    fallback: Fallback<'a>,
    /// The widget where the body names none.
    widget: Option<&'a str>,
}

/// The event's id where neither the message nor an event around it has one. Computed for those messages
/// only: hashing a body costs more than decoding it.
#[derive(Clone, Copy)]
struct Fallback<'a> {
    message_id: Option<&'a str>,
    bytes: &'a [u8],
}

impl<'a> Fallback<'a> {
    /// The transport's message id, else the SHA-256 of the body.
    fn id(self) -> Cow<'a, str> {
        match self.message_id {
            Some(id) => Cow::Borrowed(id),
            None => Cow::Owned(Hex(&sha256::<32>(&[self.bytes])).to_string()),
        }
    }
}

impl fmt::Debug for Fallback<'_> {
    /// Names the message and gives the body's length; never its content (K8).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fallback({:?}, {} bytes)", self.message_id, self.bytes.len())
    }
}

/// The attributes of an event around the object: a CloudEvent's.
#[derive(Clone, Debug, Default)]
struct OuterEvent<'a> {
    id: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
    time: Option<Cow<'a, str>>,
}

/// An inbound format.
struct Format {
    name: &'static str,
    /// The members that make its shape, by their paths: for the refusal of an object that lacks some.
    shape: &'static [&'static str],
    recognise: for<'e> fn(&Envelope<'e>) -> bool,
    decode: for<'e> fn(&Envelope<'e>) -> Result<Decoded<'e>, Refusal>,
}

/// A line of [`FORMATS`]: the name and the two verbs of a format's file.
macro_rules! formats {
    ($($file:ident),+ $(,)?) => {
        &[$(Format {
            name: $file::NAME,
            shape: $file::SHAPE,
            recognise: $file::recognise,
            decode: $file::decode,
        }),+]
    };
}

/// The inbound formats, in the order in which they are tried.
const FORMATS: &[Format] = formats![
    canonical,
    cloud_event,
    genesys_open_media,
    genesys_widgets,
    genesys_callback,
    genesys_cloud,
    sinch_conversation,
    sinch_contact_pro,
    sinch_rti,
    mindful_scheduler,
    mindful_webhook,
];

/// The names of the inbound formats: what a queue's `format` may be, and what rules may name.
pub fn decodable() -> impl Iterator<Item = &'static str> {
    FORMATS.iter().map(|format| format.name)
}

/// Decodes a body. `text` is what [`body::check`] made of the bytes; `bytes` are as they came, for
/// the event's id of last resort: their SHA-256.
///
/// # Errors
/// A [`Refusal`] with the reason for the dead letter.
pub fn decode<'a>(
    text: &'a str,
    bytes: &'a [u8],
    hints: Hints<'a>,
) -> Result<Decoded<'a>, Refusal> {
    let fields = Fields::from_body(text)?;
    let event = cloud_event::binary(hints.cloud_event);
    if let Some(id) = event.as_ref().and_then(|event| event.id.as_ref()) {
        fields::check_name(id.as_bytes())
            .map_err(|what| Refusal::shape(format!("the CloudEvent's id {what}")))?;
    }
    let envelope = Envelope {
        fields,
        event: event.unwrap_or_default(),
        fallback: Fallback { message_id: hints.message_id.filter(|id| !id.is_empty()), bytes },
        widget: hints.widget.filter(|widget| !widget.is_empty()),
    };
    let mut decoded = match hints.format.filter(|name| !name.is_empty() && *name != "auto") {
        Some(name) => {
            let named = FORMATS.iter().find(|format| format.name == name);
            let unknown = || {
                Refusal::shape(
                    "the format that the queue or x-throughline-format names is not known",
                )
            };
            (named.ok_or_else(unknown)?.decode)(&envelope)
        }
        None if envelope.event.kind.is_some() => cloud_event::decode(&envelope),
        None => recognise(&envelope, FORMATS),
    }?;
    let tenant = &mut decoded.message.identity.tenant;
    if let Some(default) = hints.tenant.filter(|_| tenant.is_empty()) {
        *tenant = Cow::Borrowed(default);
    }
    decoded.trace = cloud_event::trace(&envelope, hints.cloud_event);
    Ok(decoded)
}

/// Decodes an object by its shape.
fn recognise<'a>(envelope: &Envelope<'a>, formats: &[Format]) -> Result<Decoded<'a>, Refusal> {
    let found = formats.iter().find(|format| (format.recognise)(envelope));
    let unknown = || unknown_shape::refuse(&envelope.fields, formats);
    (found.ok_or_else(unknown)?.decode)(envelope)
}
