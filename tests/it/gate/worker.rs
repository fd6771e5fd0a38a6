//! The worker, the program itself, before an endpoint that hangs: others pass, an interaction keeps its
//! order, and neither a crash nor a shutdown loses or skips an answer.

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::FieldTable;
use serde_json::{Value, json};

use crate::support::bench::{self, Bench, declare_topology};
use crate::support::mindful::MindfulServer;
use crate::support::program::{Worker, folder, program, run, stderr, stdout, write};
use crate::support::rabbitmq;

fn created(id: &str, channel: &str, widget: Option<&str>) -> String {
    let mut message = json!({ "type": "interaction.created", "id": format!("{id}-created"),
        "interaction": { "id": id, "channel": channel, "routing": { "target": "anywhere" } } });
    if let Some(widget) = widget {
        message["interaction"]["widget"] = widget.into();
    }
    message.to_string()
}

fn updated(id: &str) -> String {
    json!({ "type": "interaction.updated", "id": format!("{id}-updated"),
        "interaction": { "id": id, "userData": { "k": "v" } } })
    .to_string()
}

fn ended(id: &str) -> String {
    json!({ "type": "interaction.ended", "id": format!("{id}-ended"), "interaction": { "id": id } })
        .to_string()
}

fn worker(folder: &std::path::Path, bench: &Bench, mindful: &MindfulServer) -> Worker {
    let settings = [
        ("THROUGHLINE_GATE__BASE_URL", mindful.base_url.as_str()),
        // An answer that is held is to be awaited, however slow the machine is.
        ("THROUGHLINE_GATE__TIMEOUT_MS", "30000"),
        // A few: were they all taken up by what is held, nothing else would come.
        ("THROUGHLINE_AMQP__PREFETCH_MESSAGES", "5"),
        ("THROUGHLINE_PIPELINE__BATCH_MESSAGES", "5"),
    ];
    Worker::start(folder, &bench.settings, "", &settings)
}

fn cause(delivery: &Delivery) -> String {
    delivery.properties.correlation_id().as_ref().expect("a correlation id").to_string()
}

fn causes(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(cause).collect()
}

fn routing(delivery: &Delivery) -> Value {
    let body: Value = serde_json::from_slice(&delivery.data).expect("JSON");
    body["interaction"]["routing"].clone()
}

fn callback() -> Value {
    json!({ "target": "callback", "widgetState": "offer_callback" })
}

#[tokio::test]
async fn waiting_interaction_blocks_only_its_own_messages() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        let downstream = bench.downstream("interaction.#", FieldTable::default()).await;
        let (folder, mindful) = (folder(), MindfulServer::start().await);
        let worker = worker(folder.path(), bench, &mindful);
        bench.send_all([created("V", "voice", Some("held")), updated("V"), ended("V")]).await;
        // More than the broker delivers ahead.
        let callers: Vec<_> = (0..20).map(|n| format!("V{n}")).collect();
        bench.send_all(callers.iter().map(|id| created(id, "voice", Some("held")))).await;
        let others: Vec<_> = (0..20).map(|n| format!("C{n}")).collect();
        bench.send_all(others.iter().map(|id| created(id, "chat", Some("held")))).await;
        bench.send_all([created("N", "voice", None)]).await;

        let passed = bench.take(&downstream, others.len() + 1).await;
        let expected = others.iter().map(String::as_str).chain(["N"]);
        assert_eq!(
            causes(&passed),
            expected.map(|id| format!("{id}-created")).collect::<Vec<_>>(),
            "in their order, past all that wait"
        );
        let (last, chats) = passed.split_last().expect("they came");
        assert!(chats.iter().all(|chat| routing(chat).is_null()), "a chat is not gated");
        assert_eq!(routing(last), json!({ "target": "agent_queue" }), "no widget");

        mindful.release();
        let waited = bench.take(&downstream, 3 + callers.len()).await;
        let own: Vec<_> = waited.iter().filter(|one| cause(one).starts_with("V-")).collect();
        let order: Vec<_> = own.iter().map(|one| cause(one)).collect();
        assert_eq!(order, ["V-created", "V-updated", "V-ended"]);
        for message in &waited {
            let expected = if cause(message) == "V-ended" { Value::Null } else { callback() };
            assert_eq!(routing(message), expected, "{}", cause(message));
        }
        assert_eq!(mindful.heads().len(), 1, "one request for all of them");
        assert_eq!(worker.stop().code(), Some(0));
        assert_eq!(bench.ready(&bench.settings.queue).await, 0);
    })
    .await;
}

#[tokio::test]
async fn waiting_interactions_are_queried_again_after_a_crash() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        let downstream = bench.downstream("interaction.#", FieldTable::default()).await;
        let (folder, mindful) = (folder(), MindfulServer::start().await);
        let first = worker(folder.path(), bench, &mindful);
        bench.send_all([created("V", "voice", Some("held")), updated("V")]).await;
        bench.send_all([created("C", "chat", None)]).await;
        // The chat came behind them: both are saved and wait.
        assert_eq!(causes(&bench.take(&downstream, 1).await), ["C-created"]);
        mindful.await_requests(1).await;
        first.signal("KILL");
        first.wait();

        let second = worker(folder.path(), bench, &mindful);
        mindful.await_requests(2).await;
        mindful.release();
        let mut finished = Vec::new();
        while finished.len() < 2 {
            let next = bench.take(&downstream, 1).await.pop().expect("one");
            // The chat may come again: its acknowledgement may have died with the worker.
            if cause(&next) != "C-created" {
                assert_eq!(routing(&next), callback());
                finished.push(cause(&next));
            }
        }
        assert_eq!(finished, ["V-created", "V-updated"]);
        assert_eq!(second.stop().code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn stopping_worker_awaits_gate_responses() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        let downstream = bench.downstream("interaction.#", FieldTable::default()).await;
        let (folder, mindful) = (folder(), MindfulServer::start().await);
        let worker = worker(folder.path(), bench, &mindful);
        bench.send("any", BasicProperties::default(), &created("V", "voice", Some("held"))).await;
        mindful.await_requests(1).await;
        worker.signal("TERM");
        worker.wait_for_log("told to stop", 0).await;
        mindful.release();
        assert_eq!(routing(&bench.take(&downstream, 1).await[0]), callback());
        assert_eq!(worker.wait().code(), Some(0));
        assert_eq!(bench.ready(&bench.settings.queue).await, 0);
    })
    .await;
}

#[tokio::test]
async fn pipe_queries_the_gate_and_explain_does_not() {
    let (folder, mindful) = (folder(), MindfulServer::start().await);
    let lines = [
        created("A", "voice", Some("offer_asap_callback")),
        created("B", "voice", Some("closed")),
        created("C", "voice", Some("503")),
        created("D", "chat", Some("closed")),
        updated("A"),
    ];
    let input = write(folder.path(), "input.ndjson", &lines.join("\n"));
    let gated = |command: &str| {
        let mut program = program(folder.path());
        program.arg(command).arg(&input).env("THROUGHLINE_GATE__BASE_URL", &mindful.base_url);
        tokio::task::spawn_blocking(move || program.output().expect("the program can be run"))
    };
    let piped = gated("pipe").await.expect("it ends");
    let mut routings: Vec<_> = stdout(&piped)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .map(|line: Value| {
            let cause = line["cause"]["id"].as_str().expect("a cause").to_owned();
            (cause, line["interaction"]["routing"].clone())
        })
        .collect();
    routings.sort_by(|a, b| a.0.cmp(&b.0));
    let asap = json!({ "target": "callback", "widgetState": "offer_asap_callback" });
    let expected = [
        ("A-created", asap.clone()),
        ("A-updated", asap),
        ("B-created", json!({ "target": "agent_queue", "widgetState": "closed" })),
        ("C-created", json!({ "target": "agent_queue" })),
        ("D-created", Value::Null),
    ];
    assert_eq!(routings, expected.map(|(cause, routing)| (cause.to_owned(), routing)));
    let asked = mindful.heads().len();
    assert_eq!(asked, 3, "once for each widget");

    let explained = gated("explain").await.expect("it ends");
    assert!(explained.status.success());
    assert!(stderr(&explained).contains("the status gate is not asked"));
    assert_eq!(mindful.heads().len(), asked);
}

#[test]
fn unusable_gate_settings_are_refused_at_startup() {
    let folder = folder();
    let settings = |lines: &str| write(folder.path(), "settings.toml", lines);
    for (lines, expected) in [
        ("base_url = \"http://mindful.test\"", "gate.base_url: must be https://"),
        ("base_url = \"https://u:hunter2@mindful.test\"", "gate.base_url: holds a login"),
        ("base_url = \"https://mindful.test\"\nchannels = []", "gate.channels: names no channel"),
        (
            "base_url = \"https://mindful.test\"\ntoken_file = \"absent\"",
            "gate.token_file (absent)",
        ),
        ("timeout_ms = 0", "gate.timeout_ms: expected a whole number from 10"),
    ] {
        let file = settings(&format!("[gate]\n{lines}\n"));
        for command in ["check", "pipe", "run"] {
            let output = run(folder.path(), &[command, "--config", &file.display().to_string()]);
            assert_eq!(output.status.code(), Some(64), "{command}, {lines}");
            let said = stderr(&output);
            assert!(said.contains(expected) && !said.contains("hunter2"), "{command}: {said}");
        }
    }
}
