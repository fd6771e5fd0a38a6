//! Events that an interaction's log has no room for: kept beside it, and asked for when they come again.
//!
//! Most interactions never have any, and cost nothing here. Of the others the store is asked, by one
//! statement for a batch, which of the batch's own events it has seen.

use std::collections::HashMap;
use std::future::Future;

use crate::domain::event_log::{digest, spilled_count};
use crate::domain::{Digest, Identity, Message};
use crate::pipeline::ports::{Row, StoreError};

/// What is spilled with a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spilled<'a> {
    /// The events, the oldest first.
    pub digests: &'a [Digest],
    /// How many events of the interaction were spilled before.
    pub before: u64,
}

/// An event that may have been spilled.
#[derive(Clone, Debug)]
pub struct Doubtful<'a> {
    /// Whose event it is.
    pub identity: Identity<'a>,
    /// Its digest.
    pub digest: Digest,
    /// How many events of the interaction were spilled.
    pub spilled: u64,
}

/// Which events were spilled.
pub trait Recall {
    /// The places of those events that are among the spilled ones of their interaction: of the latest
    /// 4,096 all, of older ones as many as are still there.
    ///
    /// # Errors
    /// As [`Store::begin`](crate::pipeline::ports::Store::begin).
    fn recall(
        &mut self,
        events: &[Doubtful<'_>],
    ) -> impl Future<Output = Result<Vec<usize>, StoreError>> + Send;
}

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
