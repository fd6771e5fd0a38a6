//! The connections that batches use: kept at hand between two batches.
//!
//! The pool and its driver ask a connection for a sign of life whenever it comes back. Where a batch is
//! one or two messages, that would be as many round trips as the batch itself has.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgPool;

use super::{TRUSTED_IDLE, answers, within};
use crate::pipeline::ports::StoreError;

/// How many batches use a connection before it goes back to the pool, which knows how old it is and
/// replaces it when its time is over. At a thousand batches a second that is each second.
const BATCHES: u32 = 1_000;

/// A connection that a batch uses.
pub(super) struct BatchConnection {
    pub(super) connection: PoolConnection<Postgres>,
    /// Whether a transaction is open on it, and holds locks.
    pub(super) is_open: bool,
    batches: u32,
}

impl Drop for BatchConnection {
    fn drop(&mut self) {
        // No other lane may use it then; the server ends both.
        if self.is_open {
            self.connection.close_on_drop();
        }
    }
}

/// The pool, and the idle connections at hand: at most one connection for each batch that goes on at once.
pub(super) struct Connections {
    pub(super) pool: PgPool,
    at_hand: Mutex<Vec<(BatchConnection, Instant)>>,
}

impl Connections {
    pub(super) fn new(pool: PgPool) -> Connections {
        Connections { pool, at_hand: Mutex::default() }
    }

    /// A connection for a batch. `login` is for a login, `timeout` for an answer.
    pub(super) async fn take(
        &self,
        login: Duration,
        timeout: Duration,
    ) -> Result<BatchConnection, StoreError> {
        let at_hand = self.at_hand().pop();
        if let Some((mut used, since)) = at_hand
            && used.batches < BATCHES
            && (since.elapsed() < TRUSTED_IDLE || answers(&mut used.connection).await)
        {
            used.batches += 1;
            return Ok(used);
        }
        let connection = within(login + timeout, self.pool.acquire()).await?;
        Ok(BatchConnection { connection, is_open: false, batches: 1 })
    }

    /// Keeps a connection at hand on which nothing is under way.
    pub(super) fn put_back(&self, used: BatchConnection) {
        if !self.pool.is_closed() {
            self.at_hand().push((used, Instant::now()));
        }
    }

    /// Drops the connections at hand and closes the pool.
    pub(super) async fn close(&self) {
        let closing = self.pool.close();
        self.at_hand().clear();
        closing.await;
    }

    fn at_hand(&self) -> MutexGuard<'_, Vec<(BatchConnection, Instant)>> {
        self.at_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
