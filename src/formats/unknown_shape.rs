//! What is said of an object that has the shape of no known format: the members that it has, and what it
//! lacks to be of the format that it comes closest to. Names only, and no more of them than a line holds.

use std::fmt::Write;

use super::fields::Fields;
use super::{Format, Refusal};

/// So many names at most are told.
const MAX_NAMES: usize = 8;

/// So many characters of a name at most are told.
const MAX_CHARACTERS: usize = 64;

/// The refusal of an object that none of these formats recognises.
pub(super) fn refuse(fields: &Fields<'_>, formats: &[Format]) -> Refusal {
    let mut detail = match fields.place() {
        "" => "the shape is that of no known format: ".to_owned(),
        place => format!("the shape of {place} is that of no known format: "),
    };
    detail += &members(fields);
    if let Some((name, shape, missing)) = closest(fields, formats) {
        // Writing to a string cannot fail.
        let written = match missing.as_slice() {
            [] => write!(detail, "; closest is {name}, but {} is not as there", shape.join(" or ")),
            missing => {
                write!(detail, "; closest is {name}, which needs {} too", missing.join(" and "))
            }
        };
        debug_assert!(written.is_ok());
    }
    Refusal::shape(detail)
}

/// The names of an object's members, as far as there is room.
fn members(fields: &Fields<'_>) -> String {
    let names: Vec<_> = fields.iter().map(|(key, _)| shown(key.as_bytes())).collect();
    match names.len() {
        0 => "it has no members".to_owned(),
        few @ 1..=MAX_NAMES => format!("its {} {}", one_or_more(few), names.join(", ")),
        many => {
            let told = names[..MAX_NAMES].join(", ");
            format!("its members are {told} and {} more", many - MAX_NAMES)
        }
    }
}

fn one_or_more(count: usize) -> &'static str {
    if count == 1 { "only member is" } else { "members are" }
}

/// The format of whose shape the object has the largest part, if it has any: its name, its shape, and
/// what is missing. Of equals the first in their order.
fn closest(
    fields: &Fields<'_>,
    formats: &[Format],
) -> Option<(&'static str, &'static [&'static str], Vec<&'static str>)> {
    let near = formats.iter().filter_map(|format| {
        let missing: Vec<_> =
            format.shape.iter().copied().filter(|path| !has(fields, path)).collect();
        (missing.len() < format.shape.len()).then_some((format.name, format.shape, missing))
    });
    near.min_by_key(|(_, _, missing)| missing.len())
}

/// Whether there is a member at this path.
fn has(fields: &Fields<'_>, path: &str) -> bool {
    match path.split_once('.') {
        None => fields.has(path),
        Some((head, rest)) => fields.inside(head).is_some_and(|inner| has(&inner, rest)),
    }
}

/// A member's name as a detail has it: cut, and with what is not printable escaped.
pub(super) fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let mut characters = text.chars();
    let mut shown: String = characters.by_ref().take(MAX_CHARACTERS).collect();
    shown = shown.escape_debug().to_string();
    if characters.next().is_some() {
        shown.push('…');
    }
    match shown.is_empty() {
        true => "\"\"".to_owned(),
        false => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Hints, decode};

    fn detail(body: &str) -> String {
        let refused = decode(body, body.as_bytes(), Hints::default());
        refused.expect_err("no known shape").detail.into_owned()
    }

    #[test]
    fn what_was_seen_and_what_is_missing_is_told() {
        for (body, expected) in [
            ("{}", "it has no members"),
            (r#"{"a":1}"#, "its only member is a"),
            (
                r#"{"id":"i","mediaType":"chat"}"#,
                "its members are id, mediaType; closest is genesys-open-media, which needs interactionType too",
            ),
            (
                r#"{"type":"created","interaction":{}}"#,
                "its members are type, interaction; closest is canonical, but type or interaction is not as there",
            ),
            (
                r#"{"data":{"call":{}}}"#,
                "its only member is data; closest is cloud-event, which needs specversion too",
            ),
            (
                r#"{"0":0,"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0,"9":0}"#,
                "its members are 0, 1, 2, 3, 4, 5, 6, 7 and 2 more",
            ),
            (r#"{"":1,"a\nb":2}"#, r#"its members are "", a\nb"#),
        ] {
            let told = format!("the shape is that of no known format: {expected}");
            assert_eq!(detail(body), told, "{body}");
        }
        let told = detail(r#"{"specversion":"1.0","type":"x","data":{}}"#);
        assert_eq!(told, "the shape of data is that of no known format: it has no members");
        let long = format!(r#"{{"{}":1}}"#, "é".repeat(10_000));
        assert!(detail(&long).len() < 250, "a name takes no more than a line");
    }
}
