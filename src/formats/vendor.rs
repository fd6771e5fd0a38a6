//! A vendor's message as a message of the domain.
//!
//! The module of each vendor reads the members; the common part is here: whose id counts, what stands in
//! for an id that a vendor does not give, and what is carried along. No vendor's name and no member of a
//! vendor's message stands here.

use std::borrow::Cow;

use super::fields::check_name;
use super::{Decoded, Envelope, Refusal, Trace, upstream};
use crate::domain::progress::Progress;
use crate::domain::{
    Attached, Event, Facts, Identity, KeyNames, Message, RawJson, Source, Warning,
};

/// A vendor's message, decoded into the terms that all vendors share.
pub(super) struct VendorMessage<'a> {
    /// The name of its format.
    pub(super) format: &'static str,
    /// The event.
    pub(super) event: Event,
    /// The event's id, where the vendor gives one.
    pub(super) event_id: Option<Cow<'a, str>>,
    /// The tenant, where the vendor names one.
    pub(super) tenant: Option<Cow<'a, str>>,
    /// The interaction's id; without one the event's stands in for it.
    pub(super) id: Option<Cow<'a, str>>,
    /// Its other attributes.
    pub(super) facts: Facts<'a>,
    /// The pairs it brings.
    pub(super) own: Vec<(Source<'a>, Attached<'a>)>,
    /// When those were set, in milliseconds since the Unix epoch, where the vendor states it.
    pub(super) set_ms: Option<i64>,
    /// The session that starts or ends, where an interaction of this vendor has several.
    pub(super) session: Option<Cow<'a, str>>,
    /// Which names keys may have.
    pub(super) key_names: KeyNames,
    /// Warnings of the format.
    pub(super) warnings: Vec<Warning>,
    /// The order that its steps are documented to have.
    pub(super) progress: Option<Progress>,
    /// The vendor's time of the event.
    pub(super) time: Option<Cow<'a, str>>,
    /// Paths of the members that are not carried: those that held user data, and ids and names that
    /// stand in the interaction.
    pub(super) left_out: &'static [&'static str],
}

impl<'a> VendorMessage<'a> {
    /// A message of this format with no other content.
    pub(super) fn new(format: &'static str, event: Event) -> VendorMessage<'a> {
        VendorMessage {
            format,
            event,
            event_id: None,
            tenant: None,
            id: None,
            facts: Facts::default(),
            own: Vec::new(),
            set_ms: None,
            session: None,
            key_names: KeyNames::Any,
            warnings: Vec::new(),
            progress: None,
            time: None,
            left_out: &[],
        }
    }

    /// The message of the domain. The id and time of an event around the vendor's take precedence.
    ///
    /// # Errors
    /// When the interaction has no id but the event's, and that is none that an interaction may have.
    pub(super) fn decoded(self, envelope: &Envelope<'a>) -> Result<Decoded<'a>, Refusal> {
        let given = envelope.event.id.clone().or(self.event_id);
        let event_id = given.unwrap_or_else(|| envelope.fallback.id());
        let id = match self.id {
            Some(id) => id,
            None => {
                let refuse = |what| Refusal::shape(format!("the event's id {what}"));
                check_name(event_id.as_bytes()).map_err(refuse)?;
                event_id.clone()
            }
        };
        let facts = match self.event {
            // Only its state is read from an end.
            Event::Ended(_) => Facts::default(),
            Event::Created | Event::Opened | Event::Updated => self.facts,
        };
        let mut warnings = self.warnings;
        let carried = upstream::carried(&envelope.fields, self.left_out, &mut warnings);
        let message = Message {
            event: self.event,
            event_id,
            identity: Identity { tenant: self.tenant.unwrap_or_default(), id },
            facts,
            own: self.own,
            set_ms: self.set_ms,
            session: self.session,
            inline_parent: None,
            key_names: self.key_names,
            format: self.format,
            warnings,
            progress: self.progress,
        };
        Ok(Decoded {
            message,
            carried,
            time: envelope.event.time.clone().or(self.time),
            trace: Trace::default(),
        })
    }
}

/// The user data as the message holds it; empty where there is none. Whether it is a map is checked when
/// it is read (K4).
pub(super) fn attached_pairs<'a>(
    source: Source<'a>,
    raw: Option<RawJson<'a>>,
) -> Vec<(Source<'a>, Attached<'a>)> {
    raw.map(|raw| (source, Attached::Json(raw))).into_iter().collect()
}

/// A vendor's name of a channel, in lower case as channels are named here.
pub(super) fn lower_case(name: Cow<'_, str>) -> Cow<'_, str> {
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => name,
    }
}
