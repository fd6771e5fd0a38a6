//! What changes for whom when rules are replaced by others: in words, from the compiled rules.
//!
//! The comparison is of what rules do, not of how they are written: names of sets, the order of sections
//! and a list that is spelled otherwise are no changes. Those that the same change affects are
//! named together. Constants of the rules are shown, since they stand in the rules file; there is no data of
//! customers here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use indexmap::IndexMap;

use crate::domain::KeyNames;
use crate::domain::Rules;
use crate::domain::assign::{Assign, Assigned};
use crate::domain::copy_user_data::CopyFilter;
use crate::domain::history::KeyList;
use crate::domain::metadata::{MetadataItem, MetadataItems};
use crate::domain::rules::UnknownParent;
use crate::domain::user_data::KeySet;
use crate::domain::user_data_set::{SetFilter, SetKey, Widgets};
use crate::domain::value::Key;

/// One change, and all whom it is for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// The section of the rules that it belongs to.
    pub section: &'static str,
    /// For whom: channels, pairs of channels, widgets, call targets, queues; never empty.
    pub who: Vec<String>,
    /// The change: a sentence without its subject.
    pub what: String,
}

/// Everything that changes, in the order in which rules are applied.
pub fn changes(old: &Rules, new: &Rules) -> Vec<Change> {
    let mut found = Changes::default();
    key_names(old, new, &mut found);
    assign(&old.assign, &new.assign, &mut found);
    sets(&old.widgets, &new.widgets, &mut found);
    copy(old, new, &mut found);
    priority(old, new, &mut found);
    metadata(&old.metadata, &new.metadata, &mut found);
    let (before, after) = (&old.history, &new.history);
    lists("history", "channel", &before.channels, &after.channels, &SAVED, &mut found);
    lists("history", "queue", &before.queues, &after.queues, &SAVED_OF_QUEUE, &mut found);
    lists("allocated", "channel", &old.allocated, &new.allocated, &PUBLISHED, &mut found);
    life(old, new, &mut found);
    found.0.into_iter().map(|((section, what), who)| Change { section, who, what }).collect()
}

/// Changes as they are found: the same one for several is one.
#[derive(Default)]
struct Changes(IndexMap<(&'static str, String), Vec<String>>);

impl Changes {
    fn add(&mut self, section: &'static str, who: impl Into<String>, what: impl Into<String>) {
        self.0.entry((section, what.into())).or_default().push(who.into());
    }
}

/// Whom the named ones leave: a rule without a name is for all.
const EVERYONE: &str = "every interaction";

// --------------------------------------------------------------------------------- what comes in

fn key_names(old: &Rules, new: &Rules, found: &mut Changes) {
    let (old, new) = (&old.key_names, &new.key_names);
    let word = |names: Option<KeyNames>| match names {
        Some(KeyNames::Any) => "any key but the empty one is taken (K6)",
        Some(KeyNames::Xml) => "only keys that are XML element names are taken (K6)",
        None => "which keys are taken is for the message's format to say (K6)",
    };
    if old.names != new.names {
        found.add("keys", "every format without a line of its own", word(new.names));
    }
    for format in names(&old.formats, &new.formats) {
        let (before, after) = (old.formats.get(format), new.formats.get(format));
        if before != after {
            found.add("keys", format!("format {format}"), word(after.copied().or(new.names)));
        }
    }
}

fn assign(old: &[Assign], new: &[Assign], found: &mut Changes) {
    let named = |entries: &[Assign]| -> BTreeSet<String> {
        entries.iter().filter_map(|entry| entry.channel.clone()).collect()
    };
    let mut channels: Vec<_> = named(old).union(&named(new)).cloned().map(Some).collect();
    // Last, and only once, what is assigned on channels that no entry names.
    channels.push(None);
    for channel in channels {
        let (before, after) = (assigned_on(old, &channel), assigned_on(new, &channel));
        let who = match &channel {
            Some(name) => format!("channel {name}"),
            None => "every other channel".to_owned(),
        };
        for (key, what) in &after {
            match before.get(key) {
                Some(same) if same == what => {}
                Some(other) => {
                    found.add("assign", &who, format!("`{key}` is {what}; it was {other}"));
                }
                None => found.add("assign", &who, format!("`{key}` is now {what}")),
            }
        }
        for key in before.keys().filter(|key| !after.contains_key(*key)) {
            found.add("assign", &who, format!("`{key}` is no longer assigned"));
        }
        // An entry sees what earlier ones assigned (A1), so their order counts.
        let common = |own: &IndexMap<String, String>, other: &IndexMap<String, String>| {
            own.keys().filter(|key| other.contains_key(*key)).cloned().collect::<Vec<_>>()
        };
        let order = common(&after, &before);
        if order != common(&before, &after) {
            let order = order.join("`, `");
            found.add("assign", &who, format!("the order of assignments is now `{order}`"));
        }
    }
}

/// Keys and what they are assigned on a channel; of several entries for a key the last one counts,
/// unless its pointer finds nothing, so all are told.
fn assigned_on(entries: &[Assign], channel: &Option<String>) -> IndexMap<String, String> {
    let mut assigned = IndexMap::<String, String>::new();
    for entry in entries {
        if entry.channel.is_some() && entry.channel != *channel {
            continue;
        }
        let what = match &entry.what {
            Assigned::From(pointer) => format!("assigned what stands at {pointer}"),
            Assigned::Constant(value) => format!("assigned {}", value.as_json()),
        };
        assigned
            .entry(entry.key.to_string())
            .and_modify(|earlier| *earlier = format!("{earlier}, then {what}"))
            .or_insert(what);
    }
    assigned
}

fn sets(old: &Widgets, new: &Widgets, found: &mut Changes) {
    for widget in names(&old.widgets, &new.widgets) {
        let who = format!("widget {widget}");
        let mut add = |what: String| found.add("user_data_set", &who, what);
        let target = |widgets: &Widgets| widgets.get(widget).and_then(|w| w.call_target.clone());
        match (old.get(widget), new.get(widget)) {
            (None, Some(_)) => add("is known now".to_owned()),
            (Some(_), None) => add("is not known any more (U7)".to_owned()),
            _ => {}
        }
        match (target(old), target(new)) {
            (before, after) if before == after => {}
            (_, Some(target)) => add(format!("leads to the call target {target}")),
            (_, None) => add("leads to no call target any more".to_owned()),
        }
        match (old.gate(Some(widget)), new.gate(Some(widget))) {
            (SetFilter::Set(before), SetFilter::Set(after)) => {
                for key in &after.keys {
                    set_key(before.key(&key.name), key, &mut add);
                }
                for key in before.keys.iter().filter(|key| after.key(&key.name).is_none()) {
                    add(format!("`{}` is dropped (U5)", key.name));
                }
            }
            (SetFilter::Set(_), _) => {
                add("everything that is submitted is dropped (U6)".to_owned());
            }
            (_, SetFilter::Set(after)) => {
                let keys: Vec<_> = after.keys.iter().map(|key| key.name.reborrow()).collect();
                add(format!("has a set now: {}", listed(&keys)));
                for key in &after.keys {
                    set_default(key, &mut add);
                }
            }
            _ => {}
        }
    }
}

fn set_key(before: Option<&SetKey>, key: &SetKey, add: &mut impl FnMut(String)) {
    let Some(before) = before else {
        add(format!("`{}` may be sent now", key.name));
        return set_default(key, add);
    };
    let json = |key: &SetKey| key.default.as_ref().map(|value| value.as_json().to_owned());
    if json(before) == json(key) && before.replace == key.replace {
        return;
    }
    match (&key.default, before.replace && !key.replace) {
        (None, _) => add(format!("`{}` has no default any more, and stays out (U2)", key.name)),
        (Some(_), true) => {
            add(format!("`{}` is no longer replaced: what is sent is kept (U3)", key.name));
            if json(before) != json(key) {
                set_default(key, add);
            }
        }
        (Some(_), false) => set_default(key, add),
    }
}

fn set_default(key: &SetKey, add: &mut impl FnMut(String)) {
    let Some(default) = &key.default else { return };
    let default = default.as_json();
    add(match key.replace {
        true => format!("`{}` is always replaced by {default} (U4)", key.name),
        false => format!("`{}` is {default} where it is not sent (U1)", key.name),
    });
}

fn copy(old: &Rules, new: &Rules, found: &mut Changes) {
    let (old, new) = (&old.copy, &new.copy);
    let mut pairs = BTreeSet::new();
    for copy in [old, new] {
        for parent in &copy.parents {
            pairs.extend(copy.children.iter().map(|child| (parent, child)));
        }
        pairs.extend(copy.routes.iter().map(|route| (&route.parent, &route.child)));
    }
    for (parent, child) in pairs {
        let who = format!("{parent} → {child}");
        let mut add = |what: String| found.add("copy_user_data", &who, what);
        match (old.between(parent, child), new.between(parent, child)) {
            (before, after) if same_filter(before, after) => {}
            (CopyFilter::Keys(before), CopyFilter::Keys(after)) => {
                let only = |own: &KeySet, other: &KeySet| {
                    own.difference(other).map(|key| Key::from_bytes(key.to_vec())).collect()
                };
                let (gone, come): (Vec<_>, Vec<_>) = (only(before, after), only(after, before));
                if !gone.is_empty() {
                    add(format!("{} is not copied any more", listed(&gone)));
                }
                if !come.is_empty() {
                    add(format!("{} is copied, too", listed(&come)));
                }
            }
            (_, CopyFilter::None) => add("nothing is copied any more".to_owned()),
            (_, CopyFilter::All) => add("everything but jsonEvent is copied".to_owned()),
            (before, CopyFilter::Keys(keys)) => {
                let keys: Vec<_> = keys.iter().map(|key| Key::from_bytes(key.to_vec())).collect();
                let only = if *before == CopyFilter::All { "only " } else { "" };
                add(format!("{only}{} is copied", listed(&keys)));
            }
        }
    }
}

/// The order of listed keys has no effect.
fn same_filter(before: &CopyFilter, after: &CopyFilter) -> bool {
    match (before, after) {
        (CopyFilter::Keys(before), CopyFilter::Keys(after)) => {
            before.len() == after.len() && before.iter().all(|key| after.contains(key))
        }
        (before, after) => before == after,
    }
}

fn priority(old: &Rules, new: &Rules, found: &mut Changes) {
    if old.priority != new.priority {
        let order = new.priority.names().collect::<Vec<_>>().join(" over ");
        found.add("priority", EVERYONE, format!("of several sources: {order} (P1)"));
    }
}

// ------------------------------------------------------------------------------------ what goes out

fn metadata(old: &MetadataItems, new: &MetadataItems, found: &mut Changes) {
    for target in names(&old.targets, &new.targets) {
        let who = format!("call target {target}");
        items(&who, old.of_target(target).collect(), new.of_target(target).collect(), found);
    }
    let all = "every other call target";
    items(all, old.global.iter().collect(), new.global.iter().collect(), found);
}

fn items(who: &str, old: Vec<&MetadataItem>, new: Vec<&MetadataItem>, found: &mut Changes) {
    let by_name = |items: Vec<&MetadataItem>| -> BTreeMap<String, Option<String>> {
        items.into_iter().map(|item| (item.name.clone(), item.default.clone())).collect()
    };
    let (old, new) = (by_name(old), by_name(new));
    for (name, default) in &new {
        let or = match default {
            Some(default) => format!(", or {default:?} where it is missing (M1)"),
            None => " (M1)".to_owned(),
        };
        match old.get(name) {
            Some(same) if same == default => {}
            Some(_) if default.is_none() => {
                found.add("metadata", who, format!("`{name}` has no default any more{or}"));
            }
            Some(_) => found.add("metadata", who, format!("`{name}` is passed on{or}")),
            None => found.add("metadata", who, format!("`{name}` is passed on now{or}")),
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        found.add("metadata", who, format!("`{name}` is not passed on any more"));
    }
}

/// The words for changes to a list of keys.
struct ListWords {
    gone: &'static str,
    come: &'static str,
    /// The list is the first there is; the keys follow.
    first: &'static str,
    /// There is no list any more.
    none: &'static str,
}

const SAVED: ListWords = ListWords {
    gone: "is not saved any more",
    come: "is saved, too",
    first: "what is saved now: ",
    none: "nothing is saved any more (H1)",
};
const SAVED_OF_QUEUE: ListWords = ListWords {
    first: "has a list of its own now: ",
    none: "goes by its channel's list again (H2)",
    ..SAVED
};
const PUBLISHED: ListWords = ListWords {
    gone: "is not published any more",
    come: "is published, too",
    first: "of user data only this is published now: ",
    none: "all user data is published again (H6)",
};

fn lists(
    section: &'static str,
    kind: &str,
    old: &HashMap<String, KeyList>,
    new: &HashMap<String, KeyList>,
    words: &ListWords,
    found: &mut Changes,
) {
    for name in names(old, new) {
        let who = format!("{kind} {name}");
        match (old.get(name), new.get(name)) {
            (Some(before), Some(after)) => {
                let gone: Vec<_> = before.iter().filter(|key| !after.contains(key)).collect();
                let come: Vec<_> = after.iter().filter(|key| !before.contains(key)).collect();
                if !gone.is_empty() {
                    found.add(section, &who, format!("{} {}", listed(&gone), words.gone));
                }
                if !come.is_empty() {
                    found.add(section, &who, format!("{} {}", listed(&come), words.come));
                }
            }
            (None, Some(after)) => {
                let keys: Vec<_> = after.iter().collect();
                found.add(section, &who, format!("{}{}", words.first, listed(&keys)));
            }
            (Some(_), None) => found.add(section, &who, words.none),
            (None, None) => {}
        }
    }
}

// ------------------------------------------------------------------------------------------ the rest

fn life(old: &Rules, new: &Rules, found: &mut Changes) {
    let channel = |name: &String| format!("channel {name}");
    for name in sorted(new.customer_frozen.difference(&old.customer_frozen)) {
        found.add("updates", channel(name), "what the customer sends in updates is dropped");
    }
    for name in sorted(old.customer_frozen.difference(&new.customer_frozen)) {
        found.add("updates", channel(name), "what the customer sends in updates is taken");
    }
    if old.unknown_parent != new.unknown_parent {
        let what = match new.unknown_parent {
            UnknownParent::Publish => "is published without its data (C9)",
            UnknownParent::DeadLetter => "is set aside (C9)",
        };
        found.add("parents", "a child whose parent does not come", what);
    }
    for (before, after, what) in [
        (old.limits.user_data_warn_bytes, new.limits.user_data_warn_bytes, "is warned about"),
        (old.limits.user_data_max_bytes, new.limits.user_data_max_bytes, "is rejected"),
    ] {
        if before != after {
            found.add("limits", EVERYONE, format!("user data above {after} bytes {what} (K7)"));
        }
    }
}

/// The names on either side, sorted.
fn names<'a, T>(old: &'a HashMap<String, T>, new: &'a HashMap<String, T>) -> BTreeSet<&'a String> {
    old.keys().chain(new.keys()).collect()
}

fn sorted<'a>(names: impl Iterator<Item = &'a String>) -> BTreeSet<&'a String> {
    names.collect()
}

fn listed(keys: &[Key<'_>]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
    if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") }
}
