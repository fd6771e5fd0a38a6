//! The report of the measurements: a table, and a plot. Written into docs/performance.md between
//! its two markers, and to docs/performance.svg.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use crate::Measurements;
use crate::figures::{Samples, number};
use crate::stage::Throughput;
use crate::subject::Subject;

/// What the figures stand between in docs/performance.md.
const BEGIN: &str = "<!-- figures: begin -->\n";
const END: &str = "<!-- figures: end -->\n";

/// How the page shows the plot.
const PLOT: &str = "![Messages a second, and processor time of a message](performance.svg)\n";

/// Prints the tables, and with `write` puts them into the documentation.
pub(crate) fn tell(measured: &Measurements, write: bool) {
    let text = [machine(), against_targets(measured), subjects(measured), capacity(measured)];
    let text = text.join("\n");
    println!("{text}");
    if !write {
        return;
    }
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let page = docs.join("performance.md");
    let old = std::fs::read_to_string(&page).expect("docs/performance.md is there");
    let (before, rest) = old.split_once(BEGIN).expect("it has the marker where figures begin");
    let (_, after) = rest.split_once(END).expect("it has the marker where figures end");
    let new = format!("{before}{BEGIN}\n{text}\n{PLOT}\n{END}{after}");
    std::fs::write(&page, new).expect("docs/performance.md can be written");
    std::fs::write(docs.join("performance.svg"), plot(measured)).expect("the plot can be written");
}

/// Where and when.
fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown", |model| model.trim_start_matches(['\t', ':', ' ']));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = said("git", &["rev-parse", "--short", "HEAD"]).unwrap_or_default();
    let day = said("date", &["-u", "+%F"]).unwrap_or_default();
    format!(
        "Measurements {day} at commit `{commit}` on {cores} cores of {model}, load {load} at the end. \
         Figures are medians, with the least and the most in brackets.\n"
    )
}

/// A line for each target: the target, and the measurement.
fn against_targets(measured: &Measurements) -> String {
    let mut table = String::from("| what | target | measured |\n|---|---|---|\n");
    let mut row = |what: &str, target: &str, samples: &Samples| {
        if !samples.0.is_empty() {
            writeln!(table, "| {what} | {target} | {} |", samples.summary()).expect("a string");
        }
    };
    let rates = |subject| samples(measured, subject, |run| run.rate);
    let cpu = |subject| samples(measured, subject, |run| run.cpu_us);
    let [relay, sqlite, postgres] = [Subject::Relay, Subject::Sqlite, Subject::Postgres];
    row("throughput ÷ null relay's, SQLite", "≥ 0.90", &rates(sqlite).over(&rates(relay)));
    row("throughput ÷ null relay's, PostgreSQL", "≥ 0.85", &rates(postgres).over(&rates(relay)));
    row("CPU per message ÷ null relay's, SQLite", "≤ 1.6", &cpu(sqlite).over(&cpu(relay)));
    row("CPU per message ÷ null relay's, PostgreSQL", "≤ 1.6", &cpu(postgres).over(&cpu(relay)));
    row(
        "throughput ÷ Vector's 3,900/s",
        "≥ 2",
        &rates(postgres).over(&constant(measured, 3_900.0)),
    );
    row(
        "CPU per message ÷ Vector's 220 µs",
        "≤ 0.3",
        &cpu(postgres).over(&constant(measured, 220.0)),
    );
    row("throughput ÷ Node.js peer's", "≥ 4", &rates(postgres).over(&rates(Subject::Node)));
    row("throughput ÷ Python peer's", "≥ 15", &rates(postgres).over(&rates(Subject::Python)));
    if let (Some(own), Some(yardstick)) =
        (measured.latency.get(&postgres), measured.latency.get(&relay))
    {
        row("p50 at 1,000/s ÷ null relay's, PostgreSQL", "≤ 2", &own[0].over(&yardstick[0]));
        row("p99 at 1,000/s ÷ null relay's, PostgreSQL", "≤ 2", &own[1].over(&yardstick[1]));
    }
    let pure = |name: &str, by: f64| {
        Samples(measured.pure.get(name).map(|value| value / by).into_iter().collect())
    };
    let ratio = |over: &str, under: &str| pure(over, 1.0).over(&pure(under, 1.0));
    row("decode → rules → encode, µs", "≤ 4", &pure("pure", 1000.0));
    row("… of it decode, µs", "", &pure("decode", 1000.0));
    row("… of it rules, µs", "", &pure("rules", 1000.0));
    row("… of it encode, µs", "", &pure("encode", 1000.0));
    row("… instructions", "", &pure("instructions", 1.0));
    row("… allocations", "few", &pure("pure allocations", 1.0));
    row("the seal of 1 KiB, µs", "", &pure("seal", 1000.0));
    row("10 → 100,000 widgets and sets", "1 (flat)", &ratio("widgets/100000", "widgets/10"));
    row("10 → 500 keys", "≤ 50 (linear)", &ratio("keys/500", "keys/10"));
    let gate = |name, of: fn(&Throughput) -> f64| {
        Samples(measured.gate.get(name).into_iter().flatten().map(of).collect())
    };
    let gates = |of| gate("a gate that hangs", of).over(&gate("no gate", of));
    row("throughput with a gate that hangs ÷ without one", "1", &gates(|run| run.rate));
    row("CPU per message with a gate that hangs ÷ without one", "1", &gates(|run| run.cpu_us));
    let piped = |name| measured.pipe.get(name).cloned().unwrap_or_default();
    row(
        "SQLite, full ÷ empty: messages/s",
        "1 (flat)",
        &piped("sqlite_full").over(&piped("sqlite_empty")),
    );
    row(
        "PostgreSQL, full ÷ empty: messages/s",
        "1 (flat)",
        &piped("postgres_full").over(&piped("postgres_empty")),
    );
    row(
        "PostgreSQL, 10,000,000 rows of history ÷ empty: messages/s",
        "1 (flat)",
        &piped("postgres_vast").over(&piped("postgres_beside")),
    );
    for (store, growth) in measured.growth.iter().rev() {
        let what = format!("updates of one interaction, last thousand ÷ first, {store}");
        row(&format!("{what}: time"), "≤ 1.2", &growth.time);
        row(&format!("{what}: bytes written"), "≤ 1.2", &growth.written);
    }
    let peak = measured.wide.iter().map(|run| run.peak_mib).collect();
    row("memory at prefetch 2,000, MiB", "≤ 64", &Samples(peak));
    for (subject, taken) in &measured.starts {
        let target = if *subject == Subject::Relay { "" } else { "≤ 150" };
        row(&format!("start to first message, {}, ms", subject.name()), target, taken);
    }
    row("`pipe`, messages/s", "≥ 50,000", &piped("rate"));
    row("`pipe`, CPU per message, µs", "", &piped("cpu_us"));
    for (name, what) in [
        ("sqlite_active", "SQLite, bytes a row, active"),
        ("postgres_active", "PostgreSQL, bytes a row, active"),
        ("postgres_log", "PostgreSQL, bytes of log a message"),
        ("postgres_ended", "PostgreSQL, bytes a row, ended and vacuumed"),
    ] {
        row(what, "", &Samples(measured.row_bytes.get(name).copied().into_iter().collect()));
    }
    table
}

/// Who was measured, side by side.
fn subjects(measured: &Measurements) -> String {
    let mut table = String::from(
        "| who | messages/s | CPU, µs per message | of the broker | of PostgreSQL | memory, MiB | \
         p50 at 1,000/s, ms | p99, ms |\n|---|---|---|---|---|---|---|---|\n",
    );
    for subject in measured.throughput.keys() {
        let column = |of: fn(&Throughput) -> f64| samples(measured, *subject, of);
        let latency = measured.latency.get(subject);
        let latency = |which: usize| latency.map_or("".to_owned(), |both| both[which].summary());
        writeln!(
            table,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            subject.name(),
            column(|run| run.rate).summary(),
            column(|run| run.cpu_us).summary(),
            number(column(|run| run.broker_us).median()),
            number(column(|run| run.database_us).median()),
            number(column(|run| run.peak_mib).median()),
            latency(0),
            latency(1),
        )
        .expect("a string takes all");
    }
    table
}

/// What so many messages a second need, from the processor times of the worker over PostgreSQL.
fn capacity(measured: &Measurements) -> String {
    /// Busier than this, a queue in front of anything grows long.
    const BUSY: f64 = 0.7;
    let of = |of: fn(&Throughput) -> f64| samples(measured, Subject::Postgres, of).median();
    let (rate, worker_us) = (of(|run| run.rate), of(|run| run.cpu_us));
    let (broker_us, database_us) = (of(|run| run.broker_us), of(|run| run.database_us));
    let row_bytes = |name: &str| measured.row_bytes.get(name).copied().unwrap_or(f64::NAN);
    let mut table = String::from(
        "| messages a second | lanes | cores of workers | of the broker | of PostgreSQL | its \
         log, MB/s | history, GB a day |\n|---|---|---|---|---|---|---|\n",
    );
    for messages in [1_000.0, 10_000.0, 100_000.0] {
        // Rounded up to halves, since a core is had whole or shared with one other.
        let cores = |each_us: f64| (messages * each_us / 1e6 / BUSY * 2.0).ceil() / 2.0;
        writeln!(
            table,
            "| {} | {} | {} | {} | {} | {} | {} |",
            number(messages),
            (messages / (rate * BUSY)).ceil(),
            cores(worker_us),
            cores(broker_us),
            cores(database_us),
            number(messages * row_bytes("postgres_log") / 1e6),
            // Three messages make an interaction of their usual life: it begins, changes and ends.
            number(messages / 3.0 * 86_400.0 * row_bytes("postgres_ended") / 1e9),
        )
        .expect("a string takes all");
    }
    table
}

fn samples(measured: &Measurements, subject: Subject, of: impl Fn(&Throughput) -> f64) -> Samples {
    Samples(measured.throughput.get(&subject).into_iter().flatten().map(of).collect())
}

/// A figure from elsewhere, once a round.
fn constant(measured: &Measurements, value: f64) -> Samples {
    Samples(measured.throughput.values().next().map_or(Vec::new(), |runs| vec![value; runs.len()]))
}

/// Throughput and processor time of every subject, as bars.
fn plot(measured: &Measurements) -> String {
    let rate = |subject: &Subject| samples(measured, *subject, |run| run.rate).median();
    let cpu = |subject: &Subject| samples(measured, *subject, |run| run.cpu_us).median();
    let height = 40 + 34 * measured.throughput.len();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 860 {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <title>Messages a second, and processor time of a message</title>\n\
         <rect width=\"860\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"210\" y=\"22\">messages a second</text>\n\
         <text x=\"560\" y=\"22\">processor time of a message, µs</text>\n"
    );
    let widest =
        |of: &dyn Fn(&Subject) -> f64| measured.throughput.keys().map(of).fold(1.0, f64::max);
    let (fastest, dearest) = (widest(&rate), widest(&cpu));
    for (place, subject) in measured.throughput.keys().enumerate() {
        let top = 34 + 34 * place;
        let base = top + 16;
        writeln!(svg, "<text x=\"200\" y=\"{base}\" text-anchor=\"end\">{}</text>", subject.name())
            .expect("a string takes all");
        for (left, value, most, colour) in
            [(210, rate(subject), fastest, "#2f6f9f"), (560, cpu(subject), dearest, "#b5722a")]
        {
            let width = 230.0 * value / most;
            let beside = f64::from(left) + width + 6.0;
            writeln!(
                svg,
                "<rect x=\"{left}\" y=\"{top}\" width=\"{width:.1}\" height=\"22\" \
                 fill=\"{colour}\"/>\n<text x=\"{beside:.1}\" y=\"{base}\">{}</text>",
                number(value)
            )
            .expect("a string takes all");
        }
    }
    svg + "</svg>\n"
}
