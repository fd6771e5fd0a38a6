//! What the server knows of the worker, and the shapes in which it tells it.
//!
//! The shapes are read again by `throughline status` and `throughline healthcheck`, so both sides share
//! these types. Names of members are a contract with whoever reads the JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The worker, as it is seen from outside. Every answer is about this moment, and made without waiting.
pub trait Observed: Send + Sync + 'static {
    /// Whether it works, or only a restart can help.
    fn liveness(&self) -> Liveness;
    /// Whether it does its work, or what is missing.
    fn readiness(&self) -> Readiness;
    /// The media type of the metrics, and their text.
    ///
    /// # Errors
    /// When they cannot be written.
    fn metrics(&self) -> Result<(&'static str, String), fmt::Error>;
    /// What it does.
    fn status(&self) -> Status;
    /// Which program it is, and under which rules.
    fn version(&self) -> Version;
}

/// The answer of `/livez`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Liveness {
    /// What does not work any more; nothing, while it lives.
    pub dead: Vec<Problem>,
}

/// The answer of `/readyz`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// What is missing; nothing, while it is ready.
    pub missing: Vec<Problem>,
    /// What somebody should look at, though it is ready.
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
    /// What does not work any more.
    #[serde(flatten)]
    pub liveness: Liveness,
    /// The lanes, in the order of their numbers.
    pub lanes: Vec<LaneStatus>,
    /// Messages taken, each try counted.
    pub received: u64,
    /// Messages taken and not settled.
    pub in_hand: u64,
    /// What became of the others.
    pub finished: Outcomes,
    /// Dead letters by reason; reasons that did not occur are left out.
    pub dead_lettered: DeadLettered,
    /// Rows of the store, as the latest sweep found them; none before the first is over.
    pub stored_rows: Option<u64>,
    /// Active interactions among them.
    pub live_rows: Option<u64>,
    /// What waits at the moment, the longest first; the latest hundred of each lane.
    pub waiting: Vec<Waiting>,
}

/// How many messages were finished, by outcome.
pub type Outcomes = BTreeMap<String, u64>;

/// How many messages were set aside, by reason.
pub type DeadLettered = BTreeMap<String, u64>;

/// A lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneStatus {
    /// Its number, from 0 on.
    pub lane: usize,
    /// Whether it runs.
    pub running: bool,
    /// Whether its batch waits for a store that is away.
    pub waits_for_store: bool,
    /// Whether nobody takes what it publishes.
    pub waits_for_takers: bool,
    /// Messages taken and not settled.
    pub in_hand: u64,
    /// Messages taken, each try counted.
    pub received: u64,
    /// How long ago it took its latest step, in milliseconds.
    pub idle_ms: u64,
}

/// A message that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
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
