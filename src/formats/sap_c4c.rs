//! SAP Service Cloud's payload (docs/formats.md, *SAP Service Cloud*): what its agent desktop is told
//! of a contact, as JSON or as XML.
//!
//! ```json
//! {"payload":{"Type":"CALL","EventType":"INBOUND","Action":"NOTIFY","ANI":"+4930123456",
//!   "ExternalReferenceID":"0000DaFU51GM001D","ExternalOriginalReferenceID":"0000DaFU51GM001D",
//!   "AccNum":"A-778","Custom_1":"gold"}}
//! ```
//!
//! Invariants: no member stands twice; every value is text; XML is well-formed whatever the pairs hold.
//! Only pairs that are published (H6) are in it.

use std::borrow::Cow;
use std::collections::HashSet;

use super::Decoded;
use super::json::Json;
use super::telephone::{self, Number};
use crate::domain::value::{Key, Kind, Value};
use crate::domain::{Facts, KeyNames, Outcome, Step};

/// The longest reference that the vendor takes, in letters and digits.
const REFERENCE_MAX_CHARS: usize = 35;

/// The payload, and what is left out of it.
pub(super) struct Payload {
    /// As it is published.
    pub(super) body: Vec<u8>,
    /// How many pairs XML cannot name.
    pub(super) unnamed: usize,
    /// Which of `ANI` and `DNIS` holds a national number or an extension.
    pub(super) numbers: Vec<&'static str>,
}

/// The payload as JSON; `None` if nothing is published.
pub(super) fn json(decoded: &Decoded<'_>, step: &Step<'_>) -> Option<Payload> {
    let (members, numbers) = members(decoded, step)?;
    let mut json = Json::open();
    json.name("payload").object(|json| {
        for (key, value) in &members {
            json.key(|out| key.write_json(out)).text(value);
        }
    });
    Some(Payload { body: json.close(), unnamed: 0, numbers })
}

/// The payload as XML; `None` if nothing is published.
pub(super) fn xml(decoded: &Decoded<'_>, step: &Step<'_>) -> Option<Payload> {
    let mut left_out = 0;
    let mut xml = String::from("<payload>");
    let (members, numbers) = members(decoded, step)?;
    for (key, value) in members {
        let Some(name) = key.as_str().filter(|_| KeyNames::Xml.allow(&key)) else {
            left_out += 1;
            continue;
        };
        for piece in ["<", name, ">"] {
            xml.push_str(piece);
        }
        escape(&value, &mut xml);
        for piece in ["</", name, ">"] {
            xml.push_str(piece);
        }
    }
    xml.push_str("</payload>");
    Some(Payload { body: xml.into_bytes(), unnamed: left_out, numbers })
}

type Members<'s> = Vec<(Key<'s>, Cow<'s, str>)>;

/// The members of the payload, the vendor's own first; a pair never takes the place of one. Beside them,
/// which numbers are left out.
fn members<'s>(
    decoded: &'s Decoded<'_>,
    step: &'s Step<'_>,
) -> Option<(Members<'s>, Vec<&'static str>)> {
    let message = &decoded.message;
    let (facts, event_type, action) = match &step.outcome {
        Outcome::Enriched(enriched) => {
            let facts = &enriched.facts;
            match step.begins {
                true => (facts, direction(facts), "NOTIFY"),
                // The vendor knows the contact and is told more of it.
                false => (facts, "UPDATEACTIVITY", "ACCEPT"),
            }
        }
        Outcome::Ended(ended) => (&ended.facts, "UPDATEACTIVITY", "END"),
        Outcome::Ignored | Outcome::Duplicate | Outcome::Waiting(_) | Outcome::Rejected(_) => {
            return None;
        }
    };
    let reference = reference(&message.identity.id);
    let original = facts.parent_id.as_deref().map_or_else(|| reference.clone(), self::reference);
    let mut members: Members<'s> = vec![
        ("Type".into(), kind(facts).into()),
        ("EventType".into(), event_type.into()),
        ("Action".into(), action.into()),
    ];
    let mut not_global = Vec::new();
    for name in ["ANI", "DNIS"] {
        match number(step, name) {
            Number::E164(number) => members.push((name.into(), number.into())),
            Number::NotGlobal => not_global.push(name),
            Number::None => {}
        }
    }
    members.push(("ExternalReferenceID".into(), reference.into()));
    members.push(("ExternalOriginalReferenceID".into(), original.into()));

    let own = ["Type", "EventType", "Action", "ANI", "DNIS"];
    let references = ["ExternalReferenceID", "ExternalOriginalReferenceID"];
    let mut taken: HashSet<Key<'_>> = own.into_iter().chain(references).map(Key::from).collect();
    for (key, value) in pairs(step) {
        let key = custom(key).unwrap_or_else(|| key.reborrow());
        if taken.insert(key.clone()) {
            members.push((key, text(value)));
        }
    }
    Some((members, not_global))
}

/// The published pairs; of an end there are none.
fn pairs<'s>(step: &'s Step<'_>) -> impl Iterator<Item = (&'s Key<'s>, &'s Value<'s>)> {
    let enriched = match &step.outcome {
        Outcome::Enriched(enriched) => Some(enriched),
        _ => None,
    };
    enriched
        .into_iter()
        .flat_map(|enriched| enriched.published())
        .map(|(key, value, _)| (key, value))
}

fn kind(facts: &Facts<'_>) -> &'static str {
    match facts.channel.as_ref() {
        // A callback is a telephone call, whatever it was asked for by.
        "voice" | "webcallback" | "callback" => "CALL",
        _ => "CHAT",
    }
}

fn direction(facts: &Facts<'_>) -> &'static str {
    let direction = facts.direction.as_deref().unwrap_or_default();
    match direction {
        _ if direction.eq_ignore_ascii_case("outbound") => "OUTBOUND",
        _ if direction.eq_ignore_ascii_case("transfer") => "TRANSFER",
        _ => "INBOUND",
    }
}

/// An id as the vendor takes references: letters and digits only, the first 35 of them.
fn reference(id: &str) -> String {
    id.chars().filter(char::is_ascii_alphanumeric).take(REFERENCE_MAX_CHARS).collect()
}

/// The telephone number that stands under a key, in whatever case the key is written: of several the
/// first that is one.
fn number(step: &Step<'_>, name: &str) -> Number {
    let named = |key: &Key<'_>| key.as_bytes().eq_ignore_ascii_case(name.as_bytes());
    let mut found = Number::None;
    for (_, value) in pairs(step).filter(|(key, _)| named(key)) {
        match telephone::number(&text(value)) {
            it @ Number::E164(_) => return it,
            Number::NotGlobal => found = Number::NotGlobal,
            Number::None => {}
        }
    }
    found
}

/// `Custom_1` to `Custom_4` as the vendor spells them, for a key that spells one in any case.
fn custom(key: &Key<'_>) -> Option<Key<'static>> {
    ["Custom_1", "Custom_2", "Custom_3", "Custom_4"]
        .into_iter()
        .find(|name| key.as_bytes().eq_ignore_ascii_case(name.as_bytes()))
        .map(Key::from)
}

/// A value as text: a string's characters, nothing for `null`, and anything else as its JSON.
fn text<'v>(value: &'v Value<'_>) -> Cow<'v, str> {
    match value.kind() {
        Kind::Null => Cow::Borrowed(""),
        _ => match value.string_bytes() {
            Some(Cow::Borrowed(bytes)) => String::from_utf8_lossy(bytes),
            Some(Cow::Owned(bytes)) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
            None => Cow::Borrowed(value.as_json()),
        },
    }
}

/// Appends text as the content of an element. A character that XML 1.0 cannot hold in any spelling
/// becomes U+FFFD.
fn escape(text: &str, xml: &mut String) {
    for c in text.chars() {
        match c {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            // Else `]]>` could not be written.
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\'' => xml.push_str("&apos;"),
            // A parser would make a line feed of it.
            '\r' => xml.push_str("&#13;"),
            '\t' | '\n' => xml.push(c),
            '\0'..='\u{1F}' | '\u{FFFE}' | '\u{FFFF}' => xml.push('\u{FFFD}'),
            _ => xml.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;

    #[test]
    fn reference_keeps_only_letters_and_digits() {
        assert_eq!(reference("0000-Da_FU/51 é"), "0000DaFU51");
        assert_eq!(reference(&"7".repeat(255)).len(), 35);
    }

    #[test]
    fn escapes_or_replaces_characters_that_xml_cannot_hold() {
        let mut xml = String::new();
        escape("a<b> & \"c\" 'd' ]]> \r\n\t\u{0}\u{1f}\u{FFFF}é😀", &mut xml);
        assert_eq!(
            xml,
            "a&lt;b&gt; &amp; &quot;c&quot; &apos;d&apos; ]]&gt; &#13;\n\t\u{FFFD}\u{FFFD}\u{FFFD}é😀"
        );
    }
}
