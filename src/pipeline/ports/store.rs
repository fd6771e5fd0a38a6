//! The store's port: a batch is read and saved in one transaction.

use std::fmt;
use std::future::Future;

use crate::domain::{Digest, Identity, Record, State};

/// Where interactions are kept: one row each, with state, history, sealed live data, and what is
/// needed to recognise a repeated event.
pub trait Store: Send + Sync + 'static {
    /// The transaction that [`Store::begin`] opens. Dropping it changes nothing.
    type Transaction: Transaction;

    /// Opens a transaction, and reads the rows of `own`, which may be written in it, and of `parents`.
    ///
    /// Both slices are sorted and free of repeats, and no identity stands in both. No
    /// other worker changes a row of `own` between this and [`Transaction::save`] unnoticed: either the
    /// row is locked, or saving ends with [`StoreError::Conflict`]. Rows are returned in any order; an identity without a
    /// row has none.
    ///
    /// # Errors
    /// When the store cannot be reached ([`StoreError::Unavailable`]), or holds something that
    /// this version cannot read ([`StoreError::Unreadable`]).
    fn begin(
        &self,
        own: &[Identity<'_>],
        parents: &[Identity<'_>],
    ) -> impl Future<Output = Result<(Vec<Row>, Self::Transaction), StoreError>> + Send;
}

/// An open transaction over the rows of one batch.
pub trait Transaction: Recall + Send {
    /// Writes the rows, one set-wise statement whatever their number, and commits. Every identity
    /// is one of `begin`'s `own`, each at most once, sorted.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when another worker created or changed one of the rows meanwhile: nothing
    /// was written, begin again. [`StoreError::Refused`] when the database refuses the data of at
    /// least one row. [`StoreError::Unavailable`] when it is not known whether it was committed.
    fn save(self, rows: &[RowChange<'_>]) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// A row as read.
#[derive(Debug)]
pub struct Row {
    /// Whose row.
    pub identity: Identity<'static>,
    /// State as stored; expiry is worked out by the reader.
    pub state: State,
    /// Its channel.
    pub channel: String,
    /// Its queue.
    pub queue: Option<String>,
    /// The other facts, a JSON object that `pipeline` writes and reads.
    pub facts: String,
    /// The history: extra data that was saved.
    pub record: Record,
    /// Live data, opened.
    pub live: StoredLiveData,
    /// The log of its events, as it was saved.
    pub events: Vec<u8>,
    /// When it was first saved, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// When its last message was saved, in milliseconds since the Unix epoch.
    pub updated_ms: i64,
    /// When its first end was saved, in milliseconds since the Unix epoch.
    pub ended_ms: Option<i64>,
}

/// Live data as read from a row.
#[derive(Debug)]
pub enum StoredLiveData {
    /// There is none: the interaction has ended or expired, or was erased.
    Absent,
    /// Opened.
    Open(Plaintext),
    /// There is some, but no key at hand opens it. The key's id, in hex.
    Locked(String),
}

/// Live data in the clear, in memory only. `Debug` gives its length.
#[derive(Clone, PartialEq, Eq)]
pub struct Plaintext(pub Vec<u8>);

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plaintext({} bytes)", self.0.len())
    }
}

/// A row as it is to be written: the whole row, replacing what was there.
#[derive(Debug)]
pub struct RowChange<'a> {
    /// Whose row.
    pub identity: &'a Identity<'a>,
    /// Whether `begin` found no row for it: then it is inserted and must not exist.
    pub is_new: bool,
    /// The new state.
    pub state: State,
    /// Its channel.
    pub channel: &'a str,
    /// Its queue.
    pub queue: Option<&'a str>,
    /// The other facts, a JSON object.
    pub facts: &'a str,
    /// The history.
    pub record: &'a Record,
    /// Live data to be sealed, bound to the identity; `None` erases it.
    pub live: Option<&'a Plaintext>,
    /// The log of its events.
    pub events: &'a [u8],
    /// Events that no longer stand in it, and are to be kept beside it.
    pub spilled: Spilled<'a>,
    /// When it was first saved, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// When this message is saved, in milliseconds since the Unix epoch.
    pub updated_ms: i64,
    /// When its first end was saved, in milliseconds since the Unix epoch.
    pub ended_ms: Option<i64>,
}

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
    /// As [`Store::begin`].
    fn recall(
        &mut self,
        events: &[Doubtful<'_>],
    ) -> impl Future<Output = Result<Vec<usize>, StoreError>> + Send;
}

/// Why the store did not do what was asked. No text holds a value of user data.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or did not answer in time; trying again later may help.
    #[error("reach the store: {0}")]
    Unavailable(String),
    /// Another worker was faster; begin again.
    #[error("save the batch: another worker created or changed an interaction of it meanwhile")]
    Conflict,
    /// The database refuses the data of a row; trying again will not help.
    #[error("save the batch: the store refuses its data: {0}")]
    Refused(String),
    /// A row cannot be read by this version, or the schema is not the one expected.
    #[error("read the store: {0}")]
    Unreadable(String),
}
