//! An interaction: who it is, what is known of it besides its user data, and where it stands in
//! its life.
//!
//! Nothing here is user data. Channels, queues, widgets and call targets are open sets of strings,
//! never enums: vendors invent new ones without asking.

use std::borrow::Cow;

use super::event_log::EventLog;
use super::identity::Identity;
use super::key_names::KeyNames;
use super::progress::Progress;
use super::report::Warning;
use super::source::Source;
use super::user_data::Attached;

/// Where an interaction stands in its life (docs/rules.md, *Life of an interaction*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The conversation goes on; live data is kept.
    Active,
    /// The conversation has ended and is in wrap-up. Only history is left.
    Ended,
    /// Wrap-up is done. Never taken back to [`State::Ended`].
    Handled,
    /// No message for `live.ttl_secs`: live data is erased, and it counts as ended.
    Expired,
}

impl State {
    /// The number that stores keep for this state.
    pub fn code(self) -> i16 {
        match self {
            State::Active => 0,
            State::Ended => 1,
            State::Handled => 2,
            State::Expired => 3,
        }
    }

    /// The state behind a stored number; `None` for a number this version does not know.
    pub fn from_code(code: i16) -> Option<State> {
        [State::Active, State::Ended, State::Handled, State::Expired]
            .into_iter()
            .find(|state| state.code() == code)
    }

    /// The word for it in messages and in the contact log.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Active => "active",
            State::Ended => "ended",
            State::Handled => "handled",
            State::Expired => "expired",
        }
    }
}

/// The channel of an interaction that no message has named a real one of yet.
pub const UNSPECIFIED_CHANNEL: &str = "unspecified";

/// The attributes of an interaction besides its user data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts<'a> {
    /// Its channel (media type). Empty only in messages that need not name it.
    pub channel: Cow<'a, str>,
    /// Its queue.
    pub queue: Option<Cow<'a, str>>,
    /// The Scheduler widget it was submitted with.
    pub widget: Option<Cow<'a, str>>,
    /// Its own call target.
    pub call_target: Option<Cow<'a, str>>,
    /// Its parent's id.
    pub parent_id: Option<Cow<'a, str>>,
    /// Its direction, as the vendor states it.
    pub direction: Option<Cow<'a, str>>,
    /// When it was created, as the vendor states it.
    pub created_at: Option<Cow<'a, str>>,
}

impl Facts<'_> {
    /// The same facts, owning their strings.
    pub fn into_owned(self) -> Facts<'static> {
        let owned = |text: Option<Cow<'_, str>>| text.map(|text| Cow::Owned(text.into_owned()));
        Facts {
            channel: Cow::Owned(self.channel.into_owned()),
            queue: owned(self.queue),
            widget: owned(self.widget),
            call_target: owned(self.call_target),
            parent_id: owned(self.parent_id),
            direction: owned(self.direction),
            created_at: owned(self.created_at),
        }
    }

    /// Whether a real channel is named.
    pub(crate) fn names_channel(&self) -> bool {
        !self.channel.is_empty() && self.channel != UNSPECIFIED_CHANNEL
    }
}

/// The event that a message reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// `interaction.created`.
    Created,
    /// `interaction.opened`: created if the interaction is not known, else updated.
    Opened,
    /// `interaction.updated`.
    Updated,
    /// `interaction.ended`, with the state it is in from now on.
    Ended(EndState),
}

impl Event {
    /// The message's `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Event::Created => "interaction.created",
            Event::Opened => "interaction.opened",
            Event::Updated => "interaction.updated",
            Event::Ended(_) => "interaction.ended",
        }
    }
}

/// The `state` of an `interaction.ended`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndState {
    /// In wrap-up: the default.
    Ended,
    /// Wrap-up is done.
    Handled,
}

/// One message about one interaction, decoded: whatever format it came in.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// The event.
    pub event: Event,
    /// The event's id, unique within its interaction: the key for recognising repeats.
    pub event_id: Cow<'a, str>,
    /// Whose event it is.
    pub identity: Identity<'a>,
    /// The attributes that it states besides user data.
    pub facts: Facts<'a>,
    /// The pairs it brings, each lot with who attached it, in the order of processing (P1).
    pub own: Vec<(Source<'a>, Attached<'a>)>,
    /// When those pairs were set, in milliseconds since the Unix epoch, where its format states it (P1).
    pub set_ms: Option<i64>,
    /// The session of the interaction that it starts or ends, where its format counts several.
    pub session: Option<Cow<'a, str>>,
    /// The parent's data, where the message brings that too.
    pub inline_parent: Option<InlineParent<'a>>,
    /// Which names keys may have, by the format's own default; the rules may override it (K6).
    pub key_names: KeyNames,
    /// The name of the format it came in.
    pub format: &'static str,
    /// Warnings of the format.
    pub warnings: Vec<Warning>,
    /// How it is to stand to the messages before it, where its vendor documents an order.
    pub progress: Option<Progress>,
}

impl<'a> Message<'a> {
    /// The parent that this message names: within its tenant, and not itself (C9).
    pub fn parent(&self) -> Option<Identity<'a>> {
        let id = self.facts.parent_id.clone()?;
        let itself = id == self.identity.id;
        (!itself).then(|| Identity { tenant: self.identity.tenant.clone(), id })
    }
}

impl Message<'_> {
    /// Whether it is the one that began its interaction, of which these events are known; also where
    /// it comes again.
    pub(crate) fn begins(&self, known: Option<&EventLog>) -> bool {
        match self.event {
            Event::Created => true,
            Event::Opened => known.is_none_or(|events| events.begins_with(&self.event_id)),
            Event::Updated | Event::Ended(_) => false,
        }
    }
}

impl Message<'_> {
    /// The same message, without a borrow of what it was read from.
    pub fn into_owned(self) -> Message<'static> {
        let own = self.own.into_iter();
        let of_parent = |parent: InlineParent<'_>| InlineParent {
            channel: Cow::Owned(parent.channel.into_owned()),
            user_data: parent.user_data.into_iter().map(Attached::into_owned).collect(),
        };
        Message {
            event: self.event,
            event_id: Cow::Owned(self.event_id.into_owned()),
            identity: self.identity.to_owned(),
            facts: self.facts.into_owned(),
            own: own.map(|(source, lot)| (source.into_owned(), lot.into_owned())).collect(),
            set_ms: self.set_ms,
            session: self.session.map(|session| Cow::Owned(session.into_owned())),
            inline_parent: self.inline_parent.map(of_parent),
            key_names: self.key_names,
            format: self.format,
            warnings: self.warnings,
            progress: self.progress,
        }
    }
}

/// A parent that comes with its child's message (C8).
#[derive(Clone, Debug)]
pub struct InlineParent<'a> {
    /// Its channel.
    pub channel: Cow<'a, str>,
    /// Its data, in the order of processing.
    pub user_data: Vec<Attached<'a>>,
}

/// The status of an interaction's parent: `parent` of the outbound message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ParentStatus {
    /// There is none, or it is the interaction itself.
    #[default]
    None,
    /// It came with the message.
    Inline,
    /// It is known and alive.
    Found,
    /// It has ended or expired: no live data is left.
    Ended,
    /// The database has no row for it.
    Unknown,
}

impl ParentStatus {
    /// Every status, in the order of docs/messages.md.
    pub const ALL: [ParentStatus; 5] = [
        ParentStatus::None,
        ParentStatus::Inline,
        ParentStatus::Found,
        ParentStatus::Ended,
        ParentStatus::Unknown,
    ];

    /// The word for it in messages and case files.
    pub fn as_str(self) -> &'static str {
        match self {
            ParentStatus::None => "none",
            ParentStatus::Inline => "inline",
            ParentStatus::Found => "found",
            ParentStatus::Ended => "ended",
            ParentStatus::Unknown => "unknown",
        }
    }
}
