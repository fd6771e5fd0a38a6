//! The identity of an interaction: tenant and id. Every store is keyed by it.

use std::borrow::Cow;
use std::fmt;

/// An interaction's identity: its tenant and its id (docs/rules.md, *Words*).
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
