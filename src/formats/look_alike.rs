//! Which members hold user data, by their names (K5).
//!
//! Platforms spell it in more than one way. What our own format reads is named here, and what is not read
//! but looks like it: that is not carried through, so that no pair is published around the rules.

use super::Refusal;
use super::fields::Fields;
use crate::domain::json_string::string_bytes;
use crate::domain::value::{Key, Kind, same};
use crate::domain::{RawJson, Warning, WarningCode};

/// The names under which our own format reads user data: ours, and those of Genesys and Mindful.
pub(super) const USER_DATA: [&str; 3] = ["userData", "UserData", "user_data"];

/// Other names of such members, without case, `_` and `-`.
const LOOK_ALIKES: [&[u8]; 5] = [b"userdata", b"attached", b"attacheddata", b"extradata", b"kvps"];

/// The user data of an object, under whichever of its names, in the order in which it stands.
///
/// # Errors
/// When one of the names stands twice.
pub(super) fn each_user_data<'a>(
    fields: &Fields<'a>,
    mut take: impl FnMut(RawJson<'a>),
) -> Result<(), Refusal> {
    let mut seen = [false; USER_DATA.len()];
    // Few names begin as those do.
    let may_be = |key: &Key<'_>| matches!(key.as_bytes().first(), Some(b'u' | b'U'));
    for (key, raw) in fields.iter().filter(|(key, _)| may_be(key)) {
        let is_named = |name: &&str| same(key.as_bytes(), name.as_bytes());
        let Some(at) = USER_DATA.iter().position(is_named) else { continue };
        if std::mem::replace(&mut seen[at], true) {
            return Err(fields.refuse(USER_DATA[at], "is given twice"));
        }
        if raw.kind() != Kind::Null {
            take(raw);
        }
    }
    Ok(())
}

/// Whether a member of this name looks as if it held user data.
#[inline]
pub(super) fn looks_like_user_data(name: &[u8]) -> bool {
    // Few names begin with one of these.
    let may =
        matches!(name.first(), Some(first) if b"uaek_-".contains(&first.to_ascii_lowercase()));
    may && is_look_alike(name)
}

fn is_look_alike(name: &[u8]) -> bool {
    let letters = name.iter().filter(|byte| !matches!(byte, b'_' | b'-'));
    let letters = letters.map(u8::to_ascii_lowercase);
    LOOK_ALIKES.iter().any(|known| letters.clone().eq(known.iter().copied()))
}

/// Whether any member of a value, at any depth, looks by its name as if it held user data. One pass over
/// the text: in JSON only a name is followed by a colon.
pub(super) fn names_user_data(raw: RawJson<'_>) -> bool {
    let json = raw.get();
    if !json.starts_with(['{', '[']) {
        return false;
    }
    let bytes = json.as_bytes();
    let mut at = 0;
    while let Some(begin) = bytes[at..].iter().position(|byte| *byte == b'"').map(|n| at + n) {
        let mut end = begin + 1;
        while bytes.get(end).is_some_and(|byte| *byte != b'"') {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        at = (end + 1).min(bytes.len());
        let next = bytes[at..].iter().find(|byte| !byte.is_ascii_whitespace());
        let name = (next == Some(&b':')).then(|| json.get(begin..at)).flatten();
        if name.and_then(string_bytes).is_some_and(|name| looks_like_user_data(&name)) {
            return true;
        }
    }
    false
}

/// The warning about a member that is not carried because of its name; `null` is no member.
pub(super) fn warn_of(name: impl std::fmt::Display, raw: RawJson<'_>) -> Option<Warning> {
    let is_given = raw.kind() != Kind::Null;
    is_given.then(|| Warning::about(WarningCode::LooksLikeUserData, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detects_names_that_look_like_user_data() {
        for name in [
            "userData",
            "USERDATA",
            "user-data",
            "_user_data_",
            "Attached",
            "attachedData",
            "attached_data",
            "AttachedData",
            "extra-data",
            "ExtraData",
            "KVPs",
            "kvps",
            "k-v-p-s",
        ] {
            assert!(looks_like_user_data(name.as_bytes()), "{name}");
        }
        for name in
            ["", "-", "user", "data", "userDatas", "attachments", "extra", "kvp", "user data"]
        {
            assert!(!looks_like_user_data(name.as_bytes()), "{name}");
        }
    }
}
