//! Dead letters as an operator handles them: through the program, against a real broker.

mod bounds;
mod operator;
mod replay;

use lapin::BasicProperties;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use throughline::clock::Clock;
use throughline::domain::RejectReason::{self, NotJson, Unroutable};
use throughline::pipeline::ports::{Attempts, Outgoing, PublishOutcome, Publisher, Settlement};

use crate::support::bench::{Bench, headers, receive_batch, settle_all, text, with_bench};
use crate::support::rabbitmq;
use operator::{CommandOutput, RunningCommand, run};

/// Long ago, in milliseconds since the Unix epoch: 1970-01-01T00:00:01.500Z.
const OLD_MS: i64 = 1_500;

/// What is said to be wrong with each of them.
const DETAIL: &str = "interaction.id is missing";
/// What no line of output may hold.
const SECRET: &str = "s3cret";

/// Sets messages aside as the worker does, with bodies that hold [`SECRET`].
async fn set_aside(bench: &Bench, letters: &[(&str, RejectReason, i64)]) {
    let (link, mut lane) = bench.lane().await;
    for (id, reason, first_seen_ms) in letters {
        let properties = BasicProperties::default()
            .with_message_id((*id).into())
            .with_content_type("application/json".into())
            .with_priority(3)
            .with_expiration("60000".into())
            .with_headers(headers([("vendor", text("kept"))]));
        bench.send("vendor.key", properties, &format!("{SECRET} of {id}")).await;
        let batch = receive_batch(&mut lane, 1).await;
        let dead = Outgoing::DeadLetter {
            delivery: &batch[0],
            reason: *reason,
            detail: DETAIL,
            stage: "decode",
            attempts: Attempts {
                count: 2,
                cause: Some("unroutable".into()),
                first_seen_ms: Some(*first_seen_ms),
            },
        };
        let answers = lane.publisher.publish(&[dead]).await.expect("published");
        assert_eq!(answers, [PublishOutcome::Confirmed]);
        settle_all(&mut lane, batch, Settlement::Acknowledge).await;
    }
    drop(lane);
    link.close().await;
}

/// Three that differ in everything that can be selected by.
async fn set_three_aside(bench: &Bench) {
    let now_ms = Clock::System.now_ms();
    let three = [("m-1", NotJson, OLD_MS), ("m-2", Unroutable, now_ms), ("m-3", NotJson, now_ms)];
    set_aside(bench, &three).await;
}

/// Runs `throughline dead-letters` with these words.
async fn dead_letters(bench: &Bench, words: &str) -> CommandOutput {
    let words: Vec<_> = std::iter::once("dead-letters").chain(words.split_whitespace()).collect();
    run(&bench.settings, &words).await
}

/// The same for other tests: the exit code, and what is printed.
pub(crate) async fn run_dead_letters(bench: &Bench, words: &str) -> (Option<i32>, String) {
    let CommandOutput { code, out, .. } = dead_letters(bench, words).await;
    (code, out)
}

/// The objects of a run with `--json`.
fn objects(output: &CommandOutput) -> Vec<Value> {
    output.out.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// The ids of the dead letters that are there, in order.
async fn ids(bench: &Bench) -> Vec<String> {
    ids_of(&dead_letters(bench, "list --json").await)
}

fn ids_of(output: &CommandOutput) -> Vec<String> {
    let id = |object: Value| object["id"].as_str().expect("it has an id").to_owned();
    objects(output).into_iter().map(id).collect()
}

#[tokio::test]
async fn list_shows_everything_except_the_body() {
    with_bench(rabbitmq::shared(), async |bench| {
        set_aside(bench, &[("m-1", NotJson, OLD_MS)]).await;
        let output = dead_letters(bench, "list").await;
        assert_eq!(output.code, Some(0), "{output:?}");
        let rows: Vec<Vec<_>> =
            output.out.lines().map(|line| line.split_whitespace().collect()).collect();
        let [head, row] = &rows[..] else { panic!("a head and a row: {output:?}") };
        assert_eq!(head[..3], ["ID", "REASON", "STAGE"]);
        let [told @ .., member, is, missing] = &row[..] else { panic!("a row: {output:?}") };
        let expected =
            ["m-1", "not_json", "decode", "2", "1970-01-01T00:00:01.500Z", "0", "13", "vendor.key"];
        assert_eq!(*told, expected);
        assert_eq!([*member, *is, *missing].join(" "), DETAIL);

        let output = dead_letters(bench, "list --json").await;
        let expected = json!({
            "id": "m-1", "reason": "not_json", "detail": DETAIL, "stage": "decode", "attempts": 2,
            "firstSeen": "1970-01-01T00:00:01.500Z", "replayed": 0, "routingKey": "vendor.key",
            "bodyBytes": 13,
        });
        assert_eq!(objects(&output), [expected]);
        assert!(!format!("{output:?}").contains(SECRET), "{output:?}");
    })
    .await;
}

#[tokio::test]
async fn each_selector_filters_dead_letters() {
    with_bench(rabbitmq::shared(), async |bench| {
        set_three_aside(bench).await;
        for (selectors, expected) in [
            ("", &["m-1", "m-2", "m-3"][..]),
            ("--id m-2", &["m-2"]),
            ("--id m-3 --id m-1", &["m-1", "m-3"]),
            ("--reason not_json", &["m-1", "m-3"]),
            ("--reason unroutable --reason not_json", &["m-1", "m-2", "m-3"]),
            ("--older-than 3600", &["m-1"]),
            ("--younger-than 3600", &["m-2", "m-3"]),
            ("--younger-than 3600 --reason not_json", &["m-3"]),
        ] {
            for command in ["list", "replay --dry-run --all", "discard --dry-run --all"] {
                let command = match selectors {
                    "" => command,
                    // Not beside another selector.
                    _ => command.trim_end_matches(" --all"),
                };
                let output = dead_letters(bench, &format!("{command} {selectors} --json")).await;
                assert_eq!(ids_of(&output), expected, "{command} {selectors}: {output:?}");
                assert_eq!(output.code, Some(0));
            }
        }
        let shown = dead_letters(bench, "show --reason not_json --json").await;
        assert_eq!(ids_of(&shown), ["m-1"], "the first that matches");
        let two = dead_letters(bench, "list --limit 2 --json").await;
        assert_eq!(objects(&two).len(), 2);
        assert!(two.err.contains("not looked at: 1"), "{two:?}");
    })
    .await;
}

#[tokio::test]
async fn listed_dead_letters_return_in_order() {
    with_bench(rabbitmq::shared(), async |bench| {
        set_three_aside(bench).await;
        let link = bench.link().await;
        for _ in 0..30 {
            let mut pass = link.dead_letters().await.expect("a pass");
            let mut seen = Vec::new();
            while let Some(letter) = pass.next().await.expect("the broker is up") {
                seen.push(letter.id.expect("it has an id"));
            }
            assert_eq!(seen, ["m-1", "m-2", "m-3"]);
            pass.finish().await.expect("the broker is up");
        }
    })
    .await;
}

#[tokio::test]
async fn a_body_is_shown_on_request_only() {
    with_bench(rabbitmq::shared(), async |bench| {
        set_aside(bench, &[("m-1", NotJson, OLD_MS)]).await;
        for form in ["", "--json"] {
            let output = dead_letters(bench, &format!("show --id m-1 {form}")).await;
            assert_eq!(output.code, Some(0), "{output:?}");
            assert!(!output.out.contains(SECRET) && output.out.contains(DETAIL), "{output:?}");
            let output = dead_letters(bench, &format!("show --id m-1 --show-body {form}")).await;
            assert!(output.out.contains(&format!("{SECRET} of m-1")), "{output:?}");
        }
        let output = dead_letters(bench, "show --id m-1 --show-body --json").await;
        let shown = objects(&output).remove(0);
        assert_eq!(
            shown["properties"],
            json!({
                "content_type": "application/json", "delivery_mode": 2, "message_id": "m-1",
            })
        );
        assert_eq!(shown["headers"]["x-throughline-priority"], 3);
        assert_eq!(shown["headers"]["vendor"], "kept");
        assert_eq!(shown["headers"]["x-throughline-reason"], "not_json");
        assert_eq!(shown["headers"]["x-throughline-detail"], DETAIL);
        assert_eq!(shown["body"], format!("{SECRET} of m-1"));
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    with_bench(rabbitmq::shared(), async |bench| {
        set_three_aside(bench).await;
        for command in ["replay --dry-run --all", "discard --dry-run --id m-2"] {
            let output = dead_letters(bench, command).await;
            assert_eq!(output.code, Some(0), "{output:?}");
            assert!(output.err.contains("nothing was done"), "{output:?}");
        }
        assert_eq!(ids(bench).await, ["m-1", "m-2", "m-3"]);
        assert_eq!(bench.ready(&bench.settings.queue).await, 0);
    })
    .await;
}

#[tokio::test]
async fn closed_list_output_is_no_failure() {
    with_bench(rabbitmq::shared(), async |bench| {
        set_three_aside(bench).await;
        let mut list = RunningCommand::start(&bench.settings, &["dead-letters", "list"]);
        assert!(list.next_line().await.starts_with("ID"));
        assert_eq!(list.ended().await, Some(0));
        assert_eq!(ids(bench).await.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn discard_removes_only_selected_dead_letters() {
    with_bench(rabbitmq::shared(), async |bench| {
        set_three_aside(bench).await;
        let output = dead_letters(bench, "discard --older-than 3600").await;
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(output.err.contains("1 discarded") && !output.out.contains(SECRET), "{output:?}");
        assert_eq!(ids(bench).await, ["m-2", "m-3"]);

        let output = dead_letters(bench, "discard --all --limit 1").await;
        assert!(output.err.contains("not looked at: 1"), "{output:?}");
        assert_eq!(ids(bench).await, ["m-3"]);
        assert_eq!(bench.ready(&bench.settings.queue).await, 0);
    })
    .await;
}

#[tokio::test]
async fn every_result_has_its_exit_code() {
    with_bench(rabbitmq::shared(), async |bench| {
        let missing = dead_letters(bench, "list").await;
        assert_eq!(missing.code, Some(69), "no such queue: {missing:?}");

        set_three_aside(bench).await;
        for (words, code) in [
            ("list --id unknown", 1),
            ("show --id unknown", 1),
            ("replay --id unknown", 1),
            ("discard --reason internal --dry-run", 1),
            ("replay", 2),
            ("discard --dry-run", 2),
            ("replay --limit 3", 2),
            ("replay --all --id m-1", 2),
            ("discard --all --limit 0", 2),
            ("list --older-than yesterday", 2),
            ("list --json", 0),
        ] {
            let output = dead_letters(bench, words).await;
            assert_eq!(output.code, Some(code), "{words}: {output:?}");
        }
        assert_eq!(ids(bench).await, ["m-1", "m-2", "m-3"]);

        // No server listens on a port that was free a moment ago.
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = free.local_addr().expect("it is bound").port();
        drop(free);
        let mut nowhere = bench.settings.clone();
        nowhere.url = format!("amqp://guest:guest@127.0.0.1:{port}/%2f");
        let output = run(&nowhere, &["dead-letters", "list"]).await;
        assert_eq!(output.code, Some(69), "{output:?}");
    })
    .await;
}
