//! User Data Sets: what a Scheduler widget may send, and what it sends when it says nothing (rules
//! U1 to U9).

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::report::DropReason;
use super::value::{Key, Value};

/// The widgets and their sets.
#[derive(Clone, Debug, Default)]
pub struct Widgets {
    pub(crate) sets: Vec<UserDataSet>,
    pub(crate) widgets: HashMap<String, Widget>,
}

/// A named list of keys that a widget may send.
#[derive(Clone, Debug, Default)]
pub struct UserDataSet {
    /// The keys, in the order of the rules.
    pub(crate) keys: Vec<SetKey>,
    /// Where each key stands in `keys`.
    pub(crate) positions: HashMap<Key<'static>, usize, RandomState>,
}

/// One key of a set.
#[derive(Clone, Debug)]
pub struct SetKey {
    pub(crate) name: Key<'static>,
    /// What stands in for a missing value.
    pub(crate) default: Option<Value<'static>>,
    /// Whether the default takes the place of whatever was sent. Only ever set with a default (U8).
    pub(crate) replace: bool,
}

/// A Scheduler widget.
#[derive(Clone, Debug, Default)]
pub struct Widget {
    /// Its set, by position in [`Widgets::sets`].
    pub(crate) set: Option<usize>,
    /// Its call target.
    pub(crate) call_target: Option<String>,
}

/// What governs the customer's pairs of one interaction.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Gate<'a> {
    /// No widget: own data passes (U9).
    Open,
    /// A widget with a set.
    Set(&'a UserDataSet),
    /// A widget without a set, or one that the rules do not know: nothing passes (U6, U7).
    Shut,
}

impl Widgets {
    /// The widget of this id.
    pub(crate) fn get(&self, id: &str) -> Option<&Widget> {
        self.widgets.get(id)
    }

    /// The gate for the customer's pairs of an interaction with this widget.
    pub(crate) fn gate(&self, widget: Option<&str>) -> Gate<'_> {
        let Some(id) = widget else { return Gate::Open };
        match self.get(id).and_then(|widget| widget.set).and_then(|set| self.sets.get(set)) {
            Some(set) => Gate::Set(set),
            None => Gate::Shut,
        }
    }
}

impl<'a> Gate<'a> {
    /// Judges one customer pair. `Ok(true)` keeps it; `Ok(false)` means that nothing was received,
    /// a `null` for a key of the set (U1, U2).
    ///
    /// # Errors
    /// The reason for which the pair is dropped (U4 to U7).
    pub(crate) fn judge(self, key: &Key<'_>, value: &Value<'_>) -> Result<bool, DropReason> {
        match self {
            Gate::Open => Ok(true),
            Gate::Shut => Err(DropReason::NoSet),
            Gate::Set(set) => match set.key(key) {
                None => Err(DropReason::NotInSet),
                Some(_) if value.is_null() => Ok(false),
                Some(known) if known.replace => Err(DropReason::Overridden),
                Some(_) => Ok(true),
            },
        }
    }

    /// The defaults that take the place of anything sent (U4), or those that fill gaps (U1).
    pub(crate) fn defaults(self, replace: bool) -> impl Iterator<Item = (Key<'a>, Value<'a>)> {
        let keys = match self {
            Gate::Set(set) => set.keys.as_slice(),
            Gate::Open | Gate::Shut => &[],
        };
        keys.iter().filter(move |key| key.replace == replace).filter_map(|key| {
            key.default.as_ref().map(|default| (key.name.reborrow(), default.reborrow()))
        })
    }
}

impl UserDataSet {
    /// The set's key of exactly this name (K1).
    pub(crate) fn key(&self, name: &Key<'_>) -> Option<&SetKey> {
        self.positions.get(name.as_bytes()).and_then(|position| self.keys.get(*position))
    }
}
