//! A JSON value as the text that brought it.
//!
//! A text is checked once, as a whole ([`RawJson::check`]); every part of it is then valid, so reading
//! members looks for quotes and brackets only and checks nothing again. This is most of a message's cost
//! before the rules, level by level: the envelope, the interaction, its user data. Nothing is parsed into
//! a tree, and nothing recurses.
//!
//! `Debug` shows a length, never the text (K8).

use std::borrow::Cow;
use std::fmt;
use std::string::FromUtf8Error;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::json_kind::{Kind, kind};
use super::json_string::{first_of, plain_characters, string_bytes};
use super::key::Key;

/// One valid JSON value, without white space around it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RawJson<'a>(&'a str);

impl<'a> RawJson<'a> {
    /// The text's value, if that is all it holds.
    ///
    /// # Errors
    /// The syntax error and its position. Its text may quote the input.
    pub fn check(text: &'a str) -> Result<RawJson<'a>, serde_json::Error> {
        serde_json::from_str::<&RawValue>(text).map(RawJson::from_checked)
    }

    /// A value that serde_json has checked.
    pub fn from_checked(raw: &'a RawValue) -> RawJson<'a> {
        RawJson(raw.get())
    }

    /// A text that is known to be one value: part of a checked one, or made by this program.
    pub(super) fn known(text: &'a str) -> RawJson<'a> {
        RawJson(text)
    }

    /// The JSON text.
    pub fn get(self) -> &'a str {
        self.0
    }

    /// The kind of the value.
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
        // Room for the members of the usual message without growing.
        let mut members = Vec::with_capacity(16);
        while cursor.peek()? == b'"' {
            let key = cursor.read_name()?;
            cursor.skip_token(b':')?;
            members.push((key, cursor.read_value()?));
            if cursor.peek()? == b',' {
                cursor.skip_token(b',')?;
            }
        }
        Some(members)
    }

    /// The elements of an array, in order. `None` for other kinds.
    pub fn elements(self) -> Option<Vec<RawJson<'a>>> {
        let mut cursor = Cursor::inside(self.0, b'[')?;
        let mut elements = Vec::new();
        while cursor.peek()? != b']' {
            elements.push(cursor.read_value()?);
            if cursor.peek()? == b',' {
                cursor.skip_token(b',')?;
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

/// A position in a valid text, between two tokens.
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

    /// Skips this one-byte token.
    fn skip_token(&mut self, token: u8) -> Option<()> {
        let is_next = self.peek()? == token;
        self.at += 1;
        is_next.then_some(())
    }

    /// Reads a member's name.
    fn read_name(&mut self) -> Option<Key<'a>> {
        let begin = self.at;
        match self.skip_string()? {
            Escapes::None => self.json.get(begin + 1..self.at - 1).map(Key::plain),
            Escapes::Some => string_bytes(self.json.get(begin..self.at)?).map(Key::from_bytes),
        }
    }

    /// Reads a value.
    fn read_value(&mut self) -> Option<RawJson<'a>> {
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
            // The escaped byte does not end the string.
            escapes = Escapes::Some;
            self.at += 2;
        }
    }

    /// Skips an object or an array with all that is in it.
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

    /// Skips a number, `true`, `false` or `null`.
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

/// Checks an unchecked JSON object and reads its members in one pass. `None` if the text is no valid
/// object. Control characters in the object's own names are not detected.
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
                members.push((key, RawJson::from_checked(raw)));
            }
            Ok(members)
        }
    }
    let mut reader = serde_json::Deserializer::from_str(json);
    let members = reader.deserialize_map(Members).ok()?;
    reader.end().ok()?;
    Some(members)
}

/// Checks an unchecked JSON array and reads its elements. `None` if the text is no valid array.
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
    fn white_space_between_tokens_is_ignored() {
        let json = "\n{ \"a\" :\t1 , \"b\"\r\n: [ true ,\"]\"] ,\"c\":{ } }\n";
        assert_eq!(texts(json), ["a=1", "b=[ true ,\"]\"]", "c={ }"]);
        assert!(texts(" { } ").is_empty());
        let inner = elements(" [ 1 , [2, 3] ,\"a\" , null ] ").expect("an array");
        let inner: Vec<_> = inner.into_iter().map(RawJson::get).collect();
        assert_eq!(inner, ["1", "[2, 3]", "\"a\"", "null"]);
        assert_eq!(elements("[ ]"), Some(Vec::new()));
    }

    #[test]
    fn brackets_and_quotes_in_strings_are_text() {
        let json = r#"{"a\"}":"\\","b":["}\\\"]",{"]":"{"}],"c":"\u0022\\\\","é":"ü"}"#;
        assert_eq!(
            texts(json),
            [r#"a"}="\\""#, r#"b=["}\\\"]",{"]":"{"}]"#, r#"c="\u0022\\\\""#, "é=\"ü\""]
        );
    }

    #[test]
    fn rejects_invalid_json() {
        for text in ["", "{", "{\"a\"}", "{\"a\":1,}", "{} {}", "{\"a\":01}", "{\"a\":\"\\x\"}"] {
            assert!(RawJson::check(text).is_err(), "{text}");
            assert_eq!(members(text), None, "{text}");
        }
        assert_eq!(members("[]"), None);
        assert_eq!(elements("{}"), None);
        assert_eq!(members("\"{}\""), None);
    }

    #[test]
    fn rejects_control_characters_in_strings_and_names() {
        for text in ["\"a\u{1}\"", "{\"a\u{1}\":1}", "[{\"\n\":1}]", "{\"a\":{\"\t\":1}}"] {
            assert!(RawJson::check(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn debug_shows_the_length_only() {
        let json = RawJson::check(r#" "secret" "#).expect("JSON");
        assert_eq!(format!("{json:?}"), "RawJson(8 bytes)");
    }
}
