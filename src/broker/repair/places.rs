//! Where in which deliveries something was replaced.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::NESTING_MAX;

/// How many deliveries may be repaired and not yet taken: the bound of [`Repairs`]. Far more than are
/// ever prefetched; beyond it frames pass as they are, and lapin ends the connection.
const REPAIRS_MAX: usize = 100_000;

/// Where in a message something was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(in super::super) enum Place {
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

impl Place {
    const ALL: [Place; 14] = [
        Place::Exchange,
        Place::RoutingKey,
        Place::ContentType,
        Place::ContentEncoding,
        Place::CorrelationId,
        Place::ReplyTo,
        Place::Expiration,
        Place::MessageId,
        Place::Type,
        Place::UserId,
        Place::AppId,
        Place::ClusterId,
        Place::HeaderName,
        Place::HeaderNesting,
    ];

    /// The word for it in the header `x-throughline-undecodable`: the property's name in the protocol.
    fn as_str(self) -> &'static str {
        match self {
            Place::Exchange => "exchange",
            Place::RoutingKey => "routing_key",
            Place::ContentType => "content_type",
            Place::ContentEncoding => "content_encoding",
            Place::CorrelationId => "correlation_id",
            Place::ReplyTo => "reply_to",
            Place::Expiration => "expiration",
            Place::MessageId => "message_id",
            Place::Type => "type",
            Place::UserId => "user_id",
            Place::AppId => "app_id",
            Place::ClusterId => "cluster_id",
            Place::HeaderName => "header_name",
            Place::HeaderNesting => "header_nesting",
        }
    }
}

/// A set of places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Places(u32);

impl Places {
    pub(in super::super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(in super::super) fn contains(self, place: Place) -> bool {
        self.0 & (1 << place as u32) != 0
    }

    pub(in super::super) fn or(self, other: Places) -> Places {
        Places(self.0 | other.0)
    }

    pub(super) fn add(&mut self, place: Place) {
        self.0 |= 1 << place as u32;
    }

    fn iter(self) -> impl Iterator<Item = Place> {
        Place::ALL.into_iter().filter(move |place| self.contains(*place))
    }

    /// The words, for a header.
    pub(in super::super) fn words(self) -> String {
        self.iter().map(Place::as_str).collect::<Vec<_>>().join(", ")
    }

    /// Reads [`Places::words`]; a word that is none of ours says nothing.
    pub(in super::super) fn from_words(words: &str) -> Places {
        let mut places = Places::default();
        for word in words.split(',') {
            let known = Place::ALL.into_iter().find(|place| place.as_str() == word.trim());
            if let Some(place) = known {
                places.add(place);
            }
        }
        places
    }

    /// What is wrong, for people; never a value.
    pub(in super::super) fn describe(self) -> String {
        let phrases = self.iter().map(|place| match place {
            Place::HeaderName => "the name of a header is not UTF-8".to_owned(),
            Place::HeaderNesting => {
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
    places: Mutex<HashMap<(u16, u64), Places>>,
}

impl Repairs {
    /// Where the delivery was repaired; asked once.
    pub(in super::super) fn take(&self, channel: u16, tag: u64) -> Places {
        // A delivery's repair was noted before its bytes were handed to lapin's thread, and so before
        // the delivery came here.
        if self.count.load(Ordering::Acquire) == 0 {
            return Places::default();
        }
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = places.remove(&(channel, tag)).unwrap_or_default();
        self.count.store(places.len(), Ordering::Release);
        taken
    }

    /// Whether there is room for another.
    pub(super) fn has_room(&self) -> bool {
        self.count.load(Ordering::Acquire) < REPAIRS_MAX
    }

    pub(super) fn note(&self, channel: u16, tag: u64, at: Places) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.insert((channel, tag), at);
        self.count.store(places.len(), Ordering::Release);
    }

    /// A channel that is opened counts its deliveries anew.
    pub(super) fn forget(&self, channel: u16) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|(of, _), _| *of != channel);
        self.count.store(places.len(), Ordering::Release);
    }
}
