//! What a creation or an update adds to: the history and the events of the interaction as it is stored,
//! also where it had expired and begins anew.

use super::Standing;
use crate::domain::event_log::EventLog;
use crate::domain::history::Record;
use crate::domain::interaction::State;
use crate::domain::saved_before::SavedBefore;

impl Standing<'_> {
    /// What a creation or an update adds to: completes what is saved by what stays, and the events by
    /// this one. What had expired begins anew.
    pub(in crate::domain) fn carry_on(
        &self,
        event_id: &str,
        now: &mut Record,
    ) -> (SavedBefore, EventLog) {
        let (before, events) = match self.state {
            State::Expired => (SavedBefore::all_of(&self.record), self.events.anew_with(event_id)),
            State::Active | State::Ended | State::Handled => {
                (self.saved_before.clone(), self.events.with(event_id))
            }
        };
        (before.complete(&self.record, now), events)
    }
}
