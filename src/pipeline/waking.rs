//! The order of a batch whose source knows no delays: whoever waits is tried again right behind whom it
//! waits for.

use std::collections::{BTreeMap, VecDeque};

use super::worker::{Plan, Planned};

/// Plans a batch in order, but for those that must wait: each is planned again right after the
/// message that it waits for, and stands behind it. Those who still wait in the end come last.
pub(super) fn in_order(messages: usize, mut plan: impl FnMut(usize) -> Plan) -> Vec<Planned> {
    let mut planned = Vec::with_capacity(messages);
    let mut waiting: BTreeMap<usize, Plan> = BTreeMap::new();
    for place in 0..messages {
        let mut next = VecDeque::from([place]);
        while let Some(place) = next.pop_front() {
            let plan = plan(place);
            if let Plan::Failed { awaited: Some(_), .. } = &plan {
                waiting.insert(place, plan);
                continue;
            }
            if let Plan::Publish(message) = &plan {
                let woken = waiting.extract_if(.., |_, waiting| match waiting {
                    Plan::Failed { awaited: Some(awaited), .. } => awaited.on == message.identity,
                    Plan::Failed { .. } | Plan::Publish(_) | Plan::Done(_) => false,
                });
                next.extend(woken.map(|(place, _)| place));
            }
            planned.push(Planned { place, plan, trace: None });
        }
    }
    planned.extend(waiting.into_iter().map(|(place, plan)| Planned { place, plan, trace: None }));
    planned
}
