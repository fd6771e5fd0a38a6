//! The named members of an object, each with its type and its limits (docs/messages.md).
//!
//! `null` counts as absent, and so does an empty string: every text that is read here is an id or a name.
//! A member that no format reads may have any type, and may even occur twice.

use std::borrow::Cow;
use std::fmt;

use super::Refusal;
use crate::domain::json::{Characters, members};
use crate::domain::value::{Key, Kind, same};
use crate::domain::{RawJson, RejectReason};

/// The longest id or name, in bytes: what AMQP's short strings hold, and an index bears.
const MAX_NAME_BYTES: usize = 255;

/// The members of one object. `Debug` names them (K8).
#[derive(Clone)]
pub(super) struct Fields<'a> {
    members: Vec<(Key<'a>, RawJson<'a>)>,
    /// Where the object stands, for refusals: empty, or ending in a dot.
    place: &'static str,
}

impl fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.members.iter().map(|(key, _)| key)).finish()
    }
}

impl<'a> Fields<'a> {
    /// The members of a body whose JSON grammar is not checked yet.
    ///
    /// # Errors
    /// `not_json` for a text that is no JSON, `not_an_interaction` for JSON that is no object.
    pub(super) fn from_body(text: &'a str) -> Result<Fields<'a>, Refusal> {
        // One pass checks and splits; a second one finds the error, if there is one.
        if let Some(members) = members(text) {
            return Ok(Fields { members, place: "" });
        }
        let json = RawJson::check(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let detail = format!("the body is not JSON at line {line}, column {column}");
            Refusal::new(RejectReason::NotJson, detail)
        })?;
        Fields::new(json, "")
    }

    /// The members of an object that was taken apart already.
    pub(super) fn from_members(
        members: Vec<(Key<'a>, RawJson<'a>)>,
        place: &'static str,
    ) -> Fields<'a> {
        Fields { members, place }
    }

    /// The members of a JSON object.
    ///
    /// # Errors
    /// `not_an_interaction` for JSON that is no object.
    pub(super) fn new(json: RawJson<'a>, place: &'static str) -> Result<Fields<'a>, Refusal> {
        let members = json.members().ok_or_else(|| match place {
            "" => Refusal::shape(format!("the body is {}, no object", json.kind().named())),
            place => {
                let kind = json.kind().named();
                Refusal::shape(format!("{} is {kind}, no object", place.trim_end_matches('.')))
            }
        })?;
        Ok(Fields { members, place })
    }

    /// Where the object stands: empty for a body.
    pub(super) fn place(&self) -> &'static str {
        self.place.trim_end_matches('.')
    }

    /// All members, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key<'a>, RawJson<'a>)> {
        self.members.iter().map(|(key, raw)| (key, *raw))
    }

    /// Whether there is such a member, of whatever type.
    pub(super) fn has(&self, name: &str) -> bool {
        self.members.iter().any(|(key, _)| same(key.as_bytes(), name.as_bytes()))
    }

    /// The kind of a member's value, the last one's.
    pub(super) fn kind_of(&self, name: &str) -> Option<Kind> {
        self.last(name).map(RawJson::kind)
    }

    /// The last of the members of this name that is not `null`, whatever its type.
    pub(super) fn last(&self, name: &str) -> Option<RawJson<'a>> {
        let named = |(key, _): &&(Key<'a>, _)| same(key.as_bytes(), name.as_bytes());
        let found = self.members.iter().rev().find(named).map(|(_, raw)| *raw);
        found.filter(|raw| raw.kind() != Kind::Null)
    }

    /// A member that may stand once; `null` is absent.
    ///
    /// # Errors
    /// When it stands twice.
    pub(super) fn one(&self, name: &str) -> Result<Option<RawJson<'a>>, Refusal> {
        let named = |(key, _): &&(Key<'a>, _)| same(key.as_bytes(), name.as_bytes());
        let mut found = self.members.iter().filter(named).map(|(_, raw)| *raw);
        let first = found.next();
        if found.next().is_some() {
            return Err(self.refuse(name, "is given twice"));
        }
        Ok(first.filter(|raw| raw.kind() != Kind::Null))
    }

    /// A member that is an object.
    ///
    /// # Errors
    /// When it stands twice or is none.
    pub(super) fn object(
        &self,
        name: &str,
        place: &'static str,
    ) -> Result<Option<Fields<'a>>, Refusal> {
        self.one(name)?.map(|raw| Fields::new(raw, place)).transpose()
    }

    /// The members of the object under a name, if it is one: for recognising a shape.
    pub(super) fn inside(&self, name: &str) -> Option<Fields<'a>> {
        let members = self.last(name)?.members()?;
        Some(Fields { members, place: "" })
    }

    /// A member that is an array.
    ///
    /// # Errors
    /// When it stands twice or is none.
    pub(super) fn array(&self, name: &str) -> Result<Vec<RawJson<'a>>, Refusal> {
        let Some(raw) = self.one(name)? else { return Ok(Vec::new()) };
        raw.elements().ok_or_else(|| self.refuse_kind(name, raw, "no array"))
    }

    /// A member that is a text of any length; empty is absent. A lone surrogate reads as U+FFFD.
    ///
    /// # Errors
    /// When it stands twice or is no string.
    pub(super) fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
        let surrogates = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned().into();
        Ok(self.characters(name)?.map(|text| text.unwrap_or_else(surrogates)))
    }

    /// A member that is an id or a name: a text of at most 255 bytes, without U+0000 and without
    /// lone surrogates.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn name(&self, name: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
        let Some(text) = self.characters(name)? else { return Ok(None) };
        let bytes = text.as_ref().map_or_else(Vec::as_slice, |text| text.as_bytes());
        check_name(bytes).map_err(|what| self.refuse(name, what))?;
        text.map(Some).map_err(|_| self.refuse(name, "holds a lone surrogate"))
    }

    /// A member that is an id, which vendors may write as a number too: its digits are the text then.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn id(&self, name: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
        match self.one(name)? {
            Some(number) if number.kind() == Kind::Number => {
                let number = number.get();
                check_name(number.as_bytes()).map_err(|what| self.refuse(name, what))?;
                Ok(Some(Cow::Borrowed(number)))
            }
            _ => self.name(name),
        }
    }

    /// A text that is neither id nor name and on which nothing depends: of no other type, and of a
    /// length and kind that a store can hold; else it is as if it were not there.
    pub(super) fn remark(&self, name: &str) -> Option<Cow<'a, str>> {
        let text = self.last(name)?.characters()?.ok()?;
        check_name(text.as_bytes()).ok()?;
        Some(text).filter(|text| !text.is_empty())
    }

    fn characters(&self, name: &str) -> Result<Option<Characters<'a>>, Refusal> {
        let Some(raw) = self.one(name)? else { return Ok(None) };
        let text = raw.characters().ok_or_else(|| self.refuse_kind(name, raw, "no string"))?;
        Ok(Some(text).filter(|text| !matches!(text, Ok(text) if text.is_empty())))
    }

    /// As [`Fields::name`], for a member that must be there.
    ///
    /// # Errors
    /// When it is not, or is none.
    pub(super) fn required(&self, name: &str) -> Result<Cow<'a, str>, Refusal> {
        self.name(name)?.ok_or_else(|| self.missing(name))
    }

    /// A refusal of a member.
    pub(super) fn refuse(&self, name: &str, what: &str) -> Refusal {
        Refusal::shape(format!("{}{name} {what}", self.place))
    }

    /// A refusal of a member for the kind of its value.
    fn refuse_kind(&self, name: &str, raw: RawJson<'_>, what: &str) -> Refusal {
        self.refuse(name, &format!("is {}, {what}", raw.kind().named()))
    }

    /// A refusal of a member that is not there.
    pub(super) fn missing(&self, name: &str) -> Refusal {
        self.refuse(name, "is missing")
    }
}

/// Checks an id or a name, wherever it came from.
///
/// # Errors
/// The error, as a fragment.
pub(super) fn check_name(bytes: &[u8]) -> Result<(), &'static str> {
    if bytes.len() > MAX_NAME_BYTES {
        return Err("is longer than 255 bytes");
    }
    if bytes.contains(&0) {
        return Err("holds U+0000");
    }
    Ok(())
}
