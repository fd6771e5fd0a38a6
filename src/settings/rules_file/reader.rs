//! Walks a document: every value knows its path, every problem is kept, nothing stops at the first.
//!
//! `null` counts as absent everywhere, and so does an empty string where a name or an id is meant.
//! A problem names the expected value, never the actual one: defaults may be customer data (K8).

use std::collections::HashSet;
use std::fmt;

use super::Problem;
use crate::domain::json::{RawJson, elements, members};
use crate::domain::json_string::string_bytes;
use crate::domain::value::{Kind, kind};

/// Collects problems and warnings while a document is walked.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

/// A value of the document, and where it stands. `Debug` gives the place only (K8).
#[derive(Clone)]
pub(crate) struct Node<'d> {
    pub(crate) json: &'d str,
    pub(crate) path: String,
}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

/// An object of the document whose members are taken one by one; what is left in the end is unknown.
#[derive(Debug)]
pub(crate) struct Table<'d> {
    path: String,
    members: Vec<(String, Node<'d>)>,
    known: Vec<&'static str>,
}

impl Reader {
    /// The problems and the warnings.
    pub(crate) fn finish(self) -> (Vec<Problem>, Vec<Problem>) {
        (self.problems, self.warnings)
    }

    /// Notes a problem.
    pub(crate) fn problem(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { path: path.into(), message: message.into() });
    }

    /// Notes a warning.
    pub(crate) fn warning(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.warnings.push(Problem { path: path.into(), message: message.into() });
    }

    /// The node as a table.
    pub(crate) fn table<'d>(&mut self, node: &Node<'d>) -> Option<Table<'d>> {
        let Some(given) = members(node.json) else {
            self.problem(&node.path, "must be a table");
            return None;
        };
        let mut table = Table { path: node.path.clone(), members: Vec::new(), known: Vec::new() };
        let mut seen = HashSet::new();
        for (key, raw) in given {
            let name = key.to_string();
            let path = match node.path.as_str() {
                "" => name.clone(),
                path => format!("{path}.{name}"),
            };
            if !seen.insert(key) {
                self.problem(&path, "is given twice");
            }
            if kind(raw.get()) != Kind::Null {
                table.members.push((name, Node { json: raw.get(), path }));
            }
        }
        Some(table)
    }

    /// Says of every member that was not taken that it is unknown.
    pub(crate) fn done(&mut self, table: Table<'_>) {
        for (_, node) in table.members {
            self.problem(node.path, format!("unknown key; known here: {}", table.known.join(", ")));
        }
    }

    /// The node as an array of tables, each read by `read`; those that are none are noted.
    pub(crate) fn tables<'d, T>(
        &mut self,
        node: Option<Node<'d>>,
        mut read: impl FnMut(&mut Reader, &mut Table<'d>) -> Option<T>,
    ) -> Vec<T> {
        let mut items = Vec::new();
        for node in self.elements(node) {
            if let Some(mut table) = self.table(&node) {
                items.extend(read(self, &mut table));
                self.done(table);
            }
        }
        items
    }

    /// The node's elements; none if it is absent or no array.
    pub(crate) fn elements<'d>(&mut self, node: Option<Node<'d>>) -> Vec<Node<'d>> {
        let Some(node) = node else { return Vec::new() };
        let Some(given) = elements(node.json) else {
            self.problem(&node.path, "must be an array");
            return Vec::new();
        };
        let place = |(n, raw): (usize, RawJson<'d>)| Node {
            json: raw.get(),
            path: format!("{}[{n}]", node.path),
        };
        given.into_iter().enumerate().map(place).collect()
    }

    /// The node as a string.
    pub(crate) fn text(&mut self, node: &Node<'_>) -> Option<String> {
        let text = string_bytes(node.json).and_then(|bytes| String::from_utf8(bytes.into()).ok());
        if text.is_none() {
            self.problem(&node.path, "must be a string");
        }
        text
    }

    /// The node as a list of strings.
    pub(crate) fn texts(&mut self, node: Option<Node<'_>>) -> Vec<String> {
        self.elements(node).iter().filter_map(|node| self.text(node)).collect()
    }

    /// The node as `true` or `false`; absent is `false`.
    pub(crate) fn flag(&mut self, node: Option<Node<'_>>) -> bool {
        let Some(node) = node else { return false };
        if kind(node.json) != Kind::Bool {
            self.problem(&node.path, "must be true or false");
        }
        node.json == "true"
    }

    /// The node as a number of bytes.
    pub(crate) fn bytes(&mut self, node: Option<Node<'_>>, default: usize) -> usize {
        let Some(node) = node else { return default };
        node.json.parse().unwrap_or_else(|_| {
            self.problem(&node.path, "must be a whole number of bytes, 0 or more");
            default
        })
    }

    /// The node as one of the words.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        node: Option<Node<'_>>,
        words: &[(&str, T)],
    ) -> Option<T> {
        let node = node?;
        let text = string_bytes(node.json);
        let found = words.iter().find(|(word, _)| text.as_deref() == Some(word.as_bytes()));
        if found.is_none() {
            let words: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            self.problem(&node.path, format!("must be {}", words.join(" or ")));
        }
        found.map(|(_, value)| *value)
    }

    /// A name or an id that may be absent; empty counts as absent.
    pub(crate) fn name(&mut self, node: Option<Node<'_>>) -> Option<String> {
        let text = self.text(&node?)?;
        (!text.is_empty()).then_some(text)
    }

    /// A name or an id that must be there.
    pub(crate) fn required(&mut self, table: &mut Table<'_>, key: &'static str) -> Option<String> {
        let path = table.path_of(key);
        match table.take(key) {
            None => {
                self.problem(path, "is required");
                None
            }
            Some(node) => {
                let text = self.text(&node)?;
                if text.is_empty() {
                    self.problem(path, "must not be empty");
                }
                (!text.is_empty()).then_some(text)
            }
        }
    }
}

impl<'d> Table<'d> {
    /// Takes a member out; absent and `null` are the same.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<Node<'d>> {
        self.known.push(key);
        let position = self.members.iter().position(|(name, _)| name == key)?;
        Some(self.members.remove(position).1)
    }

    /// Takes all that is left, for tables whose keys are names of the owner's.
    pub(crate) fn take_rest(&mut self) -> Vec<(String, Node<'d>)> {
        std::mem::take(&mut self.members)
    }

    /// The path of the table.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The path of a member.
    pub(crate) fn path_of(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }
}
