//! An interaction: who it is, what is known of it besides its user data, and where it stands in
//! its life.
//!
//! Nothing here is user data. Channels, queues, widgets and call targets are open sets of strings,
//! never enums: vendors invent new ones without asking.

use std::borrow::Cow;
use std::fmt;

/// An interaction's identity: its tenant and its id (`domain.md`, *Words*).
///
/// An absent tenant is the empty string: the tenant without a name. Ordered by tenant, then id;
/// every store locks rows in this order, so that two workers cannot wait for each other in a ring.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity<'a> {
    /// The tenant, `""` for the one without a name.
    pub tenant: Cow<'a, str>,
    /// The interaction's id within the tenant.
    pub id: Cow<'a, str>,
}

impl Identity<'_> {
    /// The same identity, owning its strings.
    pub fn to_owned(&self) -> Identity<'static> {
        Identity {
            tenant: Cow::Owned(self.tenant.to_string()),
            id: Cow::Owned(self.id.to_string()),
        }
    }
}

impl fmt::Debug for Identity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Identity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tenant.as_ref() {
            "" => write!(f, "{}", self.id),
            tenant => write!(f, "{tenant}/{}", self.id),
        }
    }
}

/// Where an interaction stands in its life (`domain.md`, *Life of an interaction*).
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
