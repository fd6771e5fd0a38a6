//! The meaning of each section of a rules document, and which combinations are refused or odd
//! (docs/rules.md, *Loading rules*).

use std::collections::{HashMap, HashSet};

use super::document::Document;
use super::reader::{Node, Reader, Table};
use crate::domain::assign::{Assign, Assigned, Pointer};
use crate::domain::copy_user_data::{CopyFilter, CopyFilterWarning, CopyUserData, Route};
use crate::domain::history::{HistoryLists, KeyList};
use crate::domain::metadata::{MetadataItem, MetadataItems, is_line_breaking};
use crate::domain::rules::{KeyNameRules, Limits, Revision, Rules, UnknownParent};
use crate::domain::user_data_set::{SetKey, UserDataSet, Widget, Widgets};
use crate::domain::{JSON_EVENT, Key, KeyNames, Priority, Value};
use crate::formats;

/// The words for the handling of a child whose parent stays unknown (C9).
pub(super) const UNKNOWN_PARENT: [(&str, UnknownParent); 2] =
    [("publish", UnknownParent::Publish), ("dead_letter", UnknownParent::DeadLetter)];

/// Which names of keys are taken (K6).
pub(super) const KEY_NAMES: [(&str, KeyNames); 2] =
    [("any", KeyNames::Any), ("xml", KeyNames::Xml)];

/// Reads the whole document. What is refused is in the reader's problems; the rules are meaningful
/// only if there are none.
pub(super) fn rules(document: &Document, reader: &mut Reader) -> Rules {
    let mut rules = Rules::empty();
    let root = Node { json: document.as_json(), path: String::new() };
    let Some(mut root) = reader.table(&root) else { return rules };
    if let Some(mut table) = section(reader, &mut root, "copy_user_data") {
        rules.copy = copy_user_data(reader, &mut table);
        reader.done(table);
    }
    rules.assign = reader.tables(root.take("assign"), assign);
    let sets = user_data_sets(reader, root.take("user_data_set"));
    let targets = call_targets(reader, root.take("call_target"));
    let global = metadata_items(reader, root.take("metadata_item"));
    let widgets = widgets(reader, root.take("widget"), &sets, &targets);
    warn_of_gates(reader, &sets, &widgets, &targets);
    rules.widgets = Widgets { sets: sets.into_iter().map(|(_, set)| set).collect(), widgets };
    let targets = targets.into_iter().map(|target| (target.id, target.items)).collect();
    rules.metadata = MetadataItems { global, targets };
    if let Some(table) = section(reader, &mut root, "history") {
        rules.history = history(reader, table);
    }
    if let Some(mut table) = section(reader, &mut root, "allocated") {
        rules.allocated = key_lists(reader, &mut table);
        reader.done(table);
    }
    if let Some(mut table) = section(reader, &mut root, "priority") {
        rules.priority = Priority::new(reader.texts(table.take("order")));
        reader.done(table);
    }
    if let Some(mut table) = section(reader, &mut root, "keys") {
        rules.key_names = key_names(reader, &mut table);
        reader.done(table);
    }
    if let Some(mut table) = section(reader, &mut root, "updates") {
        if let Some(frozen) = table.take("customer_frozen") {
            rules.customer_frozen = reader.texts(Some(frozen)).into_iter().collect();
        }
        reader.done(table);
    }
    if let Some(mut table) = section(reader, &mut root, "parents") {
        rules.unknown_parent =
            reader.choice(table.take("unknown"), &UNKNOWN_PARENT).unwrap_or(UnknownParent::Publish);
        reader.done(table);
    }
    if let Some(mut table) = section(reader, &mut root, "limits") {
        let default = Limits::default();
        rules.limits = Limits {
            user_data_warn_bytes: reader
                .bytes(table.take("user_data_warn_bytes"), default.user_data_warn_bytes),
            user_data_max_bytes: reader
                .bytes(table.take("user_data_max_bytes"), default.user_data_max_bytes),
        };
        reader.done(table);
    }
    reader.done(root);
    rules.revision = Revision::from_canonical(&document.canonical());
    rules
}

fn section<'d>(reader: &mut Reader, root: &mut Table<'d>, name: &'static str) -> Option<Table<'d>> {
    reader.table(&root.take(name)?)
}

// ------------------------------------------------------------------------------------ copyUserData

fn copy_user_data(reader: &mut Reader, table: &mut Table<'_>) -> CopyUserData {
    let mut copy = CopyUserData::none();
    copy.filter = copy_filter(reader, table.take("value"));
    if let Some(parents) = table.take("parents") {
        copy.parents = reader.texts(Some(parents));
    }
    if let Some(children) = table.take("children") {
        copy.children = reader.texts(Some(children));
    }
    let mut pairs = HashSet::new();
    copy.routes = reader.tables(table.take("route"), |reader, table| {
        let parent = reader.required(table, "parent");
        let child = reader.required(table, "child");
        let filter = copy_filter(reader, table.take("value"));
        let (parent, child) = (parent?, child?);
        if !pairs.insert((parent.clone(), child.clone())) {
            reader.warning(
                table.path(),
                "never applies: an earlier route for the same channels comes first",
            );
        }
        Some(Route { parent, child, filter })
    });
    copy
}

fn copy_filter(reader: &mut Reader, node: Option<Node<'_>>) -> CopyFilter {
    let Some(node) = node else { return CopyFilter::None };
    let Some(text) = reader.text(&node) else { return CopyFilter::None };
    let (filter, warnings) = CopyFilter::parse(&text);
    for warning in warnings {
        reader.warning(&node.path, match warning {
            CopyFilterWarning::KeywordInList => {
                "all and no are keywords only as the whole value in lower case; here they name keys"
            }
            CopyFilterWarning::JsonEventListed => "jsonEvent is never copied, though it is listed",
        });
    }
    filter
}

// ------------------------------------------------------------------------------------------ assign

fn assign(reader: &mut Reader, table: &mut Table<'_>) -> Option<Assign> {
    let channel = reader.name(table.take("channel"));
    let key_path = table.path_of("key");
    let key = reader.required(table, "key").map(|key| Key::from_bytes(key.into_bytes()));
    if key.as_ref() == Some(&JSON_EVENT) {
        reader.problem(key_path, "jsonEvent cannot be assigned");
    }
    let what = match (table.take("from"), table.take("value")) {
        (Some(from), None) => {
            let text = reader.text(&from)?;
            match Pointer::parse(&text) {
                Ok(pointer) => Assigned::From(pointer),
                Err(error) => {
                    reader.problem(from.path, error.to_string());
                    return None;
                }
            }
        }
        (None, Some(value)) => Assigned::Constant(constant(&value)),
        (Some(_), Some(_)) | (None, None) => {
            reader.problem(table.path(), "must have either `from` or `value`");
            return None;
        }
    };
    Some(Assign { channel, key: key?, what })
}

/// A constant as written, on one line: what is published must not break a line of NDJSON. JSON has
/// line breaks between tokens only.
fn constant(node: &Node<'_>) -> Value<'static> {
    Value::from_json(node.json.replace(['\r', '\n'], " "))
}

// ------------------------------------------------------------------- sets, widgets and call targets

/// The sets with their names, in order. One that cannot be read keeps its place, so that others'
/// references to it are not called wrong.
fn user_data_sets(reader: &mut Reader, node: Option<Node<'_>>) -> Vec<(String, UserDataSet)> {
    let mut names = HashSet::new();
    reader.tables(node, |reader, table| {
        let name_path = table.path_of("name");
        let name = reader.required(table, "name").unwrap_or_default();
        if !name.is_empty() && !names.insert(name.clone()) {
            reader.problem(name_path, "is the name of an earlier set");
        }
        if let Some(description) = table.take("description") {
            reader.text(&description);
        }
        let mut set = UserDataSet::default();
        let mut folded = HashSet::new();
        for key in reader.tables(table.take("key"), set_key) {
            let position = set.keys.len();
            let name_path = format!("{}.name", key.path);
            let lower = key.name.to_lowercase();
            let name = Key::from_bytes(key.name.into_bytes());
            if set.positions.insert(name.clone(), position).is_some() {
                reader.problem(name_path, "is the name of an earlier key of this set");
            } else if !folded.insert(lower) {
                reader.warning(name_path, "differs from an earlier key only in case");
            }
            set.keys.push(SetKey { name, default: key.default, replace: key.replace });
        }
        Some((name, set))
    })
}

struct RawSetKey {
    path: String,
    name: String,
    default: Option<Value<'static>>,
    replace: bool,
}

fn set_key(reader: &mut Reader, table: &mut Table<'_>) -> Option<RawSetKey> {
    let path = table.path().to_owned();
    let name = reader.required(table, "name");
    if name.as_ref().is_some_and(|name| name.as_bytes() == JSON_EVENT.as_bytes()) {
        reader.problem(table.path_of("name"), "jsonEvent cannot be a key of a set");
    }
    let default = table.take("default").as_ref().map(constant);
    let replace = reader.flag(table.take("replace"));
    if replace && default.is_none() {
        reader.problem(&path, "replaces values but has no default to replace them with");
    }
    Some(RawSetKey { path, name: name?, default, replace })
}

struct CallTarget {
    id: String,
    path: String,
    items: Vec<MetadataItem>,
}

fn call_targets(reader: &mut Reader, node: Option<Node<'_>>) -> Vec<CallTarget> {
    let mut ids = HashSet::new();
    reader.tables(node, |reader, table| {
        let id = required_id(reader, table, &mut ids, "is the id of an earlier call target");
        let items = metadata_items(reader, table.take("metadata_item"));
        Some(CallTarget { id: id?, path: table.path().to_owned(), items })
    })
}

fn required_id(
    reader: &mut Reader,
    table: &mut Table<'_>,
    ids: &mut HashSet<String>,
    repeated: &str,
) -> Option<String> {
    let path = table.path_of("id");
    let id = reader.required(table, "id")?;
    if !ids.insert(id.clone()) {
        reader.problem(path, repeated);
    }
    Some(id)
}

fn metadata_items(reader: &mut Reader, node: Option<Node<'_>>) -> Vec<MetadataItem> {
    let mut names = HashSet::new();
    reader.tables(node, |reader, table| {
        let name_path = table.path_of("name");
        let name = reader.required(table, "name");
        if name.as_ref().is_some_and(|name| !names.insert(name.clone())) {
            reader.problem(name_path, "is the name of an earlier item of this list");
        }
        let default = table.take("default");
        let default = default.and_then(|node| {
            let text = reader.text(&node)?;
            if text.bytes().any(is_line_breaking) {
                reader.problem(node.path, "must not hold CR, LF or NUL: it becomes a header");
            }
            Some(text)
        });
        Some(MetadataItem { name: name?, default })
    })
}

fn widgets(
    reader: &mut Reader,
    node: Option<Node<'_>>,
    sets: &[(String, UserDataSet)],
    targets: &[CallTarget],
) -> HashMap<String, Widget> {
    let positions: HashMap<&str, usize> =
        sets.iter().enumerate().rev().map(|(n, (name, _))| (name.as_str(), n)).collect();
    let target_ids: HashSet<&str> = targets.iter().map(|target| target.id.as_str()).collect();
    let mut ids = HashSet::new();
    let widgets = reader.tables(node, |reader, table| {
        let id = required_id(reader, table, &mut ids, "is the id of an earlier widget");
        let set_path = table.path_of("user_data_set");
        let set = reader.name(table.take("user_data_set")).and_then(|name| {
            let position = positions.get(name.as_str()).copied();
            if position.is_none() {
                reader.problem(set_path, "names no set of these rules");
            }
            position
        });
        let target_path = table.path_of("call_target");
        let call_target = reader.name(table.take("call_target"));
        if call_target.as_ref().is_some_and(|target| !target_ids.contains(target.as_str())) {
            reader.problem(target_path, "names no call target of these rules");
        }
        Some((id?, Widget { set, call_target }))
    });
    widgets.into_iter().collect()
}

/// M3: the two gates must agree. A target's item that no set of any of its widgets defines can
/// never be filled by what a widget sends.
fn warn_of_gates(
    reader: &mut Reader,
    sets: &[(String, UserDataSet)],
    widgets: &HashMap<String, Widget>,
    targets: &[CallTarget],
) {
    let mut used: HashMap<&str, HashSet<usize>> = HashMap::new();
    for widget in widgets.values() {
        if let (Some(target), Some(set)) = (&widget.call_target, widget.set) {
            used.entry(target).or_default().insert(set);
        }
    }
    for target in targets {
        let Some(of_target) = used.get(target.id.as_str()) else { continue };
        for (n, item) in target.items.iter().enumerate() {
            let key = Key::from(item.name.as_str());
            if !of_target.iter().any(|set| sets[*set].1.key(&key).is_some()) {
                reader.warning(
                    format!("{}.metadata_item[{n}].name", target.path),
                    "no set of any widget of this target defines this key (names match exactly)",
                );
            }
        }
    }
}

// ------------------------------------------------------------------------------- lists and choices

fn history(reader: &mut Reader, mut table: Table<'_>) -> HistoryLists {
    let mut queues = HashMap::new();
    // So no channel can be called `queue` (H2).
    reader.tables(table.take("queue"), |reader, table| {
        let name_path = table.path_of("queue");
        let queue = reader.required(table, "queue");
        let keys_path = table.path_of("keys");
        let keys = match table.take("keys") {
            Some(node) => key_list(reader, node),
            None => {
                reader.problem(keys_path, "is required");
                None
            }
        };
        if queues.insert(queue?, keys.unwrap_or_default()).is_some() {
            reader.problem(name_path, "is the queue of an earlier entry");
        }
        Some(())
    });
    let channels = key_lists(reader, &mut table);
    reader.done(table);
    HistoryLists { channels, queues }
}

fn key_lists(reader: &mut Reader, table: &mut Table<'_>) -> HashMap<String, KeyList> {
    let lists = table.take_rest();
    lists
        .into_iter()
        .filter_map(|(channel, node)| Some((channel, key_list(reader, node)?)))
        .collect()
}

/// A comma-separated string, or an array whose entries count as they are (H2).
fn key_list(reader: &mut Reader, node: Node<'_>) -> Option<KeyList> {
    match node.json.as_bytes().first() {
        Some(b'"') => Some(KeyList::from_text(&reader.text(&node)?)),
        Some(b'[') => {
            let keys = reader.texts(Some(node));
            Some(KeyList::new(keys.iter().map(String::as_bytes)))
        }
        _ => {
            reader.problem(node.path, "must be an array of keys or a comma-separated string");
            None
        }
    }
}

fn key_names(reader: &mut Reader, table: &mut Table<'_>) -> KeyNameRules {
    let names = reader.choice(table.take("names"), &KEY_NAMES);
    let mut by_format = HashMap::new();
    if let Some(mut table) = section(reader, table, "formats") {
        for format in formats::decodable() {
            if let Some(names) = reader.choice(table.take(format), &KEY_NAMES) {
                by_format.insert(format.to_owned(), names);
            }
        }
        reader.done(table);
    }
    KeyNameRules { names, formats: by_format }
}
