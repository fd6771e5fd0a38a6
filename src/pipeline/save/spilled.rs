//! Events that an interaction's log has no room for: kept beside it, and asked for when they come again.
//!
//! Most interactions never have any, and cost nothing here. Of the others the store is asked, by one
//! statement for a batch, which of the batch's own events it has seen.

use std::collections::HashMap;

use crate::domain::Message;
use crate::domain::event_log::{digest, spilled_count};
use crate::pipeline::ports::{Doubtful, Row};

/// The events of these messages whose interactions have spilled any.
pub fn doubtful<'a>(
    rows: &'a [Row],
    messages: impl Iterator<Item = &'a Message<'a>>,
) -> Vec<Doubtful<'a>> {
    let spilled = |row: &'a Row| (&row.identity, spilled_count(&row.events));
    let long: HashMap<_, _> = rows.iter().map(spilled).filter(|(_, count)| *count > 0).collect();
    if long.is_empty() {
        return Vec::new();
    }
    let doubtful = messages.filter_map(|message| {
        let spilled = *long.get(&message.identity)?;
        let digest = digest(&message.event_id);
        Some(Doubtful { identity: message.identity.clone(), digest, spilled })
    });
    doubtful.collect()
}
