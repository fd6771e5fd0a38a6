//! Retention times of stored rows, and the action that is due for a row.
//!
//! Three spans, each counted from an end or from the last message, none from when the sweep runs:
//!
//! | what | stays | counted from |
//! |---|---|---|
//! | live data of an active interaction | [`Lifetimes::live_ttl_secs`] | its last message |
//! | its event log, which recognises repeats | [`Lifetimes::repeat_secs`] | its end, or its last message after it |
//! | its history | [`Retention`] | its end |
//!
//! A row goes when its history has had its time, or is empty, *and* its event log is not needed any
//! more. From then on the interaction is unknown: a late update waits and is rejected
//! (`interaction_unknown`), where before it was ignored (`after_end`); a late or replayed creation
//! begins it anew; a child that names it as its parent waits for it. [`Lifetimes::repeat_secs`] is
//! therefore also how long after an end its dead letters may be replayed without surprise.
//!
//! Pure: the due action depends on the row and on the time that is passed in.

use std::collections::BTreeMap;

use crate::domain::{Identity, State};

/// Retention times of stored rows.
#[derive(Clone, Debug)]
pub struct Lifetimes {
    /// Seconds from an active interaction's last message until its live data is erased.
    pub live_ttl_secs: u64,
    /// Seconds from an interaction's end, and from its last message, during which repeats of its
    /// events are recognised.
    pub repeat_secs: u64,
    /// How long history stays.
    pub retention: Retention,
}

/// How long history stays: days from an interaction's end, 0 for ever. A queue's own time counts
/// before its channel's, and that before the general one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Where neither queue nor channel has a time of its own.
    pub days: u32,
    /// By channel; names are exact.
    pub channels: BTreeMap<String, u32>,
    /// By queue; names are exact.
    pub queues: BTreeMap<String, u32>,
}

impl Retention {
    /// The days for an interaction of this channel and queue; 0 is for ever.
    fn days_for(&self, channel: &str, queue: Option<&str>) -> u32 {
        let of_queue = queue.and_then(|queue| self.queues.get(queue));
        of_queue.or_else(|| self.channels.get(channel)).copied().unwrap_or(self.days)
    }
}

/// The action that is due for a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DueAction {
    /// No message has come for the live data's lifetime: erase the live data and count it as ended.
    Expire,
    /// Its events are not expected again: drop the event log.
    Forget,
    /// Nothing in it is needed any more.
    Delete,
}

/// The fields of a row that decide what is due; neither history nor live data.
#[derive(Clone, Debug)]
pub(super) struct RowAge {
    pub(super) identity: Identity<'static>,
    pub(super) state: i16,
    pub(super) channel: String,
    pub(super) queue: Option<String>,
    pub(super) has_events: bool,
    pub(super) has_history: bool,
    pub(super) updated_ms: i64,
    pub(super) ended_ms: Option<i64>,
}

impl Lifetimes {
    /// The action due for the row at `now_ms`. One step at a time: a row that has just expired is
    /// read again in the next round.
    pub(super) fn due(&self, row: &RowAge, now_ms: i64) -> Option<DueAction> {
        let past = |since_ms: i64, span_ms: i64| now_ms.saturating_sub(since_ms) > span_ms;
        match State::from_code(row.state) {
            // The pipeline counts in the same way, so it never sees live data come and go.
            Some(State::Active) => {
                past(row.updated_ms, self.live_ttl_ms()).then_some(DueAction::Expire)
            }
            Some(State::Ended | State::Handled | State::Expired) => {
                let over_ms = row.ended_ms.unwrap_or(row.updated_ms);
                if !past(over_ms.max(row.updated_ms), millis(self.repeat_secs)) {
                    return None;
                }
                let days = self.retention.days_for(&row.channel, row.queue.as_deref());
                let history_is_over = days != 0 && past(over_ms, i64::from(days) * DAY_MS);
                if !row.has_history || history_is_over {
                    return Some(DueAction::Delete);
                }
                row.has_events.then_some(DueAction::Forget)
            }
            // A newer version's state: that version knows what to do about it.
            None => None,
        }
    }

    /// Whether an event that was seen then need not be recognised any more.
    pub(super) fn is_forgotten(&self, seen_ms: i64, now_ms: i64) -> bool {
        now_ms.saturating_sub(seen_ms) > millis(self.repeat_secs)
    }

    pub(super) fn live_ttl_ms(&self) -> i64 {
        millis(self.live_ttl_secs)
    }
}

/// Milliseconds of a day. Days are of 24 hours: a retention is a span, no date.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn millis(secs: u64) -> i64 {
    i64::try_from(secs.saturating_mul(1000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn lifetimes() -> Lifetimes {
        let named = |pairs: &[(&str, u32)]| {
            pairs.iter().map(|(name, days)| ((*name).to_owned(), *days)).collect()
        };
        Lifetimes {
            live_ttl_secs: 100,
            repeat_secs: 50,
            retention: Retention {
                days: 10,
                channels: named(&[("chat", 2), ("voice", 0)]),
                queues: named(&[("vip", 0), ("brief", 1)]),
            },
        }
    }

    fn row(state: State, updated_ms: i64, ended_ms: Option<i64>) -> RowAge {
        RowAge {
            identity: Identity { tenant: Cow::Borrowed(""), id: Cow::Borrowed("a") },
            state: state.code(),
            channel: "email".to_owned(),
            queue: None,
            has_events: true,
            has_history: true,
            updated_ms,
            ended_ms,
        }
    }

    #[test]
    fn active_interaction_expires_after_live_ttl() {
        let active = row(State::Active, 1_000, None);
        assert_eq!(lifetimes().due(&active, 101_000), None, "the pipeline still uses it");
        assert_eq!(lifetimes().due(&active, 101_001), Some(DueAction::Expire));
    }

    #[test]
    fn event_log_is_kept_for_repeat_window() {
        let ended = row(State::Ended, 1_000, Some(1_000));
        assert_eq!(lifetimes().due(&ended, 51_000), None);
        assert_eq!(lifetimes().due(&ended, 51_001), Some(DueAction::Forget));
        let handled_later = row(State::Handled, 31_000, Some(1_000));
        assert_eq!(lifetimes().due(&handled_later, 81_000), None);
        assert_eq!(lifetimes().due(&handled_later, 81_001), Some(DueAction::Forget));
        let forgotten = RowAge { has_events: false, ..ended };
        assert_eq!(lifetimes().due(&forgotten, 60_000), None, "there is nothing to do again");
    }

    #[test]
    fn row_without_history_is_deleted_with_event_log() {
        let blank = RowAge { has_history: false, ..row(State::Expired, 0, Some(1_000)) };
        assert_eq!(lifetimes().due(&blank, 51_000), None);
        assert_eq!(lifetimes().due(&blank, 51_001), Some(DueAction::Delete));
    }

    #[test]
    fn queue_retention_takes_precedence_over_channel_and_default() {
        for (channel, queue, days) in [
            ("email", None, Some(10)),
            ("email", Some("other"), Some(10)),
            ("chat", None, Some(2)),
            ("chat", Some("brief"), Some(1)),
            ("chat", Some("vip"), None),
            ("voice", None, None),
            ("voice", Some("brief"), Some(1)),
        ] {
            let mut ended = row(State::Handled, 500, Some(500));
            ended.has_events = false;
            ended.channel = channel.to_owned();
            ended.queue = queue.map(str::to_owned);
            let Some(days) = days else {
                assert_eq!(lifetimes().due(&ended, i64::MAX), None, "{channel} {queue:?}");
                continue;
            };
            let last_ms = 500 + days * DAY_MS;
            assert_eq!(lifetimes().due(&ended, last_ms), None, "{channel} {queue:?}");
            assert_eq!(lifetimes().due(&ended, last_ms + 1), Some(DueAction::Delete));
        }
    }

    #[test]
    fn history_is_kept_until_repeat_window_ends() {
        let mut lifetimes = lifetimes();
        lifetimes.repeat_secs = 30 * 86_400;
        let ended = row(State::Ended, 0, Some(0));
        assert_eq!(lifetimes.due(&ended, 20 * DAY_MS), None);
        assert_eq!(lifetimes.due(&ended, 31 * DAY_MS), Some(DueAction::Delete));
    }

    #[test]
    fn row_in_unknown_state_is_not_due() {
        let mut unknown = row(State::Ended, 0, Some(0));
        unknown.state = 7;
        assert_eq!(lifetimes().due(&unknown, i64::MAX), None);
    }
}
