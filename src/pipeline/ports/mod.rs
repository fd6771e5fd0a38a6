//! The ports of the pipeline: what it needs of the world, in its own words.
//!
//! | module | port | adapters |
//! |---|---|---|
//! | `transport` | [`Source`], [`Delivery`], [`Settler`] | `broker`, `files` |
//! | `publisher` | [`Publisher`], [`Distributor`] | `broker`, `files` |
//! | `gate` | [`Gate`] | `gate` |
//! | `store` | [`Store`], [`Transaction`] | `store` |
//!
//! No file of `pipeline` can name a client library (`tests/it/architecture.rs`).
//!
//! The order of calls is the promise that nothing is lost (invariants 2 and 3 of
//! docs/architecture.md): [`Transaction::save`] commits, [`Publisher::publish`] returns once every
//! message is confirmed or refused, and only then are deliveries given to [`Settler::settle`].

mod gate;
mod publisher;
mod store;
mod transport;

pub use gate::{Gate, GateReason, GateReply, GateVerdict};
pub use publisher::{
    AdditionalOutput, Distributor, Gated, Outgoing, PublishOutcome, Published, PublishedKind,
    Publisher, WaitDependency,
};
pub use store::{
    Doubtful, Plaintext, Recall, Row, RowChange, Spilled, Store, StoreError, StoredLiveData,
    Transaction,
};
pub use transport::{
    Arrival, Attempts, Delivery, Settlement, Settler, Source, Trace, TransportError,
};
