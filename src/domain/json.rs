//! A JSON value as the text that brought it.
//!
//! A text is checked once, as a whole ([`RawJson::check`]); whatever is taken out of it is valid since
//! the whole is, so taking apart looks for quotes and brackets and asks nothing again. Most of what a
//! message costs before the rules is this, level by level: the envelope, the interaction, its user
//! data. Nothing is parsed into a tree, and nothing recurses.
//!
//! `Debug` shows a length, never the text (K8).

use std::borrow::Cow;
use std::fmt;
use std::string::FromUtf8Error;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::json_string::{first_of, plain_characters, string_bytes};
use super::value::{Key, Kind, kind};

/// One valid JSON value, without space around it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RawJson<'a>(&'a str);

impl<'a> RawJson<'a> {
    /// The text's value, if that is all it holds.
    ///
    /// # Errors
    /// What is wrong with its grammar, and where. Its text may quote what it stumbled over.
    pub fn check(text: &'a str) -> Result<RawJson<'a>, serde_json::Error> {
        serde_json::from_str::<&RawValue>(text).map(RawJson::of)
    }

    /// A value that serde_json has checked.
    pub fn of(raw: &'a RawValue) -> RawJson<'a> {
        RawJson(raw.get())
    }

    /// A text that is known to be one value: taken out of a checked one, or made here.
    pub(super) fn known(text: &'a str) -> RawJson<'a> {
        RawJson(text)
    }

    /// The JSON text.
    pub fn get(self) -> &'a str {
        self.0
    }

    /// What kind of value it is.
    pub fn kind(self) -> Kind {
        kind(self.0)
    }

    /// A string's characters as bytes: UTF-8, but for lone surrogates. `None` for other kinds.
    pub fn string_bytes(self) -> Option<Cow<'a, [u8]>> {
        string_bytes(self.0)
    }

    /// A string's characters. `None` for other kinds.
    pub fn characters(self) -> Option<Characters<'a>> {
        if let Some(plain) = plain_characters(self.0) {
            return Some(Ok(Cow::Borrowed(plain)));
        }
        let text = String::from_utf8(self.string_bytes()?.into_owned());
        Some(text.map(Cow::Owned).map_err(FromUtf8Error::into_bytes))
    }

    /// The members of an object, in order, repeats included. `None` for other kinds.
    pub fn members(self) -> Option<Vec<(Key<'a>, RawJson<'a>)>> {
        let mut cursor = Cursor::inside(self.0, b'{')?;
        // Sixteen holds the members of the usual message without growing.
        let mut members = Vec::with_capacity(16);
        while cursor.peek()? == b'"' {
            let key = cursor.name()?;
            cursor.pass(b':')?;
            members.push((key, cursor.value()?));
            if cursor.peek()? == b',' {
                cursor.pass(b',')?;
            }
        }
        Some(members)
    }

    /// The elements of an array, in order. `None` for other kinds.
    pub fn elements(self) -> Option<Vec<RawJson<'a>>> {
        let mut cursor = Cursor::inside(self.0, b'[')?;
        let mut elements = Vec::new();
        while cursor.peek()? != b']' {
            elements.push(cursor.value()?);
            if cursor.peek()? == b',' {
                cursor.pass(b',')?;
            }
        }
        Some(elements)
    }
}

impl fmt::Debug for RawJson<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawJson({} bytes)", self.0.len())
    }
}

/// The characters of a string: text, or, where there are lone surrogates among them, bytes.
pub type Characters<'a> = Result<Cow<'a, str>, Vec<u8>>;

/// A place in a valid text, between two of its tokens.
struct Cursor<'a> {
    json: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Behind the bracket that opens `json`, if it is this one.
    fn inside(json: &'a str, open: u8) -> Option<Cursor<'a>> {
        (*json.as_bytes().first()? == open).then_some(Cursor { json, at: 1 })
    }

    /// The first byte of the next token.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.json.as_bytes().get(self.at)? {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                token => return Some(token),
            }
        }
    }

    /// Goes past a token of one byte.
    fn pass(&mut self, token: u8) -> Option<()> {
        let is_next = self.peek()? == token;
        self.at += 1;
        is_next.then_some(())
    }

    /// Goes past a member's name and gives it.
    fn name(&mut self) -> Option<Key<'a>> {
        let begin = self.at;
        match self.skip_string()? {
            Escapes::None => self.json.get(begin + 1..self.at - 1).map(Key::plain),
            Escapes::Some => string_bytes(self.json.get(begin..self.at)?).map(Key::from_bytes),
        }
    }

    /// Goes past a value and gives it.
    fn value(&mut self) -> Option<RawJson<'a>> {
        let first = self.peek()?;
        let begin = self.at;
        match first {
            b'"' => {
                self.skip_string()?;
            }
            b'{' | b'[' => self.skip_nested()?,
            _ => self.skip_word(),
        }
        self.json.get(begin..self.at).map(RawJson)
    }

    fn skip_string(&mut self) -> Option<Escapes> {
        self.at += 1;
        let mut escapes = Escapes::None;
        loop {
            self.at += first_of([b'"', b'\\'], self.json.as_bytes().get(self.at..)?)?;
            if *self.json.as_bytes().get(self.at)? == b'"' {
                self.at += 1;
                return Some(escapes);
            }
            // What is escaped cannot end the string, and none of it but its first byte could.
            escapes = Escapes::Some;
            self.at += 2;
        }
    }

    /// Goes past an object or an array, whatever is in it.
    fn skip_nested(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match *self.json.as_bytes().get(self.at)? {
                b'"' => {
                    self.skip_string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// Goes past a number, `true`, `false` or `null`.
    fn skip_word(&mut self) {
        let rest = &self.json.as_bytes()[self.at..];
        let ends =
            |byte: &u8| matches!(byte, b',' | b'}' | b']' | b':' | b' ' | b'\t' | b'\r' | b'\n');
        self.at += rest.iter().position(ends).unwrap_or(rest.len());
    }
}

/// Whether a string has any escapes.
#[derive(Clone, Copy)]
enum Escapes {
    None,
    Some,
}

/// The members of a JSON object that nobody has checked yet, checked and taken apart at once. `None` if
/// the text is no valid object. Control characters in the object's own names are not noticed.
pub fn members(json: &str) -> Option<Vec<(Key<'_>, RawJson<'_>)>> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(Key<'de>, RawJson<'de>)>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::with_capacity(8);
            while let Some((key, raw)) = map.next_entry()? {
                members.push((key, RawJson::of(raw)));
            }
            Ok(members)
        }
    }
    let mut reader = serde_json::Deserializer::from_str(json);
    let members = reader.deserialize_map(Members).ok()?;
    reader.end().ok()?;
    Some(members)
}

/// The elements of a JSON array that nobody has checked yet. `None` if the text is no valid array.
pub fn elements(json: &str) -> Option<Vec<RawJson<'_>>> {
    RawJson::check(json).ok()?.elements()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(json: &str) -> Vec<String> {
        let members = members(json).expect("an object");
        members.iter().map(|(key, raw)| format!("{key}={}", raw.get())).collect()
    }

    #[test]
    fn members_keep_order_repeats_and_literals() {
        let json = r#"{"b":1.10,"a":{"z":1,"a":[ 1 ]},"b":1E400}"#;
        assert_eq!(texts(json), ["b=1.10", r#"a={"z":1,"a":[ 1 ]}"#, "b=1E400"]);
    }

    #[test]
    fn space_between_tokens_belongs_to_nobody() {
        let json = "\n{ \"a\" :\t1 , \"b\"\r\n: [ true ,\"]\"] ,\"c\":{ } }\n";
        assert_eq!(texts(json), ["a=1", "b=[ true ,\"]\"]", "c={ }"]);
        assert!(texts(" { } ").is_empty());
        let inner = elements(" [ 1 , [2, 3] ,\"a\" , null ] ").expect("an array");
        let inner: Vec<_> = inner.into_iter().map(RawJson::get).collect();
        assert_eq!(inner, ["1", "[2, 3]", "\"a\"", "null"]);
        assert_eq!(elements("[ ]"), Some(Vec::new()));
    }

    #[test]
    fn brackets_and_quotes_within_strings_are_text() {
        let json = r#"{"a\"}":"\\","b":["}\\\"]",{"]":"{"}],"c":"\u0022\\\\","é":"ü"}"#;
        assert_eq!(
            texts(json),
            [r#"a"}="\\""#, r#"b=["}\\\"]",{"]":"{"}]"#, r#"c="\u0022\\\\""#, "é=\"ü\""]
        );
    }

    #[test]
    fn what_is_no_json_is_not_taken_apart() {
        for text in ["", "{", "{\"a\"}", "{\"a\":1,}", "{} {}", "{\"a\":01}", "{\"a\":\"\\x\"}"] {
            assert!(RawJson::check(text).is_err(), "{text}");
            assert_eq!(members(text), None, "{text}");
        }
        assert_eq!(members("[]"), None);
        assert_eq!(elements("{}"), None);
        assert_eq!(members("\"{}\""), None);
    }

    #[test]
    fn strings_hold_no_control_characters_and_names_do_not_either() {
        for text in ["\"a\u{1}\"", "{\"a\u{1}\":1}", "[{\"\n\":1}]", "{\"a\":{\"\t\":1}}"] {
            assert!(RawJson::check(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn debug_never_shows_a_value() {
        let json = RawJson::check(r#" "secret" "#).expect("JSON");
        assert_eq!(format!("{json:?}"), "RawJson(8 bytes)");
    }
}
