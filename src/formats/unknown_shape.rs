//! The refusal of an object that has the shape of no known format: it names the members of known formats
//! that the object has, and those that it lacks of the closest format.
//!
//! Names of members only, and of those only the ones that a format has: in an object of unknown shape a
//! name may be a text that a customer sent (K8).

use std::fmt::Write;

use super::fields::Fields;
use super::{Format, Refusal};

/// Other top-level members of known formats.
const OTHER_NAMES: [&str; 12] = [
    "id",
    "time",
    "source",
    "detail",
    "contact",
    "channel",
    "status",
    "userData",
    "UserData",
    "user_data",
    "conversation_start_notification",
    "project_id",
];

/// The maximum number of characters of a name in a refusal.
const MAX_CHARACTERS: usize = 64;

/// The refusal of an object that none of these formats recognises.
pub(super) fn refuse(fields: &Fields<'_>, formats: &[Format]) -> Refusal {
    let mut detail = match fields.place() {
        "" => "the shape is that of no known format: ".to_owned(),
        place => format!("the shape of {place} is that of no known format: "),
    };
    detail += &members(fields, formats);
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

/// Those of an object's members that known formats have, and how many others there are.
fn members(fields: &Fields<'_>, formats: &[Format]) -> String {
    let heads = formats.iter().flat_map(|format| format.shape);
    let heads = heads.map(|path| path.split('.').next().unwrap_or(path));
    let mut known: Vec<_> = heads.chain(OTHER_NAMES).filter(|name| fields.has(name)).collect();
    known.sort_unstable();
    known.dedup();
    let others = fields
        .iter()
        .filter(|(key, _)| !known.iter().any(|name| key.as_bytes() == name.as_bytes()));
    match (known.as_slice(), others.count()) {
        ([], 0) => "it has no members, not even type".to_owned(),
        ([], _) => "it has no member of one, such as type and interaction".to_owned(),
        (known, 0) => format!("it has {}", known.join(", ")),
        (known, others) => format!("it has {}, and others: {others}", known.join(", ")),
    }
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
        refused.expect_err("no known shape").detail.to_string()
    }

    #[test]
    fn unknown_shape_detail_names_present_and_missing_members() {
        for (body, expected) in [
            ("{}", "it has no members, not even type"),
            (r#"{"a":1}"#, "it has no member of one, such as type and interaction"),
            (
                r#"{"id":"i","mediaType":"chat","+4930123456":1}"#,
                "it has id, mediaType, and others: 1; closest is genesys-open-media, which needs interactionType too",
            ),
            (
                r#"{"type":"created","interaction":{}}"#,
                "it has interaction, type; closest is canonical, but type or interaction is not as there",
            ),
            (
                r#"{"data":{"call":{}}}"#,
                "it has data; closest is cloud-event, which needs specversion too",
            ),
        ] {
            let told = format!("the shape is that of no known format: {expected}");
            assert_eq!(detail(body), told, "{body}");
        }
        let told = detail(r#"{"specversion":"1.0","type":"x","data":{}}"#);
        assert_eq!(
            told,
            "the shape of data is that of no known format: it has no members, not even type"
        );
    }
}
