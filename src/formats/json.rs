//! Writes JSON into one buffer, on one line, values as they came (K2).
//!
//! It does not check for repeated members; its callers have to avoid them.

use crate::domain::json_string::write_json_string;

/// An object that is being written.
pub(super) struct Json {
    out: Vec<u8>,
    /// Whether the object or array that is open holds nothing yet.
    first: bool,
}

impl Json {
    /// Opens an object.
    pub(super) fn open() -> Json {
        // Most messages are a kilobyte or two.
        let mut out = Vec::with_capacity(2048);
        out.push(b'{');
        Json { out, first: true }
    }

    /// Closes it.
    pub(super) fn close(mut self) -> Vec<u8> {
        self.out.push(b'}');
        self.out
    }

    /// How much is written so far, in bytes.
    pub(super) fn written_bytes(&self) -> usize {
        self.out.len()
    }

    /// Begins a member; its value is to follow. Names are constants that JSON does not escape.
    pub(super) fn name(&mut self, name: &'static str) -> &mut Json {
        self.key(|out| quote(name, out))
    }

    /// Begins a member whose name `write` writes.
    pub(super) fn key(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> &mut Json {
        self.separate();
        write(&mut self.out);
        self.out.push(b':');
        self
    }

    /// Begins an element of an array; its value is to follow.
    pub(super) fn element(&mut self) -> &mut Json {
        self.separate();
        self
    }

    /// The members of an object that has been written before.
    pub(super) fn members_of(&mut self, object: &[u8]) {
        let members = &object[1..object.len() - 1];
        if !members.is_empty() {
            self.separate();
            self.out.extend_from_slice(members);
        }
    }

    /// A string.
    pub(super) fn text(&mut self, text: &str) {
        write_json_string(text.as_bytes(), &mut self.out);
    }

    /// A string constant that JSON does not escape.
    pub(super) fn word(&mut self, word: &'static str) {
        quote(word, &mut self.out);
    }

    /// A value as it stands.
    pub(super) fn raw(&mut self, json: &str) {
        self.out.extend_from_slice(json.as_bytes());
    }

    /// A value that `write` writes.
    pub(super) fn written(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.out);
    }

    /// An object.
    pub(super) fn object(&mut self, members: impl FnOnce(&mut Json)) {
        self.nest(b'{', b'}', members);
    }

    /// An array.
    pub(super) fn array(&mut self, elements: impl FnOnce(&mut Json)) {
        self.nest(b'[', b']', elements);
    }

    fn nest(&mut self, open: u8, close: u8, inside: impl FnOnce(&mut Json)) {
        self.out.push(open);
        self.first = true;
        inside(self);
        self.out.push(close);
        self.first = false;
    }

    fn separate(&mut self) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
    }
}

/// Appends a word that holds nothing JSON would escape.
fn quote(word: &'static str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(word.as_bytes());
    out.push(b'"');
}
