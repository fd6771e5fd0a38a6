//! Rules that change: in a worker that runs, and between two files.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use throughline::domain::Rules;
use throughline::pipeline::save::rules_in_force::RulesInForce;
use throughline::reload::{ReloadStatus, Reloader, RulesSource};
use tokio::sync::{Notify, watch};

use crate::support::bench::{self, declare_topology};
use crate::support::program::{Worker, folder, run, stderr, stdout, write};
use crate::support::rabbitmq;

const ONE_KEY_RULES: &str = "[history]\nchat = \"plan\"\n";
const TWO_KEY_RULES: &str = "[history]\nchat = \"plan, tier\"\n";

/// A reloader that runs beside a test.
struct ReloadFixture {
    folder: tempfile::TempDir,
    in_force: Arc<RulesInForce>,
    standing: watch::Receiver<ReloadStatus>,
    asked: Arc<Notify>,
}

impl ReloadFixture {
    fn new(watch_secs: u64, cases: &[&str]) -> ReloadFixture {
        let folder = folder();
        let file = write(folder.path(), "rules.toml", ONE_KEY_RULES);
        let cases = cases.iter().map(|text| write(folder.path(), "cases.json", text)).collect();
        let watch = Duration::from_secs(watch_secs);
        let source = RulesSource { file, is_named: true, cases, watch };
        let rules = source.load().expect("good rules").rules;
        ReloadFixture::with_rules(folder, source, rules)
    }

    fn with_rules(folder: tempfile::TempDir, source: RulesSource, rules: Rules) -> ReloadFixture {
        let in_force = Arc::new(RulesInForce::new(rules));
        let reloader = Reloader::new(source, Arc::clone(&in_force));
        let standing = reloader.status();
        let asked = Arc::new(Notify::new());
        let asking = Arc::clone(&asked);
        tokio::spawn(async move { reloader.run(&asking).await });
        ReloadFixture { folder, in_force, standing, asked }
    }

    fn write(&self, text: &str) {
        write(self.folder.path(), "rules.toml", text);
    }

    /// What the next change of standing comes to.
    async fn next(&mut self) -> ReloadStatus {
        self.standing.changed().await.expect("it runs");
        self.standing.borrow_and_update().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn valid_file_is_loaded_and_invalid_file_is_rejected() {
    let mut watched = ReloadFixture::new(2, &[]);
    let first = watched.in_force.snapshot();
    watched.write(TWO_KEY_RULES);
    let second = watched.next().await;
    assert_eq!((second.number, &second.problem), (2, &None));
    assert_ne!(&second.revision, first.rules.revision());
    assert_eq!(watched.in_force.snapshot().rules.revision(), &second.revision);

    watched.write("[history\n");
    let broken = watched.next().await;
    assert_eq!((broken.number, broken.refused), (2, 1));
    assert_eq!(broken.revision, second.revision, "the old rules stay in force");
    assert!(broken.problem.is_some_and(|why| why.starts_with("failed to parse the rules")));

    watched.write("[histori]\nchat = \"plan\"\n");
    let unknown = watched.next().await;
    assert_eq!((unknown.number, unknown.refused), (2, 2));
    assert!(unknown.problem.is_some_and(|why| why.contains("histori")));

    std::fs::remove_file(watched.folder.path().join("rules.toml")).expect("removed");
    let absent = watched.next().await;
    assert_eq!((absent.number, absent.refused), (2, 3), "absent rules are not no rules");

    watched.write(TWO_KEY_RULES);
    let mended = watched.next().await;
    assert_eq!((mended.number, &mended.problem), (2, &None), "the rules in force are good again");

    watched.write(ONE_KEY_RULES);
    let back = watched.next().await;
    assert_eq!((back.number, &back.revision), (3, first.rules.revision()));
}

#[tokio::test(start_paused = true)]
async fn rules_failing_their_cases_are_rejected() {
    let saved = r#"{"rules":"rules.toml","cases":[{"name":"the plan is saved",
        "given":{"type":"interaction.created","id":"1","interaction":{"id":"C","channel":"chat","userData":{"plan":"gold","tier":"1"}}},
        "expect":{"extraData":{"plan":"gold"}}}]}"#;
    let mut watched = ReloadFixture::new(2, &[saved]);
    watched.write(TWO_KEY_RULES);
    let refused = watched.next().await;
    assert_eq!((refused.number, refused.refused), (1, 1));
    let why = refused.problem.expect("a reason");
    assert!(why.starts_with("failed to pass the cases of rules.cases:"), "{why}");
    assert!(why.ends_with("cases.json: the plan is saved"), "{why}");

    watched.write("[history]\nchat = \"plan\"\n[limits]\nuser_data_warn_bytes = 9\n");
    assert_eq!(watched.next().await.number, 2);
}

#[tokio::test(start_paused = true)]
async fn unwatched_file_is_reloaded_on_request() {
    let mut watched = ReloadFixture::new(0, &[]);
    watched.write(TWO_KEY_RULES);
    watched.asked.notify_one();
    assert_eq!(watched.next().await.number, 2);
}

#[tokio::test(start_paused = true)]
async fn default_rules_file_may_appear_later() {
    let folder = folder();
    let file = folder.path().join("rules.toml");
    let watch = Duration::from_secs(2);
    let source = RulesSource { file, is_named: false, cases: Vec::new(), watch };
    let mut watched = ReloadFixture::with_rules(folder, source, Rules::empty());
    // It has been looked at by then, more than once.
    tokio::time::advance(Duration::from_secs(60)).await;
    watched.asked.notify_one();
    watched.write(ONE_KEY_RULES);
    let taken = watched.next().await;
    assert_eq!((taken.number, taken.refused), (2, 0), "no rules were no problem");
}

// ------------------------------------------------------------------------------------- under load

/// Rules that always change two keys together.
fn rules(n: usize) -> String {
    format!(
        "[[assign]]\nkey = \"first\"\nvalue = \"{n}\"\n[[assign]]\nkey = \"second\"\nvalue = \"{n}\"\n"
    )
}

const SWAPS: usize = 100;
const MESSAGES_PER_SWAP: usize = 20;

#[tokio::test]
async fn rules_swaps_under_load_lose_and_mix_nothing() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        let downstream =
            bench.downstream("interaction.#", lapin::types::FieldTable::default()).await;
        let folder = folder();
        let more = [("THROUGHLINE_LANES", "2"), ("THROUGHLINE_RULES__WATCH_SECS", "0")];
        let worker = Worker::start(folder.path(), &bench.settings, &rules(0), &more);
        let mut sent = 0;
        let mut log = LogCursor::new(&worker);
        log.wait_for("connected to the broker").await;
        for n in 1..=SWAPS {
            let bodies = (sent..sent + MESSAGES_PER_SWAP).map(|id| {
                json!({ "type": "interaction.created", "id": format!("e{id}"),
                        "interaction": { "id": format!("i{id}"), "channel": "chat" } })
            });
            bench.send_all(bodies).await;
            sent += MESSAGES_PER_SWAP;
            // Written in place and at once under way: the worker must not take half of it.
            let broken = n % 10 == 0;
            let text = if broken { "[[assign]\n".to_owned() } else { rules(n) };
            write(folder.path(), "rules.toml", &text);
            worker.signal("HUP");
            let said = if broken { "the rules file is refused" } else { "new rules are in force" };
            log.wait_for(said).await;
        }
        let mut values_of = HashMap::new();
        let mut ids = Vec::new();
        for message in bench.take(&downstream, sent).await {
            let body: Value = serde_json::from_slice(&message.data).expect("JSON");
            let data = &body["interaction"]["userData"];
            assert_eq!(data["first"], data["second"], "one snapshot for one message");
            let revision = body["rules"]["revision"].to_string();
            let before = values_of.insert(revision, data["first"].clone());
            assert!(before.is_none_or(|value| value == data["first"]), "one meaning of a revision");
            ids.push(body["cause"]["id"].as_str().expect("a text").to_owned());
        }
        ids.sort();
        let mut expected: Vec<_> = (0..sent).map(|id| format!("e{id}")).collect();
        expected.sort();
        assert_eq!(ids, expected);
        assert!(values_of.len() > 1, "the rules changed while messages came");
        assert_eq!(bench.ready(&bench.settings.dead_letters.clone()).await, 0);
        assert_eq!(worker.stop().code(), Some(0));
    })
    .await;
}

/// A worker's log, read line by line as it grows.
struct LogCursor<'w> {
    worker: &'w Worker,
    read: usize,
}

impl LogCursor<'_> {
    fn new(worker: &Worker) -> LogCursor<'_> {
        LogCursor { worker, read: 0 }
    }

    /// Waits until a line that was not passed yet holds `words`, and passes it.
    async fn wait_for(&mut self, words: &str) {
        self.read = self.worker.wait_for_log(words, self.read).await;
    }
}

// -------------------------------------------------------------------------------- between two files

const OLD_RULES: &str = r#"
[copy_user_data]
value = "rule;strategy"
[[assign]]
channel = "webengagement"
key = "site"
value = "shop"
[[user_data_set]]
name = "Billing"
[[user_data_set.key]]
name = "AccNum"
default = "unknown"
[[user_data_set.key]]
name = "Gone"
[[widget]]
id = "w-1"
user_data_set = "Billing"
[[widget]]
id = "w-2"
user_data_set = "Billing"
[[metadata_item]]
name = "Tier"
[history]
chat = "plan"
"#;

const NEW_RULES: &str = r#"
[copy_user_data]
value = "strategy; topic"
[[assign]]
key = "site"
value = "shop.acme.test"
[[user_data_set]]
name = "Renamed"
[[user_data_set.key]]
name = "AccNum"
default = "none"
replace = true
[[widget]]
id = "w-1"
user_data_set = "Renamed"
[[widget]]
id = "w-2"
user_data_set = "Renamed"
call_target = "4380"
[[call_target]]
id = "4380"
[[call_target.metadata_item]]
name = "AccNum"
[[metadata_item]]
name = "Tier"
default = "basic"
[history]
chat = ["plan", "tier"]
email = "plan"
[[history.queue]]
queue = "vip@acme.test"
keys = "plan"
[allocated]
voice = "CallerID"
[updates]
customer_frozen = []
[parents]
unknown = "dead_letter"
"#;

const EXPECTED_DIFF: &str = "
assign
  channel webengagement: `site` is assigned \"shop.acme.test\"; it was assigned \"shop\"
  every other channel: `site` is now assigned \"shop.acme.test\"

user_data_set
  widget w-1, widget w-2: `AccNum` is always replaced by \"none\" (U4)
  widget w-1, widget w-2: `Gone` is dropped (U5)
  widget w-2: leads to the call target 4380

copy_user_data
  webengagement → chat, webengagement → webcallback: `rule` is not copied any more
  webengagement → chat, webengagement → webcallback: `topic` is copied, too

metadata
  call target 4380: `AccNum` is passed on now (M1)
  call target 4380, every other call target: `Tier` is passed on, or \"basic\" where it is missing (M1)

history
  channel chat: `tier` is saved, too
  channel email: what is saved now: `plan`
  queue vip@acme.test: has a list of its own now: `plan`

allocated
  channel voice: of user data only this is published now: `CallerID`

updates
  channel webchat: what the customer sends in updates is taken

parents
  a child whose parent does not come: is set aside (C9)
";

fn diff(folder: &Path, arguments: &[&str]) -> std::process::Output {
    run(folder, &[&["rules", "diff"], arguments].concat())
}

#[test]
fn rules_diff_describes_changes_in_words() {
    let folder = folder();
    write(folder.path(), "old.toml", OLD_RULES);
    write(folder.path(), "new.toml", NEW_RULES);
    let output = diff(folder.path(), &["old.toml", "new.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let (headline, changes) = text.split_once('\n').expect("a headline");
    assert!(headline.starts_with("revision ") && headline.contains(" → "), "{headline}");
    assert_eq!(changes, EXPECTED_DIFF);

    let output = diff(folder.path(), &["--json", "new.toml", "old.toml"]);
    let document: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let changes = document["changes"].as_array().expect("a list");
    let gone = json!({ "section": "allocated", "who": ["channel voice"],
                       "what": "all user data is published again (H6)" });
    assert!(changes.contains(&gone), "{changes:?}");
}

#[test]
fn reformatted_rules_show_no_change() {
    let folder = folder();
    write(
        folder.path(),
        "old.toml",
        "[copy_user_data]\nvalue = \"a;b\"\n[history]\nchat = \"a, b\"\n",
    );
    write(
        folder.path(),
        "new.json",
        r#"{"history":{"chat":["b","a"]},"copy_user_data":{"value":" b; a;"},"user_data_set":[{"name":"unused"}]}"#,
    );
    let output = diff(folder.path(), &["old.toml", "new.json"]);
    assert!(stdout(&output).ends_with("\nnothing changes\n"), "{}", stdout(&output));
}

#[test]
fn rules_diff_runs_the_cases() {
    let folder = folder();
    write(folder.path(), "old.toml", ONE_KEY_RULES);
    write(folder.path(), "new.toml", TWO_KEY_RULES);
    let cases = r#"{"rules":"old.toml","cases":[{"name":"the plan is saved",
        "given":{"type":"interaction.created","id":"1","interaction":{"id":"C","channel":"chat","userData":{"plan":"gold","tier":"1"}}},
        "expect":{"extraData":{"plan":"gold"}}}]}"#;
    write(folder.path(), "cases.json", cases);
    write(
        folder.path(),
        "settings.toml",
        "[rules]\nfile = \"new.toml\"\ncases = [\"cases.json\"]\n",
    );
    let failed = "failed to pass the cases of rules.cases:\n  cases.json: the plan is saved";
    for (command, code) in [
        (&["rules", "diff", "old.toml", "new.toml"][..], 1),
        (&["check"], 64),
        (&["pipe", "-"], 64),
    ] {
        let output = run(folder.path(), &[command, &["--config", "settings.toml"]].concat());
        assert_eq!(output.status.code(), Some(code), "{command:?}");
        assert!(stderr(&output).contains(failed), "{}", stderr(&output));
    }
    // The file's own rules pass, those that stand in for them do not.
    assert_eq!(run(folder.path(), &["test", "cases.json"]).status.code(), Some(0));
    let output = run(folder.path(), &["test", "--rules", "new.toml", "cases.json"]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
}
