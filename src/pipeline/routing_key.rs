//! Routing keys: templates with placeholders, and the characters that a word of a key may have.
//!
//! Invariant: a routing key is legal whatever the interaction holds, and has 255 bytes at most. Pure.

use std::fmt;

use crate::domain::{Facts, Identity};

/// The longest routing key of AMQP 0-9-1, in bytes.
const KEY_MAX_BYTES: usize = 255;

/// A routing key with placeholders, such as `c4c.{channel}.{queue}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTemplate {
    /// As it was written.
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Value(Placeholder),
}

/// What may stand in a routing key. User data may not: keys are seen by everybody at the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placeholder {
    Id,
    Channel,
    Tenant,
    Queue,
    Widget,
    CallTarget,
}

impl Placeholder {
    const ALL: [(&'static str, Placeholder); 6] = [
        ("id", Placeholder::Id),
        ("channel", Placeholder::Channel),
        ("tenant", Placeholder::Tenant),
        ("queue", Placeholder::Queue),
        ("widget", Placeholder::Widget),
        ("call_target", Placeholder::CallTarget),
    ];

    fn value<'i>(self, identity: &'i Identity<'_>, facts: &'i Facts<'_>) -> Option<&'i str> {
        match self {
            Placeholder::Id => Some(&identity.id),
            Placeholder::Channel => Some(&facts.channel),
            Placeholder::Tenant => Some(&identity.tenant),
            Placeholder::Queue => facts.queue.as_deref(),
            Placeholder::Widget => facts.widget.as_deref(),
            Placeholder::CallTarget => facts.call_target.as_deref(),
        }
    }
}

/// What is wrong with a routing key as it was written: a sentence without its subject.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyTemplateError {
    /// Nothing was written.
    #[error("is empty")]
    Empty,
    /// It is longer than any routing key.
    #[error("is longer than 255 bytes")]
    TooLong,
    /// A brace without its other half.
    #[error("has a brace that is not closed, or not opened")]
    Brace,
    /// An unknown placeholder.
    #[error(
        "knows no {{{0}}}; there are {{id}}, {{channel}}, {{tenant}}, {{queue}}, {{widget}} and \
         {{call_target}}"
    )]
    Unknown(String),
    /// A character that has no place in the key of a message.
    #[error("holds {0:?}; it may hold visible ASCII characters but `*` and `#`")]
    Illegal(char),
}

impl KeyTemplate {
    /// The template as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Reads a routing key with placeholders.
    ///
    /// # Errors
    /// [`KeyTemplateError`], the first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<KeyTemplate, KeyTemplateError> {
        if text.is_empty() {
            return Err(KeyTemplateError::Empty);
        }
        if text.len() > KEY_MAX_BYTES {
            return Err(KeyTemplateError::TooLong);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(brace) = rest.find(['{', '}']) {
            let (literal, opened) = rest.split_at(brace);
            parts.push(Part::Literal(literal_of(literal)?));
            let inside = opened.strip_prefix('{').ok_or(KeyTemplateError::Brace)?;
            let (name, after) = inside.split_once('}').ok_or(KeyTemplateError::Brace)?;
            let known = Placeholder::ALL.iter().find(|(known, _)| *known == name);
            let (_, placeholder) =
                known.ok_or_else(|| KeyTemplateError::Unknown(name.to_owned()))?;
            parts.push(Part::Value(*placeholder));
            rest = after;
        }
        parts.push(Part::Literal(literal_of(rest)?));
        Ok(KeyTemplate { text: text.to_owned(), parts })
    }

    /// The routing key of an interaction. In a value each character outside `[A-Za-z0-9_-]` becomes
    /// `_`, so that none can add a word; one that is not known is `_`. Cut at 255 bytes.
    pub fn fill(&self, identity: &Identity<'_>, facts: &Facts<'_>) -> String {
        let mut key = String::with_capacity(self.text.len() + 32);
        for part in &self.parts {
            match part {
                Part::Literal(literal) => key.push_str(literal),
                Part::Value(placeholder) => match placeholder.value(identity, facts) {
                    Some(value) if !value.is_empty() => key.extend(value.chars().map(legal)),
                    _ => key.push('_'),
                },
            }
        }
        // All of it is ASCII.
        key.truncate(KEY_MAX_BYTES);
        key
    }
}

impl fmt::Display for KeyTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A character as it may stand in a word of a routing key.
pub(crate) fn legal(c: char) -> char {
    if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' }
}

fn literal_of(text: &str) -> Result<String, KeyTemplateError> {
    match text.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '*' | '#')) {
        Some(c) => Err(KeyTemplateError::Illegal(c)),
        None => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fill_replaces_placeholders_and_illegal_characters() {
        let template =
            KeyTemplate::parse("c4c.{tenant}.{channel}.{queue}.{widget}{call_target}-{id}");
        let identity = Identity { tenant: "".into(), id: "i/1".into() };
        let facts = Facts {
            channel: "chat".into(),
            queue: Some("vip@acme.test".into()),
            call_target: Some("4380".into()),
            ..Facts::default()
        };
        let key = template.expect("a template").fill(&identity, &facts);
        assert_eq!(key, "c4c._.chat.vip_acme_test._4380-i_1");
    }

    #[test]
    fn parse_names_what_is_wrong() {
        for (text, error) in [
            ("", KeyTemplateError::Empty),
            (&"a".repeat(256), KeyTemplateError::TooLong),
            ("a.{", KeyTemplateError::Brace),
            ("a}", KeyTemplateError::Brace),
            ("{id}}", KeyTemplateError::Brace),
            ("{{id}", KeyTemplateError::Unknown("{id".into())),
            ("{AccNum}", KeyTemplateError::Unknown("AccNum".into())),
            ("{}", KeyTemplateError::Unknown(String::new())),
            ("a.#", KeyTemplateError::Illegal('#')),
            ("a b", KeyTemplateError::Illegal(' ')),
            ("ä", KeyTemplateError::Illegal('ä')),
        ] {
            assert_eq!(KeyTemplate::parse(text), Err(error), "{text}");
        }
    }
}
