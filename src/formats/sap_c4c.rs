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
use crate::domain::value::{Key, Kind, Value};
use crate::domain::{Facts, KeyNames, Outcome, Step};

/// The longest reference that the vendor takes, in letters and digits.
const REFERENCE_MAX_CHARS: usize = 35;

/// E.164: a number has fifteen digits at most, the country's included.
const E164_MAX_DIGITS: usize = 15;

/// The payload as JSON; `None` if nothing is published.
pub(super) fn json(decoded: &Decoded<'_>, step: &Step<'_>) -> Option<Vec<u8>> {
    let members = members(decoded, step)?;
    let mut json = Json::open();
    json.name("payload").object(|json| {
        for (key, value) in &members {
            json.key(|out| key.write_json(out)).text(value);
        }
    });
    Some(json.close())
}

/// The payload as XML, and how many pairs are left out because their keys are no element names;
/// `None` if nothing is published.
pub(super) fn xml(decoded: &Decoded<'_>, step: &Step<'_>) -> Option<(Vec<u8>, usize)> {
    let mut left_out = 0;
    let mut xml = String::from("<payload>");
    for (key, value) in members(decoded, step)? {
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
    Some((xml.into_bytes(), left_out))
}

type Members<'s> = Vec<(Key<'s>, Cow<'s, str>)>;

/// The members of the payload, the vendor's own first; a pair never takes the place of one.
fn members<'s>(decoded: &'s Decoded<'_>, step: &'s Step<'_>) -> Option<Members<'s>> {
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
    let numbers = [("ANI", number(step, "ANI")), ("DNIS", number(step, "DNIS"))];
    members.extend(
        numbers
            .into_iter()
            .filter_map(|(name, number)| Some((Key::from(name), Cow::Owned(number?)))),
    );
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
    Some(members)
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
    let said = facts.direction.as_deref().unwrap_or_default();
    match said {
        _ if said.eq_ignore_ascii_case("outbound") => "OUTBOUND",
        _ if said.eq_ignore_ascii_case("transfer") => "TRANSFER",
        _ => "INBOUND",
    }
}

/// An id as the vendor takes references: letters and digits only, the first 35 of them.
fn reference(id: &str) -> String {
    id.chars().filter(char::is_ascii_alphanumeric).take(REFERENCE_MAX_CHARS).collect()
}

/// The telephone number that stands under a key, in whatever case the key is written.
fn number(step: &Step<'_>, name: &str) -> Option<String> {
    let named = |key: &Key<'_>| key.as_bytes().eq_ignore_ascii_case(name.as_bytes());
    pairs(step).filter(|(key, _)| named(key)).find_map(|(_, value)| e164(&text(value)))
}

/// A number in E.164 with `+`; `None` for what is none, such as a withheld number, or for a national
/// one, whose country nobody knows.
fn e164(text: &str) -> Option<String> {
    let text = text.trim();
    let text = text.strip_prefix("tel:").unwrap_or(text);
    let is_punctuation = |c: &char| matches!(c, ' ' | '-' | '.' | '/' | '(' | ')');
    let bare: String = text.chars().filter(|c| !is_punctuation(c)).collect();
    let digits = bare.strip_prefix('+').or_else(|| bare.strip_prefix("00")).unwrap_or(&bare);
    let is_number = (1..=E164_MAX_DIGITS).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0');
    is_number.then(|| format!("+{digits}"))
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
    fn numbers_become_e164_or_nothing() {
        for (said, expected) in [
            ("+49 30 123456", Some("+4930123456")),
            ("tel:+1-800-555-0100", Some("+18005550100")),
            ("0049 (30) 123456", Some("+4930123456")),
            ("18005550100", Some("+18005550100")),
            ("030 123456", None),
            ("anonymous", None),
            ("", None),
            ("+", None),
            ("+1234567890123456", None),
            ("+49٣0", None),
        ] {
            assert_eq!(e164(said).as_deref(), expected, "{said}");
        }
    }

    #[test]
    fn references_are_letters_and_digits() {
        assert_eq!(reference("0000-Da_FU/51 é"), "0000DaFU51");
        assert_eq!(reference(&"7".repeat(255)).len(), 35);
    }

    #[test]
    fn what_xml_cannot_hold_is_escaped_or_replaced() {
        let mut xml = String::new();
        escape("a<b> & \"c\" 'd' ]]> \r\n\t\u{0}\u{1f}\u{FFFF}é😀", &mut xml);
        assert_eq!(
            xml,
            "a&lt;b&gt; &amp; &quot;c&quot; &apos;d&apos; ]]&gt; &#13;\n\t\u{FFFD}\u{FFFD}\u{FFFD}é😀"
        );
    }
}
