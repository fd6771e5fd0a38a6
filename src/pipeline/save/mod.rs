//! The first half of a lane: what has been delivered is decoded, worked out by the rules, and saved.
//!
//! | module | what |
//! |---|---|
//! | [`worker`] | a batch from decoding to its commit |
//! | [`table`] | the interactions of a batch as they are stored, and how the batch changes them |
//! | `stored_facts` | what a row keeps besides user data and has no column for |
//! | [`spilled`] | events that no longer fit the log of a row |
//! | [`rules_in_force`] | the rules: one snapshot for each batch |
//! | `wake_order` | the order of a batch whose source has no delays |
//! | `outage` | holds a batch while the store is away |

pub(crate) mod outage;
pub mod rules_in_force;
pub mod spilled;
mod stored_facts;
pub mod table;
mod wake_order;
pub mod worker;
