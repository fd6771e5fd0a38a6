//! Why a message is set aside: the reason, and what exactly is wrong.
//!
//! The reason is one of the fixed words that messages, metrics and case files hold; the detail is for
//! people. It names members and keys, never values (K8). It stands in log lines, in a header of the dead
//! letter and on terminals, so it is one short line without control characters.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use super::report::RejectReason;
use super::user_data::NotAMap;

/// The longest detail, in bytes. A name in it may have 255, and a header table shares one frame with all
/// that the sender wrote.
const MAX_BYTES: usize = 400;

/// Why a message cannot be worked on. The detail names members, never values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Refusal {
    /// The reason, as dead letters carry it.
    pub reason: RejectReason,
    /// The description.
    pub detail: Detail,
}

impl Refusal {
    /// A refusal for this reason.
    pub(crate) fn new(reason: RejectReason, detail: impl Into<Detail>) -> Refusal {
        Refusal { reason, detail: detail.into() }
    }

    /// A refusal of what has not the shape of a message.
    pub(crate) fn shape(detail: impl Into<Detail>) -> Refusal {
        Refusal::new(RejectReason::NotAnInteraction, detail)
    }

    /// An interaction cannot begin on no channel, whatever the message's format calls it.
    pub(super) fn without_channel() -> Refusal {
        Refusal::shape("the channel is missing, without which no interaction begins")
    }

    /// The data of a message, or of a parent within it, is no map (K4).
    pub(super) fn not_a_map(which: &str, what: &NotAMap) -> Refusal {
        Refusal::new(RejectReason::UserDataNotAMap, format!("{which} {what}"))
    }

    /// No key opens the live data that a message needs.
    pub(super) fn unreadable(whose: &str) -> Refusal {
        let detail = format!("no live key opens the stored data of {whose}");
        Refusal::new(RejectReason::Internal, detail)
    }

    /// The interaction of an update did not come in time.
    pub(super) fn interaction_unknown() -> Refusal {
        let detail = "it updates an interaction that did not come in time";
        Refusal::new(RejectReason::InteractionUnknown, detail)
    }

    /// The parent did not come in time (C9).
    pub(super) fn parent_unknown() -> Refusal {
        let detail = "its parent did not come in time, and the rules ask for it (parents.unknown)";
        Refusal::new(RejectReason::ParentUnknown, detail)
    }
}

/// The description of an error: one line of at most 400 bytes, without control characters.
#[derive(Clone, PartialEq, Eq)]
pub struct Detail(Cow<'static, str>);

impl Detail {
    /// The line.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Detail {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<Cow<'static, str>> for Detail {
    fn from(text: Cow<'static, str>) -> Detail {
        if text.len() <= MAX_BYTES && !text.chars().any(char::is_control) {
            return Detail(text);
        }
        let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if line.len() > MAX_BYTES {
            line.truncate(line.floor_char_boundary(MAX_BYTES - '…'.len_utf8()));
            line.push('…');
        }
        Detail(Cow::Owned(line))
    }
}

impl From<&'static str> for Detail {
    fn from(text: &'static str) -> Detail {
        Cow::Borrowed(text).into()
    }
}

impl From<String> for Detail {
    fn from(text: String) -> Detail {
        Cow::<'static, str>::Owned(text).into()
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detail_is_truncated_to_one_line_without_control_characters() {
        assert_eq!(Detail::from("interaction.id is missing").as_str(), "interaction.id is missing");
        let odd = Detail::from("a\nb\u{1b}[2Jc\u{9b}d".to_owned());
        assert_eq!(odd.as_str(), "a b [2Jc d");
        // Two bytes a character: the cut falls within one.
        let long = Detail::from(format!("x{}", "é".repeat(300)));
        assert!(long.as_str().len() <= MAX_BYTES, "{}", long.as_str().len());
        assert!(long.as_str().ends_with("é…"), "{long}");
    }
}
