//! The report on a message and its pairs: origins, drop reasons, warnings.
//!
//! These words are a contract: messages, dead letters, metrics and case files hold them. None of
//! them ever carries a value (K8).

use indexmap::IndexSet;

use super::identity::Identity;
use super::key_map::KeyMap;
use super::value::Key;

/// Declares an enum of fixed words, each with its text form.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every word, in the order of docs/rules.md.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The word as messages, headers, metrics and case files spell it.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }

            /// The value behind a word.
            pub fn from_word(word: &str) -> Option<$name> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Where a published pair came from (P2).
    Origin {
        /// It came with a message of this interaction.
        Received = "received",
        /// An `[[assign]]` entry set it (A1).
        Assigned = "assigned",
        /// It came from the parent (C1 to C8).
        Copied = "copied",
        /// A User Data Set's default filled it in (U1).
        Defaulted = "defaulted",
        /// A User Data Set's default took its place (U4).
        Replaced = "replaced",
    }
}

words! {
    /// Why a pair is not published under its own value (P2).
    DropReason {
        /// The widget's set does not define the key (U5).
        NotInSet = "not_in_set",
        /// The widget has no set, or is unknown (U6, U7).
        NoSet = "no_set",
        /// The copy filter does not select the key (C1).
        NotListed = "not_listed",
        /// `jsonEvent` is never copied (A2, C4).
        NeverCopied = "never_copied",
        /// A stronger pair has the key (P1, C6).
        Overridden = "overridden",
        /// The key is empty, or no XML element name where one is required (K6).
        InvalidKey = "invalid_key",
        /// The customer's data is frozen on this channel.
        Frozen = "frozen",
        /// The channel's allocated list does not name the key (H6).
        NotAllocated = "not_allocated",
    }
}

words! {
    /// Something noteworthy that did not stop a message.
    WarningCode {
        /// A key stood twice in one container; the last won (K4).
        DuplicateKey = "duplicate_key",
        /// A typed array named an unknown type (K4).
        UnknownType = "unknown_type",
        /// The finished data is above `limits.user_data_warn_bytes` (K7).
        UserDataLarge = "user_data_large",
        /// The rules do not name the widget (U7).
        WidgetUnknown = "widget_unknown",
        /// A metadata item's value is no text that a header can carry (M2).
        MetadataLeftOut = "metadata_left_out",
        /// A listed value is an object or an array (H4).
        HistoryNested = "history_nested",
        /// A listed value is text that a database cannot hold (H4).
        HistoryUnstorable = "history_unstorable",
        /// Pairs from the customer came for a frozen channel.
        Frozen = "frozen",
        /// A message came after its interaction's end.
        AfterEnd = "after_end",
        /// An update or an end of an interaction that is not stored.
        InteractionUnknown = "interaction_unknown",
        /// An end came with data.
        AttachedDataIgnored = "attached_data_ignored",
        /// A vendor's metadata string held no map.
        MetadataNotAMap = "metadata_not_a_map",
        /// A widget's lifecycle came out of its documented order.
        LifecycleOrder = "lifecycle_order",
        /// A member that is not read was called like user data, and was not carried through (K5).
        LooksLikeUserData = "looks_like_user_data",
    }
}

words! {
    /// Why a message is set aside.
    RejectReason {
        /// Not UTF-8, not JSON, or nested deeper than 128 levels.
        NotJson = "not_json",
        /// No known shape, or a named member missing, twice, of the wrong type or too long.
        NotAnInteraction = "not_an_interaction",
        /// `interaction.` and something else.
        UnsupportedType = "unsupported_type",
        /// User data that is no map (K4).
        UserDataNotAMap = "user_data_not_a_map",
        /// The finished data (K7) or the body is too large.
        TooLarge = "too_large",
        /// The parent did not come in time, and the rules require it (C9).
        ParentUnknown = "parent_unknown",
        /// The interaction of an update did not come in time.
        InteractionUnknown = "interaction_unknown",
        /// A webhook's signature does not match.
        BadSignature = "bad_signature",
        /// A property, the name of a header or the routing key is not UTF-8.
        Undecodable = "undecodable",
        /// The broker cannot hand it over; it sets the message aside itself.
        Undeliverable = "undeliverable",
        /// No queue is bound for the published message.
        Unroutable = "unroutable",
        /// Tried as often as may be.
        AttemptsExhausted = "attempts_exhausted",
        /// A fault of our own.
        Internal = "internal",
    }
}

/// A warning, and the key that it concerns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Warning {
    /// The kind of warning.
    pub code: WarningCode,
    /// The key's name, where it is about a key.
    pub key: Option<String>,
}

impl Warning {
    /// A warning about the message as a whole.
    pub fn new(code: WarningCode) -> Warning {
        Warning { code, key: None }
    }

    /// A warning about one key.
    pub fn about(code: WarningCode, key: impl std::fmt::Display) -> Warning {
        Warning { code, key: Some(key.to_string()) }
    }
}

/// The interaction or parent that a message waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitFor<'a> {
    /// Its parent, which it may have overtaken (C9).
    Parent(Identity<'a>),
    /// Its own interaction: an update or an end that came first.
    Interaction(Identity<'a>),
}

impl<'a> WaitFor<'a> {
    /// The interaction that must come first.
    pub fn on(&self) -> &Identity<'a> {
        match self {
            WaitFor::Parent(on) | WaitFor::Interaction(on) => on,
        }
    }
}

/// The warnings of a message, and its pairs that are not published.
#[derive(Clone, Debug, Default)]
pub struct Report<'a> {
    /// Each once: a key that occurs a thousand times gives one warning.
    warnings: IndexSet<Warning>,
    /// In the order of reporting; most messages never need it.
    dropped: Vec<(Key<'a>, DropReason)>,
}

impl<'a> Report<'a> {
    /// Notes a warning.
    pub(crate) fn warn(&mut self, warning: Warning) {
        self.warnings.insert(warning);
    }

    /// Notes that a pair is not published.
    pub(crate) fn drop(&mut self, key: Key<'a>, reason: DropReason) {
        self.dropped.push((key, reason));
    }

    /// Takes over what another report noted, without a borrow of what that was about.
    pub(crate) fn take_owned(&mut self, other: Report<'_>) {
        self.warnings.extend(other.warnings);
        let dropped = other.dropped.into_iter();
        self.dropped.extend(dropped.map(|(key, reason)| (key.into_owned(), reason)));
    }

    /// The warnings, in the order they were met.
    pub fn warnings(&self) -> impl ExactSizeIterator<Item = &Warning> {
        self.warnings.iter()
    }

    /// The keys of pairs that are not published, each with one reason: the first that was met, but for
    /// `not_allocated`, which says that in the end no pair of the key is published at all.
    pub fn dropped(&self) -> impl ExactSizeIterator<Item = (Key<'a>, DropReason)> {
        let mut dropped = KeyMap::default();
        for (key, reason) in &self.dropped {
            if let Err(noted) = dropped.insert(key.clone(), *reason)
                && *reason == DropReason::NotAllocated
            {
                *noted.there = *reason;
            }
        }
        dropped.into_pairs().into_iter()
    }
}
