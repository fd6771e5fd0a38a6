//! The user data that a creation copies from its parent (C1 to C9).
//!
//! The parent's data comes from the message itself, or from the snapshot of the parent. Where neither is
//! available yet and the rules could copy something, the message waits.

use super::{Evaluation, InteractionSnapshot, Outcome, SnapshotLiveData};
use crate::domain::interaction::{InlineParent, ParentStatus};
use crate::domain::propagate;
use crate::domain::received::Received;
use crate::domain::refusal::Refusal;
use crate::domain::report::{DropReason, Report, WaitFor};
use crate::domain::rules::UnknownParent;
use crate::domain::source::Source;
use crate::domain::value::{Key, Value};

impl<'a> Evaluation<'_, 'a> {
    /// The parent's data, in the order of C8, and what of it is copied.
    pub(super) fn copy_from_parent(
        &mut self,
        parent: Option<&InteractionSnapshot<'a>>,
        child: &str,
    ) -> Result<(ParentStatus, Vec<(Key<'a>, Value<'a>)>), Outcome<'a>> {
        let named = self.message.facts.parent_id.is_some();
        let identity = self.message.parent();
        if named && identity.is_none() {
            return Ok((ParentStatus::None, Vec::new()));
        }
        if let Some(inline) = &self.message.inline_parent {
            return Ok((ParentStatus::Inline, self.copy_from_inline(inline, child)?));
        }
        let Some(identity) = identity else { return Ok((ParentStatus::None, Vec::new())) };
        match parent.map(InteractionSnapshot::alive) {
            Some(Some(SnapshotLiveData::Known(live))) => {
                let facts = parent.map(|parent| &parent.facts);
                let (channel, widget) = facts
                    .map(|facts| (facts.channel.as_ref(), facts.widget.as_deref()))
                    .unwrap_or_default();
                // Warnings and drop reasons concern the child's own data, not its parent's (K4).
                let mut discarded = Report::default();
                let data = propagate::finish(self.rules, widget, live, None, &mut discarded);
                let pairs = data.iter().map(|(key, value, _)| (key.clone(), value.clone()));
                let channels = (channel, child);
                let copied = propagate::copy(self.rules, channels, pairs, &mut self.report);
                Ok((ParentStatus::Found, copied))
            }
            // Continuing would silently lose pairs that the rules may select.
            Some(Some(_)) => Err(Refusal::unreadable("its parent").into()),
            Some(None) => Ok((ParentStatus::Ended, Vec::new())),
            None if !self.rules.copy.may_copy_to(child) => Ok((ParentStatus::Unknown, Vec::new())),
            None if !self.attempt.last_for_parent => {
                Err(Outcome::Waiting(WaitFor::Parent(identity)))
            }
            None => match self.rules.unknown_parent {
                UnknownParent::Publish => Ok((ParentStatus::Unknown, Vec::new())),
                UnknownParent::DeadLetter => Err(Refusal::parent_unknown().into()),
            },
        }
    }

    fn copy_from_inline(
        &mut self,
        parent: &InlineParent<'a>,
        child: &str,
    ) -> Result<Vec<(Key<'a>, Value<'a>)>, Outcome<'a>> {
        let names = self.rules.key_names.for_format(self.message.format, self.message.key_names);
        // Of the parent's report only the keys that K6 refuses concern this message.
        let mut of_parent = Report::default();
        let mut pairs = Received::default();
        for attached in &parent.user_data {
            let lot = attached
                .read(names, &Source::Customer, None, &mut of_parent)
                .map_err(|what| Refusal::not_a_map("the parent's user data", &what))?;
            pairs.take_all(lot, &self.rules.priority, |_, _| {});
        }
        for (key, reason) in of_parent.dropped() {
            if reason == DropReason::InvalidKey {
                self.report.drop(key, reason);
            }
        }
        let pairs = pairs.iter().map(|(key, value, _)| (key.clone(), value.clone()));
        let channels = (parent.channel.as_ref(), child);
        Ok(propagate::copy(self.rules, channels, pairs, &mut self.report))
    }
}
