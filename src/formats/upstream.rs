//! What is carried of a vendor's message: all of it, untouched and in its place, but the members that
//! held user data and the ids and names that stand in the interaction itself.
//!
//! A pair that the rules hold back must not leave by this door, so a member is left out wherever it
//! stands, as often as it stands, and whatever its type is.

use super::fields::Fields;
use crate::domain::RawJson;
use crate::domain::value::{Key, Kind, Value};

/// The member of the interaction under which it is published.
const NAME: &str = "upstream";

/// What is carried of these members. `left_out` names members by their path: `data.call.metadata`.
pub(super) fn carried<'a>(
    fields: &Fields<'a>,
    left_out: &[&'static str],
) -> Vec<(Key<'a>, Value<'a>)> {
    let mut out = Vec::new();
    let written = write_members(fields.iter(), left_out, &mut out);
    // The members are slices of one text and names that are written as UTF-8.
    let json = String::from_utf8(out).ok().filter(|_| written > 0);
    json.map(|json| (Key::from(NAME), Value::from_json(json))).into_iter().collect()
}

/// Writes an object of the members that stay; returns how many they are.
fn write_members<'m, 'a: 'm>(
    members: impl Iterator<Item = (&'m Key<'a>, RawJson<'a>)>,
    left_out: &[&'static str],
    out: &mut Vec<u8>,
) -> usize {
    let mut written = 0;
    out.push(b'{');
    for (key, raw) in members {
        if left_out.iter().any(|path| path.as_bytes() == key.as_bytes()) {
            continue;
        }
        if written > 0 {
            out.push(b',');
        }
        written += 1;
        key.write_json(out);
        out.push(b':');
        write_value(raw, &inside(key, left_out), out);
    }
    out.push(b'}');
    written
}

/// Writes a value without the members of these paths.
fn write_value(raw: RawJson<'_>, left_out: &[&'static str], out: &mut Vec<u8>) {
    let inner = match raw.kind() {
        Kind::Object if !left_out.is_empty() => raw.members(),
        _ => None,
    };
    match inner {
        Some(inner) => {
            write_members(inner.iter().map(|(key, raw)| (key, *raw)), left_out, out);
        }
        None => out.extend_from_slice(raw.get().as_bytes()),
    }
}

/// The paths that lead into this member, from there on.
fn inside(key: &Key<'_>, left_out: &[&'static str]) -> Vec<&'static str> {
    let split = left_out.iter().filter_map(|path| path.split_once('.'));
    split.filter(|(head, _)| head.as_bytes() == key.as_bytes()).map(|(_, rest)| rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(json: &str, left_out: &[&'static str]) -> Option<String> {
        let json = RawJson::check(json).expect("JSON");
        let fields = Fields::of(json, "").expect("an object");
        let carried = carried(&fields, left_out);
        carried.first().map(|(_, value)| value.as_json().to_owned())
    }

    #[test]
    fn members_are_left_out_where_they_stand_and_the_rest_is_untouched() {
        let json = r#"{"a":1.10,"m":{"z":[ 1 ],"pairs":{"k":"v"},"pairs":2},"pairs":{"x":1}}"#;
        let left = upstream(json, &["m.pairs"]);
        assert_eq!(left.as_deref(), Some(r#"{"a":1.10,"m":{"z":[ 1 ]},"pairs":{"x":1}}"#));
    }

    #[test]
    fn a_name_with_a_dot_is_no_path() {
        let left = upstream(r#"{"m.pairs":1,"m":{"pairs":2}}"#, &["m.pairs"]);
        assert_eq!(left.as_deref(), Some(r#"{"m":{}}"#), "what looks like the path goes, too");
    }

    #[test]
    fn nothing_left_is_nothing_carried() {
        assert_eq!(upstream(r#"{"pairs":{"x":1}}"#, &["pairs"]), None);
    }
}
