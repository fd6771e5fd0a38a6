//! The owner's rules, compiled: an immutable snapshot that cannot fail to apply.
//!
//! `settings::rules_file` loads them and reports every problem at once; only accepted rules reach this
//! type. A batch is processed under one snapshot.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::assign::Assign;
use super::copy_user_data::CopyUserData;
use super::digest::{Hex, sha256};
use super::history::{HistoryLists, KeyList};
use super::key_names::KeyNames;
use super::metadata::MetadataItems;
use super::source::Priority;
use super::user_data_set::Widgets;

/// The compiled rules.
#[derive(Clone, Debug)]
pub struct Rules {
    pub(crate) copy: CopyUserData,
    pub(crate) assign: Vec<Assign>,
    pub(crate) widgets: Widgets,
    pub(crate) metadata: MetadataItems,
    pub(crate) history: HistoryLists,
    /// Which keys are published, by channel (H6).
    pub(crate) allocated: HashMap<String, KeyList>,
    pub(crate) priority: Priority,
    pub(crate) key_names: KeyNameRules,
    /// Channels on which the customer's pairs of updates are dropped.
    pub(crate) customer_frozen: HashSet<String>,
    pub(crate) unknown_parent: UnknownParent,
    pub(crate) limits: Limits,
    pub(crate) revision: Revision,
}

impl Rules {
    /// The rules of an empty document: nothing is copied, nothing is saved.
    pub fn empty() -> Rules {
        Rules {
            copy: CopyUserData::none(),
            assign: Vec::new(),
            widgets: Widgets::default(),
            metadata: MetadataItems::default(),
            history: HistoryLists::default(),
            allocated: HashMap::new(),
            priority: Priority::default(),
            key_names: KeyNameRules::default(),
            customer_frozen: HashSet::from(["webchat".to_owned()]),
            unknown_parent: UnknownParent::Publish,
            limits: Limits::default(),
            revision: Revision::from_canonical("{}"),
        }
    }

    /// The revision of these rules.
    pub fn revision(&self) -> &Revision {
        &self.revision
    }
}

/// Which names keys may have: by format, else for all, else the format's own default (K6).
#[derive(Clone, Debug, Default)]
pub struct KeyNameRules {
    pub(crate) names: Option<KeyNames>,
    pub(crate) formats: HashMap<String, KeyNames>,
}

impl KeyNameRules {
    /// The check for a message of this format.
    pub(crate) fn for_format(&self, format: &str, default: KeyNames) -> KeyNames {
        self.formats.get(format).copied().or(self.names).unwrap_or(default)
    }
}

/// How a child is handled whose parent did not come in time (C9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownParent {
    /// It is published without the parent's data, and marked so.
    Publish,
    /// It becomes a dead letter.
    DeadLetter,
}

/// Sizes of the finished user data, in bytes of JSON (K7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub(crate) user_data_warn_bytes: usize,
    pub(crate) user_data_max_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        // Genesys's limits for attached data: 16,000 bytes are advised, 65,535 are the maximum.
        Limits { user_data_warn_bytes: 16_000, user_data_max_bytes: 65_535 }
    }
}

/// Identifies rules: the first 12 hex digits of the SHA-256 of their canonical form, so that all workers
/// agree on it whether the file is TOML or JSON, and however it is laid out.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Revision(String);

impl Revision {
    /// The revision of rules with this canonical form.
    pub(crate) fn from_canonical(canonical: &str) -> Revision {
        Revision(Hex(&sha256::<6>(&[canonical.as_bytes()])).to_string())
    }

    /// The twelve digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
