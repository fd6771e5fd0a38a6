//! Which fields of which deliveries were repaired.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::NESTING_MAX;

/// How many deliveries may be repaired and not yet taken: the bound of [`Repairs`]. Far more than are
/// ever prefetched; beyond it frames pass as they are, and lapin ends the connection.
const REPAIRS_MAX: usize = 100_000;

/// A field of a message in which something was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(in super::super) enum RepairedField {
    Exchange,
    RoutingKey,
    ContentType,
    ContentEncoding,
    CorrelationId,
    ReplyTo,
    Expiration,
    MessageId,
    Type,
    UserId,
    AppId,
    ClusterId,
    HeaderName,
    HeaderNesting,
}

impl RepairedField {
    const ALL: [Self; 14] = [
        Self::Exchange,
        Self::RoutingKey,
        Self::ContentType,
        Self::ContentEncoding,
        Self::CorrelationId,
        Self::ReplyTo,
        Self::Expiration,
        Self::MessageId,
        Self::Type,
        Self::UserId,
        Self::AppId,
        Self::ClusterId,
        Self::HeaderName,
        Self::HeaderNesting,
    ];

    /// The word for it in the header `x-throughline-undecodable`: the property's name in the protocol.
    fn as_str(self) -> &'static str {
        match self {
            Self::Exchange => "exchange",
            Self::RoutingKey => "routing_key",
            Self::ContentType => "content_type",
            Self::ContentEncoding => "content_encoding",
            Self::CorrelationId => "correlation_id",
            Self::ReplyTo => "reply_to",
            Self::Expiration => "expiration",
            Self::MessageId => "message_id",
            Self::Type => "type",
            Self::UserId => "user_id",
            Self::AppId => "app_id",
            Self::ClusterId => "cluster_id",
            Self::HeaderName => "header_name",
            Self::HeaderNesting => "header_nesting",
        }
    }
}

/// A set of fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct RepairedFields(u32);

impl RepairedFields {
    pub(in super::super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(in super::super) fn contains(self, field: RepairedField) -> bool {
        self.0 & (1 << field as u32) != 0
    }

    pub(in super::super) fn or(self, other: RepairedFields) -> RepairedFields {
        RepairedFields(self.0 | other.0)
    }

    pub(super) fn add(&mut self, field: RepairedField) {
        self.0 |= 1 << field as u32;
    }

    fn iter(self) -> impl Iterator<Item = RepairedField> {
        RepairedField::ALL.into_iter().filter(move |field| self.contains(*field))
    }

    /// The words, for a header.
    pub(in super::super) fn words(self) -> String {
        self.iter().map(RepairedField::as_str).collect::<Vec<_>>().join(", ")
    }

    /// Reads [`RepairedFields::words`]; an unknown word is ignored.
    pub(in super::super) fn from_words(words: &str) -> RepairedFields {
        let mut fields = RepairedFields::default();
        for word in words.split(',') {
            let known = RepairedField::ALL.into_iter().find(|field| field.as_str() == word.trim());
            if let Some(field) = known {
                fields.add(field);
            }
        }
        fields
    }

    /// A readable description of the fault; never a value.
    pub(in super::super) fn describe(self) -> String {
        let phrases = self.iter().map(|field| match field {
            RepairedField::HeaderName => "the name of a header is not UTF-8".to_owned(),
            RepairedField::HeaderNesting => {
                format!("a header nests deeper than {NESTING_MAX} levels")
            }
            property => format!("{} is not UTF-8", property.as_str()),
        });
        phrases.collect::<Vec<_>>().join("; ")
    }
}

/// For which deliveries of a connection something was replaced: channel and delivery tag.
#[derive(Debug, Default)]
pub(in super::super) struct Repairs {
    /// How many there are, so that the usual answer takes no lock.
    count: AtomicUsize,
    fields: Mutex<HashMap<(u16, u64), RepairedFields>>,
}

impl Repairs {
    /// Where the delivery was repaired; asked once.
    pub(in super::super) fn take(&self, channel: u16, tag: u64) -> RepairedFields {
        // A delivery's repair was recorded before its bytes were handed to lapin's thread, and so
        // before the delivery came here.
        if self.count.load(Ordering::Acquire) == 0 {
            return RepairedFields::default();
        }
        let mut fields = self.fields.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = fields.remove(&(channel, tag)).unwrap_or_default();
        self.count.store(fields.len(), Ordering::Release);
        taken
    }

    /// Whether there is room for another.
    pub(super) fn has_room(&self) -> bool {
        self.count.load(Ordering::Acquire) < REPAIRS_MAX
    }

    pub(super) fn record(&self, channel: u16, tag: u64, at: RepairedFields) {
        let mut fields = self.fields.lock().unwrap_or_else(PoisonError::into_inner);
        fields.insert((channel, tag), at);
        self.count.store(fields.len(), Ordering::Release);
    }

    /// A channel that is opened counts its deliveries anew.
    pub(super) fn forget(&self, channel: u16) {
        let mut fields = self.fields.lock().unwrap_or_else(PoisonError::into_inner);
        fields.retain(|(of, _), _| *of != channel);
        self.count.store(fields.len(), Ordering::Release);
    }
}
