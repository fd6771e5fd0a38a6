//! The rules in force: a snapshot for each batch, replaced between batches.
//!
//! A worker takes a [`snapshot`](RulesInForce::snapshot) and keeps it to the end of its batch, so
//! no message is worked out by a mixture of two. What makes rules good enough to be taken is not
//! decided here.

use std::sync::{Arc, PoisonError, RwLock};

use crate::domain::Rules;

/// The rules that the next batch is worked out by.
#[derive(Debug)]
pub struct RulesInForce(RwLock<RulesSnapshot>);

/// Rules, and how many came before them.
#[derive(Clone, Debug)]
pub struct RulesSnapshot {
    /// The rules.
    pub rules: Arc<Rules>,
    /// 1 for those of the start, one more with each replacement: unlike the revision it tells rules
    /// that were taken back and taken again apart, and which came later.
    pub number: u64,
}

impl RulesInForce {
    /// The rules of the start.
    pub fn new(rules: Rules) -> RulesInForce {
        RulesInForce(RwLock::new(RulesSnapshot { rules: Arc::new(rules), number: 1 }))
    }

    /// The rules at this moment.
    pub fn snapshot(&self) -> RulesSnapshot {
        // Nothing panics while it holds the lock; and if it did, what is in it would be whole.
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts others in their place, and says which number they have.
    pub fn replace(&self, rules: Rules) -> u64 {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *current = RulesSnapshot { rules: Arc::new(rules), number: current.number + 1 };
        current.number
    }
}
