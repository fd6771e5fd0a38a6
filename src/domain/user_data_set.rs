//! User Data Sets: the keys that a Scheduler widget may send, and their defaults (rules U1 to U9).

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
    /// The position of each key in `keys`.
    pub(crate) positions: HashMap<Key<'static>, usize, RandomState>,
}

/// One key of a set.
#[derive(Clone, Debug)]
pub struct SetKey {
    pub(crate) name: Key<'static>,
    /// The default for a missing value.
    pub(crate) default: Option<Value<'static>>,
    /// Whether the default replaces any value that was sent. Only set with a default (U8).
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

/// The filter for the customer's pairs of one interaction.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SetFilter<'a> {
    /// No widget: own data passes (U9).
    Open,
    /// A widget with a set.
    Set(&'a UserDataSet),
    /// A widget without a set, or one that the rules do not name: nothing passes (U6, U7).
    Shut,
}

impl Widgets {
    /// The widget of this id.
    pub(crate) fn get(&self, id: &str) -> Option<&Widget> {
        self.widgets.get(id)
    }

    /// The filter for the customer's pairs of an interaction with this widget.
    pub(crate) fn gate(&self, widget: Option<&str>) -> SetFilter<'_> {
        let Some(id) = widget else { return SetFilter::Open };
        match self.get(id).and_then(|widget| widget.set).and_then(|set| self.sets.get(set)) {
            Some(set) => SetFilter::Set(set),
            None => SetFilter::Shut,
        }
    }
}

impl<'a> SetFilter<'a> {
    /// Decides about one of the customer's pairs. `Ok(true)` keeps it; `Ok(false)` means that no value was
    /// received: a `null` for a key of the set (U1, U2).
    ///
    /// # Errors
    /// The reason to drop the pair (U4 to U7).
    pub(crate) fn judge(self, key: &Key<'_>, value: &Value<'_>) -> Result<bool, DropReason> {
        match self {
            SetFilter::Open => Ok(true),
            SetFilter::Shut => Err(DropReason::NoSet),
            SetFilter::Set(set) => match set.key(key) {
                None => Err(DropReason::NotInSet),
                Some(_) if value.is_null() => Ok(false),
                Some(known) if known.replace => Err(DropReason::Overridden),
                Some(_) => Ok(true),
            },
        }
    }

    /// The defaults that replace any value sent (U4), or those that fill gaps (U1).
    pub(crate) fn defaults(self, replace: bool) -> impl Iterator<Item = (Key<'a>, Value<'a>)> {
        let keys = match self {
            SetFilter::Set(set) => set.keys.as_slice(),
            SetFilter::Open | SetFilter::Shut => &[],
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
