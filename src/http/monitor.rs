//! The server's view of the worker, and the documents that it answers with.
//!
//! `throughline status` and `throughline healthcheck` parse the documents, so both sides share these
//! types. The names of members are a contract with every program that reads the JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The worker as seen from outside. Every method reports the present state, without waiting.
pub trait Monitor: Send + Sync + 'static {
    /// Whether the worker works, or only a restart helps.
    fn liveness(&self) -> Liveness;
    /// Whether the worker processes messages, or what is missing for that.
    fn readiness(&self) -> Readiness;
    /// The media type of the metrics, and their text.
    ///
    /// # Errors
    /// When they cannot be written.
    fn metrics(&self) -> Result<(&'static str, String), fmt::Error>;
    /// What the worker is doing.
    fn status(&self) -> Status;
    /// The program's version and the rules' revision.
    fn version(&self) -> Version;
}

/// The answer of `/livez`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Liveness {
    /// Parts that have failed; empty while the worker lives.
    pub dead: Vec<Problem>,
}

/// The answer of `/readyz`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// What is missing; empty while the worker is ready.
    pub missing: Vec<Problem>,
    /// What the operator should look at, though the worker is ready.
    pub warnings: Vec<Problem>,
}

/// Something that is missing or wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A fixed word: `broker`, `broker_alarm`, `store`, `lanes`, `draining`, …
    pub what: String,
    /// A sentence about it, without a value.
    pub why: String,
}

impl Problem {
    /// Something that is missing or wrong.
    pub fn new(what: &str, why: impl fmt::Display) -> Problem {
        Problem { what: what.to_owned(), why: why.to_string() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

/// The answer of `/version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The program's version.
    pub version: String,
    /// The revision of the rules in force.
    pub rules_revision: String,
}

/// The answer of `/status`. Counts are since the start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The program and its rules.
    #[serde(flatten)]
    pub version: Version,
    /// How long the worker has run, in milliseconds.
    pub uptime_ms: u64,
    /// Whether it is ready, and what is missing.
    #[serde(flatten)]
    pub readiness: Readiness,
    /// Parts that have failed.
    #[serde(flatten)]
    pub liveness: Liveness,
    /// The lanes, in the order of their numbers.
    pub lanes: Vec<LaneStatus>,
    /// Messages received, each attempt counted.
    pub received: u64,
    /// Messages received and not settled.
    pub in_hand: u64,
    /// Messages that are finished, by outcome.
    pub finished: OutcomeCounts,
    /// Dead letters by reason; reasons that did not occur are left out.
    pub dead_lettered: DeadLetterCounts,
    /// Rows of the store, as the latest sweep found them; none before the first is over.
    pub stored_rows: Option<u64>,
    /// Active interactions among them.
    pub live_rows: Option<u64>,
    /// Messages that wait now, the oldest first; the latest hundred of each lane.
    pub waiting: Vec<WaitingMessage>,
}

/// How many messages were finished, by outcome.
pub type OutcomeCounts = BTreeMap<String, u64>;

/// How many messages were set aside, by reason.
pub type DeadLetterCounts = BTreeMap<String, u64>;

/// A lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneStatus {
    /// Its number, from 0 on.
    pub lane: usize,
    /// Whether it runs.
    pub running: bool,
    /// Whether its batch waits for a store that is away.
    pub waits_for_store: bool,
    /// Whether the broker returns or refuses what it publishes.
    pub waits_for_takers: bool,
    /// Messages received and not settled.
    pub in_hand: u64,
    /// Messages received, each attempt counted.
    pub received: u64,
    /// How long ago it took its latest step, in milliseconds.
    pub idle_ms: u64,
}

/// A message that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingMessage {
    /// The AMQP `message_id`, if it has one.
    pub message_id: Option<String>,
    /// The tenant of its interaction, where it waits for another.
    pub tenant: Option<String>,
    /// Its interaction, where it waits for another.
    pub interaction: Option<String>,
    /// The interaction it waits for: its parent, or itself.
    pub waits_for: Option<String>,
    /// What it waits for: `parent_unknown`, `interaction_unknown`, `unroutable`, `refused`.
    pub cause: String,
    /// When a worker first saw it, in milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// When it is tried again, in milliseconds since the Unix epoch.
    pub due_ms: i64,
}
