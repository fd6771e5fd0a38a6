//! What the worker costs beside a null relay: throughput, processor time, latency, memory, start, and
//! the command `pipe`. `scripts/bench` runs it.
//!
//! Everything is measured on one machine in one go, the subjects in turn, round by round (A B A B), so
//! that what the machine does meanwhile hits all of them; ratios are taken round by round. It starts a
//! RabbitMQ and a PostgreSQL of its own, with `fsync` on.
//!
//! | argument | does |
//! |---|---|
//! | `--bench` | cargo's own; without it, as `cargo test --all-targets` has it, nothing is measured |
//! | `--quick` | one short round of everything |
//! | `--without-peers` | leaves the workers in Node.js and Python out |
//! | `--pure PROGRAM` | the program of `benches/pure.rs`, whose figures are reported, too |
//! | `--write` | puts the figures into docs/performance.md |
//! | `relay URL QUEUE EXCHANGE` | is the null relay |

#[path = "../support/messages.rs"]
mod messages;
#[path = "../../tests/it/support/mod.rs"]
#[expect(dead_code, reason = "the tests need more of it than the benchmark")]
mod support;

mod conversation;
mod figures;
mod files;
mod process;
mod pure;
mod relay;
mod report;
mod stage;
mod subject;

use std::collections::BTreeMap;
use std::path::Path;

use figures::{Samples, quantile};
use stage::{SharedServices, Throughput};
use subject::Subject;
use support::postgres::{self, Database};
use support::rabbitmq::Node;

/// How much is measured.
struct Size {
    /// Rounds of each pair.
    rounds: usize,
    /// Messages of a run over a filled queue; the peers, which are slower, have a part of them.
    messages: usize,
    /// Seconds of a run at a steady rate.
    steady_secs: u32,
    /// Messages of a run of `pipe`.
    lines: usize,
    /// Starts that are timed.
    starts: usize,
    /// Updates of the conversation that goes on and on.
    updates: usize,
    /// Rows of history that the largest store has.
    history: usize,
}

const FULL: Size = Size {
    rounds: 5,
    messages: 40_000,
    steady_secs: 8,
    lines: 200_000,
    starts: 9,
    updates: 100_000,
    history: 10_000_000,
};
const QUICK: Size = Size {
    rounds: 1,
    messages: 6_000,
    steady_secs: 3,
    lines: 20_000,
    starts: 3,
    updates: 10_000,
    history: 100_000,
};

/// Messages a second of the runs at a steady rate.
const STEADY_RATE: u32 = 1_000;

/// All measurements.
#[derive(Default)]
struct Measurements {
    throughput: BTreeMap<Subject, Vec<Throughput>>,
    /// With a prefetch of 2,000.
    wide: Vec<Throughput>,
    /// Runs with calls among the messages, by whether there is a gate for them.
    gate: BTreeMap<&'static str, Vec<Throughput>>,
    /// Latencies in milliseconds: at p50 and at p99, a sample a round.
    latency: BTreeMap<Subject, [Samples; 2]>,
    starts: BTreeMap<Subject, Samples>,
    /// Samples of `pipe`, by name.
    pipe: BTreeMap<&'static str, Samples>,
    /// Bytes a row, by store and state.
    row_bytes: BTreeMap<&'static str, f64>,
    /// What the last updates of a long conversation cost beside the first, by store.
    growth: BTreeMap<&'static str, conversation::Growth>,
    pure: BTreeMap<String, f64>,
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if let [relay, url, queue, exchange] = &arguments[..]
        && relay == "relay"
    {
        let relayed = runtime.block_on(relay::run(url, queue, exchange));
        panic!("the relay has ended: {relayed:?}");
    }
    if !has("--bench") {
        return;
    }
    let size = if has("--quick") { &QUICK } else { &FULL };
    let peers = if has("--without-peers") { &[][..] } else { &[Subject::Node, Subject::Python] };
    let mut measured = runtime.block_on(measure(size, peers));
    let pure = arguments.iter().position(|argument| argument == "--pure");
    if let Some(program) = pure.and_then(|at| arguments.get(at + 1)) {
        measured.pure = pure::figures(program);
    }
    report::tell(&measured, has("--write"));
}

async fn measure(size: &Size, peers: &[Subject]) -> Measurements {
    let node = Node::start();
    let database = Database::create().await;
    // The tests do without; a benchmark must not.
    database.execute("ALTER SYSTEM SET fsync = on").await;
    database.execute("SELECT pg_reload_conf()").await;
    let folder = tempfile::tempdir().expect("a folder can be made");
    let files = postgres::shared_files().expect("the benchmark starts its own PostgreSQL");
    let place = SharedServices {
        amqp_url: &node.url,
        broker_mark: format!("node{}@localhost", node.amqp_port),
        database_mark: files.display().to_string(),
        folder: folder.path(),
    };
    let mut measured = Measurements::default();
    let subjects = [Subject::Relay, Subject::Sqlite, Subject::Postgres];
    for round in 1..=size.rounds {
        for subject in subjects.iter().chain(peers) {
            let part = match subject {
                Subject::Relay | Subject::Sqlite | Subject::Postgres => 1,
                Subject::Node => 8,
                Subject::Python => 20,
            };
            let bodies: Vec<_> = messages::bodies(size.messages / part).collect();
            let run = stage::throughput(&place, *subject, &bodies, &[]).await;
            eprintln!("round {round}: {}: {:.0}/s, {:.0} µs", subject.name(), run.rate, run.cpu_us);
            measured.throughput.entry(*subject).or_default().push(run);
        }
    }
    let wide = [("THROUGHLINE_AMQP__PREFETCH_MESSAGES", "2000")];
    let bodies: Vec<_> = messages::bodies(size.messages).collect();
    let run = stage::throughput(&place, Subject::Postgres, &bodies, &wide).await;
    eprintln!("prefetch 2,000: {:.0}/s, {:.0} MiB", run.rate, run.peak_mib);
    measured.wide.push(run);
    gates(size, &place, &mut measured).await;
    for round in 1..=size.rounds.min(3) {
        for subject in subjects {
            let taken = stage::latencies(&place, subject, STEADY_RATE, size.steady_secs).await;
            let [p50, p99] = [quantile(&taken, 0.5), quantile(&taken, 0.99)];
            eprintln!("round {round}: {}: p50 {p50:.2} ms, p99 {p99:.2} ms", subject.name());
            let samples = measured.latency.entry(subject).or_default();
            samples[0].push(p50);
            samples[1].push(p99);
        }
    }
    for subject in subjects {
        let taken = Samples(stage::starts(&place, subject, size.starts).await);
        eprintln!("{}: {} ms to the first message", subject.name(), taken.summary());
        measured.starts.insert(subject, taken);
    }
    measured.growth.insert("SQLite", conversation::sqlite(size.updates).await);
    measured.growth.insert("PostgreSQL", conversation::postgres(size.updates).await);
    pipes(size, place.folder, &mut measured).await;
    measured
}

/// What a status gate whose endpoint takes connections and never answers does to the traffic that it is
/// not asked about, beside the same traffic without a gate.
async fn gates(size: &Size, place: &SharedServices<'_>, measured: &mut Measurements) {
    let endpoint = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://{}", endpoint.local_addr().expect("it is bound"));
    let hangs = [("THROUGHLINE_GATE__BASE_URL", url.as_str())];
    let bodies: Vec<_> = with_calls(size.messages).collect();
    for round in 1..=size.rounds {
        for (name, more) in [("no gate", &[][..]), ("a gate that hangs", &hangs)] {
            let run = stage::throughput(place, Subject::Sqlite, &bodies, more).await;
            eprintln!("round {round}: {name}: {:.0}/s, {:.0} µs", run.rate, run.cpu_us);
            measured.gate.entry(name).or_default().push(run);
        }
    }
}

/// The usual messages, and after every twentieth a call for one of ten widgets, which the gate is asked
/// about.
fn with_calls(count: usize) -> impl Iterator<Item = String> {
    messages::bodies(count).enumerate().flat_map(|(n, body)| {
        let call = || {
            let widget = n / 20 % 10;
            format!(
                r#"{{"type":"interaction.created","id":"evt-v-{n:08}","interaction":{{"id":"0000Vx{n:010}","channel":"voice","tenant":"1","widget":"w-{widget}"}}}}"#
            )
        };
        std::iter::once(body).chain((n % 20 == 0).then(call))
    })
}

/// The command `pipe`, over a temporary store and over stores that stay.
async fn pipes(size: &Size, folder: &Path, measured: &mut Measurements) {
    let lines = size.lines;
    let input = files::write(folder, "in.ndjson", messages::bodies(lines));
    for _ in 0..size.rounds.min(3) {
        let run = files::pipe(folder, &input, lines, None);
        eprintln!("pipe: {:.0}/s, {:.1} µs", run.rate, run.cpu_us);
        measured.pipe.entry("rate").or_default().push(run.rate);
        measured.pipe.entry("cpu_us").or_default().push(run.cpu_us);
    }
    // The first tenth goes into an empty store, the last into what the others have left.
    let (count, skip) = (lines / 10, lines * 9 / 10);
    let parts = [("empty", 0, count), ("filling", count, skip - count), ("full", skip, count)];
    let database = Database::create().await;
    let sqlite = folder.join("kept.db");
    let url = format!("sqlite:{}", sqlite.display());
    let log_before = files::log_bytes(&database.url).await;
    for (name, from, count) in parts {
        let input = files::write(folder, "part.ndjson", messages::bodies(from + count).skip(from));
        let kept = files::pipe(folder, &input, count, Some(&url));
        let remote = files::pipe(folder, &input, count, Some(&database.url));
        match name {
            "empty" => {
                measured.pipe.entry("sqlite_empty").or_default().push(kept.rate);
                measured.pipe.entry("postgres_empty").or_default().push(remote.rate);
            }
            "full" => {
                measured.pipe.entry("sqlite_full").or_default().push(kept.rate);
                measured.pipe.entry("postgres_full").or_default().push(remote.rate);
            }
            _ => {}
        }
    }
    let log_bytes = files::log_bytes(&database.url).await - log_before;
    let mut rows = |name, bytes: u64| measured.row_bytes.insert(name, bytes as f64 / lines as f64);
    let file_bytes = || std::fs::metadata(&sqlite).map_or(0, |file| file.len());
    rows("postgres_log", log_bytes);
    rows("sqlite_active", file_bytes());
    rows("postgres_active", files::table_bytes(&database.url).await);
    let input = files::write(folder, "ends.ndjson", files::ends(lines));
    files::pipe(folder, &input, lines, Some(&database.url));
    database.execute("VACUUM FULL throughline_interaction").await;
    rows("postgres_ended", files::table_bytes(&database.url).await);
    files::write_history(&database, size.history).await;
    // In turn with an empty one, since one run of a second says little.
    let beside = Database::create().await;
    for round in 0..size.rounds {
        let from = lines + round * count;
        let input = files::write(folder, "part.ndjson", messages::bodies(from + count).skip(from));
        for (name, database) in [("postgres_beside", &beside), ("postgres_vast", &database)] {
            let run = files::pipe(folder, &input, count, Some(&database.url));
            eprintln!("pipe, {name}: {:.0}/s", run.rate);
            measured.pipe.entry(name).or_default().push(run.rate);
        }
    }
}
