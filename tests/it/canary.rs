//! Canaries: values that must be nowhere. They are planted in everything that history does not list,
//! sent through the program itself, and looked for wherever something might stay: in the files of the
//! store while interactions are active and after their end, in the logs at their most talkative, in
//! what is said of messages that are refused, in what a worker tells over HTTP, and in its spans (K8).
//!
//! A listed value is the control: the same search must find it, or it proves nothing.

use std::path::Path;
use std::process::Command;

use lapin::types::FieldTable;

use crate::support::bench::{self, declare_topology};
use crate::support::collector::Collector;
use crate::support::files::any_holds;
use crate::support::interactive_process::{InteractiveProcess, run, throughline};
use crate::support::monitored_worker::{MonitoredWorker, poll_until_some};
use crate::support::postgres::{Database, shared_files};
use crate::support::rabbitmq;

const RULES: &str = r#"
[copy_user_data]
value = "all"
[[assign]]
key = "lifted"
from = "/jsonEvent/page"
[history]
chat = "listed"
webengagement = "listed"
"#;

/// A live key for stores that need one: 32 times the byte 1, in base64.
const LIVE_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

/// A text that stands nowhere else, not even in another run of this test.
struct Canary(String);

impl Canary {
    fn new() -> Canary {
        let mut random = [0; 8];
        getrandom::fill(&mut random).expect("the system has randomness");
        Canary(format!("canary-{:016x}", u64::from_be_bytes(random)))
    }

    /// The forms in which a slip might show it: as it is, and as the bytes of a `Debug`.
    fn forms(&self) -> [String; 2] {
        let bytes: Vec<_> = self.0.bytes().map(|byte| byte.to_string()).collect();
        [self.0.clone(), bytes.join(", ")]
    }

    fn is_in(&self, text: &str) -> bool {
        self.forms().iter().any(|form| text.contains(form))
    }

    /// Whether a file of the folder holds it.
    fn is_in_a_file_of(&self, folder: &Path) -> bool {
        any_holds(folder, &self.0)
    }
}

/// Creations of a parent and its child, and an update, with the canary in all that is not listed.
fn active(canary: &str, listed: &str) -> String {
    let long = canary.repeat(300);
    let lines = [
        format!(
            r#"{{"type":"interaction.created","id":"1","source":"customer","note":"{canary}","interaction":{{
            "id":"parent","channel":"webengagement","carried":"{canary}",
            "userData":{{"listed":"{listed}","a":"{canary}","long":"{long}","{canary}":1,
            "jsonEvent":{{"page":"{canary}"}}}},
            "attached":[{{"source":"agent","userData":[{{"key":"b","type":"str","value":"{canary}"}}]}}]}}}}"#
        ),
        format!(
            r#"{{"type":"interaction.created","id":"1","interaction":{{"id":"child","channel":"chat",
            "parentId":"parent","userData":{{"listed":"{listed}","nested":{{"deep":["{canary}"]}}}}}}}}"#
        ),
        format!(
            r#"{{"type":"interaction.created","id":"1","interaction":{{"id":"inline","channel":"chat",
            "parent":{{"id":"p","channel":"webengagement","userData":{{"c":"{canary}"}}}},
            "userData":{{"d":"{canary}"}}}}}}"#
        ),
        format!(
            r#"{{"type":"interaction.updated","id":"2","interaction":{{"id":"child",
            "userData":{{"late":"{canary}","listed":["{canary}"]}}}}}}"#
        ),
    ];
    lines.map(|line| line.replace('\n', "") + "\n").concat()
}

/// The ends of the interactions, with the canary in members that an end does not use.
fn ends(canary: &str) -> String {
    let end = |id| {
        format!(
            r#"{{"type":"interaction.ended","id":"3","interaction":{{"id":"{id}","userData":{{"e":"{canary}"}}}}}}"#
        ) + "\n"
    };
    ["parent", "child", "inline"].map(end).concat()
}

/// Messages that are refused, each for a reason of its own, with the canary where a parser's or a
/// checker's complaint might quote it. One a line.
fn refused(canary: &str) -> String {
    let interaction = |members: &str| {
        format!(
            r#"{{"type":"interaction.created","interaction":{{"id":"x","channel":"chat",{members}}}}}"#
        )
    };
    let long_name = canary.repeat(20);
    let huge = canary.repeat(4_000);
    let deep = format!("{}\"{canary}\"{}", "[".repeat(200), "]".repeat(200));
    [
        canary.to_owned(),
        format!(r#"{{"type":"{canary}"#),
        format!(r#"{{"userData":{{"a":"{canary}" "b":1}}}}"#),
        format!(r#"{{"userData":{{"a":{canary}}}}}"#),
        format!(r#"{{"userData":{{"a":"\q{canary}"}}}}"#),
        format!("{{\"userData\":{{\"a\":\"\u{1}{canary}\"}}}}"),
        format!(r#"["{canary}"]"#),
        format!(r#""{canary}""#),
        format!(r#"{{"{canary}":"{canary}"}}"#),
        format!(r#"{{"type":"interaction.{canary}","interaction":{{"id":"x"}}}}"#),
        format!(r#"{{"type":["{canary}"],"interaction":{{"id":"x"}}}}"#),
        format!(r#"{{"type":"interaction.created","interaction":"{canary}"}}"#),
        format!(r#"{{"type":"interaction.ended","interaction":{{"id":"parent","state":"{canary}"}}}}"#),
        format!(r#"{{"type":"interaction.updated","interaction":{{"id":"x","userData":{{"a":"{canary}"}}}}}}"#),
        interaction(&format!(r#""userData":"{canary}""#)),
        interaction(&format!(r#""userData":["{canary}"]"#)),
        interaction(&format!(r#""userData":{{"a":"{huge}"}}"#)),
        interaction(&format!(r#""userData":{{"a":{deep}}}"#)),
        interaction(&format!(r#""queue":{{"a":"{canary}"}}"#)),
        interaction(&format!(r#""queue":"{long_name}""#)),
        interaction(&format!(r#""widget":"\u0000{canary}""#)),
        interaction(&format!(r#""tenant":"\ud800{canary}""#)),
        interaction(&format!(r#""parent":["{canary}"]"#)),
        interaction(&format!(r#""parent":{{"id":"p","userData":"{canary}"}}"#)),
        interaction(&format!(r#""attached":[{{"source":["{canary}"]}}]"#)),
        interaction(&format!(r#""attached":"{canary}""#)),
        format!(
            r#"{{"specversion":"1.0","type":"interaction.created","source":"{canary}","data":"{canary}"}}"#
        ),
    ]
    .map(|line| line + "\n")
    .concat()
}

/// A folder with the rules.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("rules.toml"), RULES).expect("written");
    folder
}

fn pipe(folder: &Path, store: &str, more: &[&str]) -> Command {
    let arguments = ["pipe", "--rules", "rules.toml", "--store", store];
    let mut command = throughline(folder, &[&arguments, more].concat());
    command.env("THROUGHLINE_STORE__LIVE_KEY", LIVE_KEY);
    command
}

/// Plays the life of interactions and searches `files` at each stage of it. `settle` brings to disk
/// what the store still holds in memory.
async fn no_file_holds_it(store: &str, files: &Path, settle: impl AsyncFn()) {
    let folder = folder();
    let (canary, listed) = (Canary::new(), Canary::new());
    let mut program = InteractiveProcess::start(pipe(folder.path(), store, &["-vv"]));
    let search = async |stage: &str| {
        settle().await;
        assert!(listed.is_in_a_file_of(files), "{stage}: the search does not find what is saved");
        assert!(!canary.is_in_a_file_of(files), "{stage}: it is in the store's files");
        assert!(!canary.is_in_a_file_of(folder.path()), "{stage}: it is in a temporary file");
    };
    program.write_lines(&active(&canary.0, &listed.0));
    let published = program.read_lines(4).concat();
    assert!(canary.is_in(&published), "it was in the messages");
    search("while they are active").await;
    program.write_lines(&ends(&canary.0));
    program.read_lines(3);
    search("after their end").await;
    let logged = program.finish();
    assert!(!canary.is_in(&logged) && !listed.is_in(&logged), "it is in the log: {logged}");
    search("after the program").await;
}

#[tokio::test]
async fn unlisted_values_are_in_no_file_of_sqlite() {
    let files = tempfile::tempdir().expect("a temporary folder");
    let store = format!("sqlite:{}", files.path().join("store.db").display());
    no_file_holds_it(&store, files.path(), async || {}).await;
}

#[tokio::test]
async fn unlisted_values_are_in_no_file_of_postgres() {
    let database = Database::create().await;
    // The files of a server that the tests did not start are out of reach; its rows are not.
    match shared_files() {
        Some(files) => {
            let checkpoint = async || database.execute("CHECKPOINT").await;
            no_file_holds_it(&database.url, files, checkpoint).await;
        }
        None => {
            let folder = folder();
            let (canary, listed) = (Canary::new(), Canary::new());
            let input = active(&canary.0, &listed.0);
            let output = run(pipe(folder.path(), &database.url, &[]), &input);
            assert!(output.status.success());
            assert!(
                database.any_row_holds(&listed.0).await,
                "the search does not find what is saved"
            );
            assert!(!database.any_row_holds(&canary.0).await, "it is in a row");
        }
    }
}

#[test]
fn logs_of_refused_messages_hold_no_value() {
    for log in ["text", "json"] {
        let folder = folder();
        let canary = Canary::new();
        let (known, refused) = (active(&canary.0, "x"), refused(&canary.0));
        let mut command = pipe(
            folder.path(),
            "sqlite:store.db",
            &["--log", log, "--strict", "--dead-letters", "d"],
        );
        // Libraries are named, so that they say all they can.
        command.env("THROUGHLINE_LOG__LEVEL", "trace,sqlx=trace,config=trace");
        let output = run(command, &format!("{known}{refused}"));
        assert_eq!(output.status.code(), Some(1), "some lines are rejected");
        let dead =
            std::fs::read_to_string(folder.path().join("d")).expect("there are dead letters");
        assert_eq!(dead.lines().count(), refused.lines().count(), "each is refused:\n{dead}");
        for letter in dead.lines() {
            let letter: serde_json::Value = serde_json::from_str(letter).expect("JSON");
            assert!(!canary.is_in(&letter["headers"].to_string()), "{}", letter["headers"]);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("rejected"), "{said}");
        assert!(!canary.is_in(&said), "{said}");
    }
}

#[test]
fn explain_shows_no_value_unless_requested() {
    let folder = folder();
    let canary = Canary::new();
    // Where the canary is a key, its name may be shown.
    let known = active(&canary.0, "x").replace(&format!("\"{}\":1,", canary.0), "");
    let input = format!("{known}{}", refused(&canary.0));
    let explained = |more: &[&str]| {
        let arguments = [&["explain", "--rules", "rules.toml", "-vv"], more].concat();
        let output = run(throughline(folder.path(), &arguments), &input);
        assert!(output.status.success());
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let hidden = explained(&[]);
    assert!(!canary.is_in(&hidden), "{hidden}");
    assert!(canary.is_in(&explained(&["--show-values"])));
}

#[tokio::test]
async fn http_responses_and_spans_hold_no_value() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        let downstream = bench.downstream("interaction.#", FieldTable::default()).await;
        let folder = folder();
        let canary = Canary::new();
        let collector = Collector::start();
        let traces = [("THROUGHLINE_TRACES__ENDPOINT", collector.endpoint.as_str())];
        let watched = MonitoredWorker::start(folder.path(), &bench.settings, RULES, &traces).await;
        let (known, refused) = (active(&canary.0, "x"), refused(&canary.0));
        bench.send_all(known.lines().chain(refused.lines())).await;
        let published = bench.take(&downstream, known.lines().count()).await;
        let published = published.iter().map(|message| String::from_utf8_lossy(&message.data));
        assert!(canary.is_in(&published.collect::<String>()), "it was in the messages");
        // One of the refused is an update of an unknown interaction: it waits.
        let all = known.lines().count() + refused.lines().count();
        poll_until_some(async || {
            let status = watched.json("/status").await;
            let finished = status["finished"].as_object().expect("outcomes").values();
            let finished: u64 = finished.filter_map(serde_json::Value::as_u64).sum();
            (finished >= all as u64).then_some(())
        })
        .await;
        for path in ["/livez", "/readyz", "/metrics", "/status", "/version"] {
            let answer = String::from_utf8(watched.get(path).await.body).expect("UTF-8");
            assert!(!canary.is_in(&answer), "{path}: {answer}");
        }
        assert!(!canary.is_in(&watched.worker.log()), "it is in the log");
        assert_eq!(watched.worker.stop().code(), Some(0));
        // At its end it sends what it still has.
        let exported = collector.bodies().concat();
        assert!(exported.contains("not_an_interaction"), "there are spans of them: {exported}");
        assert!(!canary.is_in(&exported), "{exported}");
    })
    .await;
}
