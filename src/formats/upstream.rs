//! The part of a vendor's message that is carried along: all of it, untouched and in its place, but the
//! members that held user data and the ids and names that stand in the interaction itself.
//!
//! A pair that the rules hold back must not be published here instead, so a member is left out at its
//! path however often it occurs and whatever its type is. A member that only looks like user data is left
//! out at any depth, with a warning.

use super::fields::Fields;
use super::look_alike::{looks_like_user_data, names_user_data, warn_of};
use crate::domain::value::{Key, Kind, Value};
use crate::domain::{RawJson, Warning};

/// The member of the interaction under which it is published.
const NAME: &str = "upstream";

/// Selects the members that are carried along. `left_out` names members by their path:
/// `data.call.metadata`. A member elsewhere that looks like user data is left out with a warning (K5).
pub(super) fn carried<'a>(
    fields: &Fields<'a>,
    left_out: &[&'static str],
    warnings: &mut Vec<Warning>,
) -> Vec<(Key<'a>, Value<'a>)> {
    let mut out = Vec::new();
    let written = write_members(fields.iter(), left_out, warnings, &mut out);
    // The members are slices of one text and names that are written as UTF-8.
    let json = String::from_utf8(out).ok().filter(|_| written > 0);
    json.map(|json| (Key::from(NAME), Value::from_json(json))).into_iter().collect()
}

/// Writes an object of the members that stay; returns how many they are.
fn write_members<'m, 'a: 'm>(
    members: impl Iterator<Item = (&'m Key<'a>, RawJson<'a>)>,
    left_out: &[&'static str],
    warnings: &mut Vec<Warning>,
    out: &mut Vec<u8>,
) -> usize {
    let mut written = 0;
    out.push(b'{');
    for (key, raw) in members {
        if left_out.iter().any(|path| path.as_bytes() == key.as_bytes()) {
            continue;
        }
        if looks_like_user_data(key.as_bytes()) {
            warnings.extend(warn_of(key, raw));
            continue;
        }
        if written > 0 {
            out.push(b',');
        }
        written += 1;
        key.write_json(out);
        out.push(b':');
        write_value(raw, &inside(key, left_out), warnings, out);
    }
    out.push(b'}');
    written
}

/// Writes a value without the members of these paths, and without what looks like user data. Where there
/// is nothing to leave out, it is copied as it stands.
fn write_value(
    raw: RawJson<'_>,
    left_out: &[&'static str],
    warnings: &mut Vec<Warning>,
    out: &mut Vec<u8>,
) {
    let is_whole = left_out.is_empty() && !names_user_data(raw);
    match raw.kind() {
        Kind::Object if !is_whole => {
            let inner = raw.members().unwrap_or_default();
            let inner = inner.iter().map(|(key, raw)| (key, *raw));
            write_members(inner, left_out, warnings, out);
        }
        Kind::Array if !is_whole => {
            out.push(b'[');
            for (n, element) in raw.elements().unwrap_or_default().into_iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write_value(element, &[], warnings, out);
            }
            out.push(b']');
        }
        _ => out.extend_from_slice(raw.get().as_bytes()),
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
        let fields = Fields::new(json, "").expect("an object");
        let carried = carried(&fields, left_out, &mut Vec::new());
        carried.first().map(|(_, value)| value.as_json().to_owned())
    }

    #[test]
    fn omits_members_by_path_and_keeps_the_rest_unchanged() {
        let json = r#"{"a":1.10,"m":{"z":[ 1 ],"pairs":{"k":"v"},"pairs":2},"pairs":{"x":1}}"#;
        let left = upstream(json, &["m.pairs"]);
        assert_eq!(left.as_deref(), Some(r#"{"a":1.10,"m":{"z":[ 1 ]},"pairs":{"x":1}}"#));
    }

    #[test]
    fn member_name_with_a_dot_is_omitted_like_the_path() {
        let left = upstream(r#"{"m.pairs":1,"m":{"pairs":2}}"#, &["m.pairs"]);
        assert_eq!(left.as_deref(), Some(r#"{"m":{}}"#), "what looks like the path goes, too");
    }

    #[test]
    fn omits_user_data_look_alikes_at_any_depth_with_a_warning() {
        let json = r#"{"UserData":{"k":1},"a":[ 1 ],"b":[{"c":{"user\u0044ata":1,"d":[ 2 ]}}],"kvps":null}"#;
        let json = RawJson::check(json).expect("JSON");
        let fields = Fields::new(json, "").expect("an object");
        let mut warnings = Vec::new();
        let carried = carried(&fields, &[], &mut warnings);
        assert_eq!(carried[0].1.as_json(), r#"{"a":[ 1 ],"b":[{"c":{"d":[ 2 ]}}]}"#);
        let told = warnings.iter().map(|w| (w.code.as_str(), w.key.as_deref()));
        let expected = ["UserData", "userData"].map(|key| ("looks_like_user_data", Some(key)));
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn carries_nothing_when_all_members_are_omitted() {
        assert_eq!(upstream(r#"{"pairs":{"x":1}}"#, &["pairs"]), None);
    }
}
