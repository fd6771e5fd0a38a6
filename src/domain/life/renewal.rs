//! The stored history and events that a creation or an update adds to, also where the interaction had
//! expired and begins anew.

use super::InteractionSnapshot;
use crate::domain::event_log::EventLog;
use crate::domain::history::Record;
use crate::domain::interaction::State;
use crate::domain::saved_before::SavedBefore;

impl InteractionSnapshot<'_> {
    /// Completes the record by the history that stays, and the event log by this event. An expired
    /// interaction begins anew.
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
