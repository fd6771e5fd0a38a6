//! The order of a batch whose source has no delays: a message that waits is tried again right after the
//! message that it waits for.

use std::collections::{BTreeMap, VecDeque};

use crate::pipeline::plan::encoder::{IndexedResult, RulesResult};

/// Works through a batch in order, but for those that must wait: each is tried again right after the
/// message that it waits for, and stands behind it. Messages that still wait in the end come last.
pub(crate) fn in_order<'m>(
    messages: usize,
    mut work: impl FnMut(usize) -> RulesResult<'m>,
) -> Vec<IndexedResult<'m>> {
    let mut done = Vec::with_capacity(messages);
    let mut waiting: BTreeMap<usize, RulesResult<'m>> = BTreeMap::new();
    for place in 0..messages {
        let mut next = VecDeque::from([place]);
        while let Some(place) = next.pop_front() {
            let worked = work(place);
            if worked.awaits().is_some() {
                waiting.insert(place, worked);
                continue;
            }
            if let published @ Some(_) = worked.publishes() {
                let woken = waiting.extract_if(.., |_, waiting| waiting.awaits() == published);
                next.extend(woken.map(|(place, _)| place));
            }
            done.push((place, worked));
        }
    }
    done.extend(waiting);
    done
}
