//! One type for each section of the settings, read and checked once.
//!
//! The meaning, unit and reason of each default stand in `config/default.toml`; here stand types and
//! bounds. Fields are public and nothing sets them: the bounds hold for every value because only
//! [`super::load`] makes one.

use std::path::PathBuf;
use std::time::Duration;

use super::Secret;
use super::amqp::Amqp;
use super::flows::{self, Source};
use super::raw::Raw;
use crate::broker::Overflow;
use crate::pipeline::plan::outputs;
use crate::store::Retention;
use crate::telemetry::logs;

/// Where interactions are kept (`[store]`).
#[derive(Clone, Debug)]
pub struct Store {
    /// `sqlite:PATH` or `postgres://…`.
    pub url: Secret,
    /// The source of the live data key; none: the store chooses.
    pub live_key: Option<LiveKey>,
    /// Whether to bring the schema up to date at start.
    pub migrate: bool,
    /// How long after an interaction's end repeats of its events are recognised.
    pub repeat: Duration,
}

/// The source of the key that seals live data.
#[derive(Clone, Debug)]
pub enum LiveKey {
    /// A file; the store reads it.
    File(PathBuf),
    /// Given directly.
    Inline(Secret),
}

impl Store {
    pub(super) fn read(raw: &mut Raw) -> Store {
        Store {
            url: raw.secret_url("store.url", &["sqlite:", "postgres://", "postgresql://"]),
            live_key: LiveKey::read(raw),
            migrate: raw.boolean("store.migrate"),
            repeat: raw.seconds("store.repeat_secs", 60..=31_536_000),
        }
    }
}

impl LiveKey {
    fn read(raw: &mut Raw) -> Option<LiveKey> {
        let file = raw.optional_path("store.live_key_file");
        let inline = raw.optional_secret("store.live_key");
        if file.is_some() && inline.is_some() {
            let other = raw.origin("store.live_key_file");
            let what = format!("is given twice: {other} sets store.live_key_file; keep one");
            raw.problem("store.live_key", what);
        }
        file.map(LiveKey::File).or(inline.map(LiveKey::Inline))
    }
}

/// The rules file (`[rules]`).
#[derive(Clone, Debug)]
pub struct Rules {
    /// Where it is.
    pub file: PathBuf,
    /// Whether the operator named it. A named file that is absent is an error; the default may be absent.
    pub is_named: bool,
    /// The interval between two checks for changes; zero: none.
    pub watch: Duration,
    /// Case files that rules must pass before a worker takes them.
    pub cases: Vec<PathBuf>,
}

impl Rules {
    pub(super) fn read(raw: &mut Raw) -> Rules {
        let is_named = !raw.origin("rules.file").is_default();
        Rules {
            file: raw.path("rules.file"),
            is_named,
            watch: raw.seconds("rules.watch_secs", 0..=3600),
            cases: raw.list("rules.cases").into_iter().map(PathBuf::from).collect(),
        }
    }
}

/// Batches (`[pipeline]`).
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Messages in a batch at most.
    pub batch_messages: usize,
}

impl Pipeline {
    pub(super) fn read(raw: &mut Raw) -> Pipeline {
        Pipeline { batch_messages: raw.integer("pipeline.batch_messages", 1..=10_000) }
    }
}

/// Live data (`[live]`).
#[derive(Clone, Debug)]
pub struct Live {
    /// From an interaction's last message to the erasure of its live data.
    pub ttl: Duration,
}

impl Live {
    pub(super) fn read(raw: &mut Raw) -> Live {
        Live { ttl: raw.seconds("live.ttl_secs", 60..=31_536_000) }
    }
}

/// Saved interactions (`[history]`).
#[derive(Clone, Debug)]
pub struct History {
    /// How long they are kept.
    pub retention: Retention,
}

/// A hundred years: longer than that is for ever.
const RETENTION_MAX_DAYS: u32 = 36_500;

impl History {
    pub(super) fn read(raw: &mut Raw) -> History {
        let days = raw.integer("history.retention_days", 0..=RETENTION_MAX_DAYS);
        let mut retention = Retention { days, ..Retention::default() };
        for entry in raw.list("history.retention") {
            let Some((kind, name, days)) = retention_entry(&entry) else {
                let expected =
                    "expected channel:NAME=DAYS or queue:NAME=DAYS, with 0 to 36500 days";
                raw.problem("history.retention", format!("{expected}, found {entry:?}"));
                continue;
            };
            let of_kind = match kind {
                RetentionScope::Channel => &mut retention.channels,
                RetentionScope::Queue => &mut retention.queues,
            };
            if of_kind.insert(name.to_owned(), days).is_some() {
                raw.problem("history.retention", format!("names {name:?} twice"));
            }
        }
        History { retention }
    }
}

#[derive(Clone, Copy)]
enum RetentionScope {
    Channel,
    Queue,
}

/// An entry such as `queue:vip@acme.test=365`. Names may hold `:` and `=` themselves.
fn retention_entry(entry: &str) -> Option<(RetentionScope, &str, u32)> {
    let (named, days) = entry.rsplit_once('=')?;
    let (kind, name) = named.split_once(':')?;
    let kind = match kind.trim() {
        "channel" => RetentionScope::Channel,
        "queue" => RetentionScope::Queue,
        _ => return None,
    };
    let days = days.trim().parse().ok().filter(|days| *days <= RETENTION_MAX_DAYS)?;
    let name = name.trim();
    (!name.is_empty()).then_some((kind, name, days))
}

/// Messages that wait for another interaction (`[waiting]`).
#[derive(Clone, Debug)]
pub struct Waiting {
    /// How long a child may wait for its parent (C9).
    pub parent: Duration,
    /// How long an update or an end may wait for its interaction.
    pub unknown: Duration,
    /// How long a message may wait for a queue to be bound, or for a broker that refuses it.
    pub unroutable: Duration,
    /// Bytes of bodies that each waiting queue may hold; none: no bound.
    pub max_bytes: Option<u64>,
}

impl Waiting {
    pub(super) fn read(raw: &mut Raw) -> Waiting {
        Waiting {
            parent: raw.seconds("waiting.parent_secs", 1..=3600),
            unknown: raw.seconds("waiting.unknown_secs", 1..=86_400),
            unroutable: raw.seconds("waiting.unroutable_secs", 1..=86_400),
            max_bytes: bound(raw.integer("waiting.max_bytes", 0..=QUEUE_MAX_BYTES)),
        }
    }
}

/// More than any disk: 1 PiB.
const QUEUE_MAX_BYTES: u64 = 1 << 50;

/// Ten years, which RabbitMQ takes as a TTL; it refuses a hundred.
const QUEUE_MAX_AGE_SECS: u64 = 3650 * 86_400;

/// The dead-letter queue's bounds (`[dead_letters]`).
#[derive(Clone, Debug)]
pub struct DeadLetters {
    /// Bytes of bodies that it may hold; none: no bound.
    pub max_bytes: Option<u64>,
    /// How long a dead letter is kept; none: for ever.
    pub max_age: Option<Duration>,
    /// The behaviour when it is full.
    pub overflow: Overflow,
}

impl DeadLetters {
    pub(super) fn read(raw: &mut Raw) -> DeadLetters {
        DeadLetters {
            max_bytes: bound(raw.integer("dead_letters.max_bytes", 0..=QUEUE_MAX_BYTES)),
            max_age: bound(raw.integer("dead_letters.max_age_secs", 0..=QUEUE_MAX_AGE_SECS))
                .map(Duration::from_secs),
            overflow: raw.word(
                "dead_letters.overflow",
                &Overflow::ALL.map(|overflow| (overflow.as_str(), overflow)),
            ),
        }
    }
}

/// 0 stands for "no bound", since TOML has no word for nothing.
fn bound(number: u64) -> Option<u64> {
    (number > 0).then_some(number)
}

/// Bounds on messages (`[limits]`).
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a body at most.
    pub body_max_bytes: usize,
}

impl Limits {
    pub(super) fn read(raw: &mut Raw) -> Limits {
        // 128 MiB is the most that RabbitMQ itself accepts by default (16 MiB from 4.0).
        Limits { body_max_bytes: raw.integer("limits.body_max_bytes", 1024..=134_217_728) }
    }
}

/// Published messages (`[output]`).
#[derive(Clone, Debug)]
pub struct Output {
    /// Whether the enriched message names the origin of each pair.
    pub origins: bool,
    /// Where interactions go beside the enriched message.
    pub further: Vec<outputs::Output>,
}

impl Output {
    pub(super) fn read(raw: &mut Raw, amqp: &Amqp, sources: &[Source]) -> Output {
        Output {
            origins: raw.boolean("output.origins"),
            further: flows::read_outputs(raw, amqp, sources),
        }
    }
}

/// The end (`[shutdown]`).
#[derive(Clone, Debug)]
pub struct Shutdown {
    /// How long batches under way may take to finish.
    pub drain: Duration,
}

impl Shutdown {
    pub(super) fn read(raw: &mut Raw) -> Shutdown {
        Shutdown { drain: raw.seconds("shutdown.drain_secs", 1..=3600) }
    }
}

/// Logs (`[log]`); the type is the logs' own.
pub(super) fn read_log(raw: &mut Raw) -> logs::Settings {
    logs::Settings {
        format: raw
            .word("log.format", &[("text", logs::Format::Text), ("json", logs::Format::Json)]),
        filter: raw
            .text("log.level", "a level or a list of module=level", |text| text.parse().ok()),
    }
}
