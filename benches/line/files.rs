//! The command `pipe`: its speed, with an empty and a full store, and the bytes that a store keeps for
//! each interaction.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use crate::messages;
use crate::process;
use crate::subject::{LIVE_KEY, program};
use crate::support::postgres::{self, Database};

/// The result of a run of `pipe`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PipeMeasurement {
    /// Messages a second, from start to end.
    pub(crate) rate: f64,
    /// Processor time of a message, in microseconds.
    pub(crate) cpu_us: f64,
}

/// Writes messages into a file, a line each.
pub(crate) fn write(folder: &Path, name: &str, lines: impl Iterator<Item = String>) -> PathBuf {
    let path = folder.join(name);
    let mut file = BufWriter::new(File::create(&path).expect("the folder can be written"));
    for line in lines {
        writeln!(file, "{line}").expect("the folder has room");
    }
    file.flush().expect("the folder has room");
    path
}

/// Runs `pipe` over a file of `count` messages; `store` names a persistent one.
pub(crate) fn pipe(
    folder: &Path,
    input: &Path,
    count: usize,
    store: Option<&str>,
) -> PipeMeasurement {
    let rules = folder.join("rules.toml");
    std::fs::write(&rules, messages::RULES).expect("the folder can be written");
    let mut command = program();
    command.arg("--rules").arg(rules).args(["pipe", "--strict"]).arg(input);
    if let Some(store) = store {
        command.env("THROUGHLINE_STORE__LIVE_KEY", LIVE_KEY).args(["--store", store]);
    }
    let output = File::create(folder.join("enriched.ndjson")).expect("the folder can be written");
    let (began, before) = (Instant::now(), process::children_cpu_secs());
    let ran = command.stdout(output).stderr(Stdio::piped()).output().expect("it can be run");
    let (took, after) = (began.elapsed(), process::children_cpu_secs());
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    PipeMeasurement {
        rate: count as f64 / took.as_secs_f64(),
        cpu_us: (after - before) * 1e6 / count as f64,
    }
}

/// What PostgreSQL keeps of the interactions, their index included, in bytes.
pub(crate) async fn table_bytes(url: &str) -> u64 {
    ask(url, "SELECT pg_total_relation_size('throughline_interaction')").await
}

/// Writes rows of interactions that are long over, as history has them.
pub(crate) async fn write_history(database: &Database, rows: usize) {
    let sql = format!(
        "INSERT INTO throughline_interaction \
         SELECT n, n, n, 2, '1', 'old-' || n, 'chat', 'support@acme.test', '{{}}', \
         '{{\"plan\":\"gold-annual\",\"rule\":\"cart-over-100\"}}', '', NULL \
         FROM generate_series(1, {rows}) AS n"
    );
    database.execute(&sql).await;
    database.execute("VACUUM ANALYZE throughline_interaction").await;
    database.execute("CHECKPOINT").await;
}

/// How far PostgreSQL's write-ahead log has come, in bytes.
pub(crate) async fn log_bytes(url: &str) -> u64 {
    ask(url, "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint").await
}

async fn ask(url: &str, question: &'static str) -> u64 {
    u64::try_from(postgres::number(url, question).await).expect("a number of bytes")
}

/// The ends of the interactions of the first `count` messages.
pub(crate) fn ends(count: usize) -> impl Iterator<Item = String> {
    messages::bodies(count).enumerate().map(|(place, body)| {
        let (_, rest) = body.split_once(r#""interaction":{"id":""#).expect("it has an id");
        let (id, _) = rest.split_once('"').expect("it ends");
        format!(
            r#"{{"type":"interaction.ended","id":"evt-e-{place}","interaction":{{"id":"{id}","tenant":"1","state":"handled"}}}}"#
        )
    })
}
