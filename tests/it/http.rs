//! A worker's HTTP server: readiness through outages and shutdown, metrics, and status.

mod counted;

use std::net::TcpListener;

use lapin::BasicProperties;
use lapin::types::FieldTable;
use serde_json::Value;
use throughline::settings::{self, SettingsError, Sources};

use crate::support::bench::{self, Bench, declare_topology};
use crate::support::monitored_worker::{MonitoredWorker, poll_until_some};
use crate::support::postgres::Server;
use crate::support::program::{folder, program, stderr, stdout, write};
use crate::support::rabbitmq::{self, Node};

/// A live key for stores that need one: 32 times the byte 1, in base64.
const LIVE_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

const RULES: &str = r#"
[copy_user_data]
value = "rule"
"#;

fn created(id: &str) -> String {
    format!(
        r#"{{"type":"interaction.created","id":"{id}","interaction":{{"id":"{id}","channel":"chat"}}}}"#
    )
}

#[test]
fn non_loopback_address_requires_explicit_permission() {
    let listen = |address: &str, more: &[(&str, &str)]| {
        let variables = [("THROUGHLINE_HTTP__LISTEN", address)].into_iter();
        let env = variables.chain(more.iter().copied());
        let env = env.map(|(name, value)| (name.into(), value.into())).collect();
        settings::load(Sources { env, ..Sources::default() }).map(|loaded| loaded.settings.http)
    };
    for address in ["127.0.0.1:9464", "[::1]:9464", "127.0.0.2:0"] {
        assert!(listen(address, &[]).expect("loopback").listen.is_some());
    }
    assert!(listen("", &[]).expect("no server").listen.is_none());
    for (address, expected) in [
        ("0.0.0.0:9464", "http.allow_remote"),
        ("[::]:9464", "http.allow_remote"),
        ("10.0.0.1:9464", "http.allow_remote"),
        ("localhost:9464", "expected an IP address and a port"),
        ("9464", "expected an IP address and a port"),
    ] {
        let Err(SettingsError::Invalid(problems)) = listen(address, &[]) else {
            panic!("{address} is accepted")
        };
        assert_eq!(problems.len(), 1, "{address}");
        assert_eq!(problems[0].setting, "http.listen");
        assert!(problems[0].what.contains(expected), "{}", problems[0]);
    }
    let allowed = listen("0.0.0.0:9464", &[("THROUGHLINE_HTTP__ALLOW_REMOTE", "true")]);
    assert!(allowed.expect("it is allowed").listen.is_some());
}

#[test]
fn occupied_address_fails_at_startup() {
    let folder = folder();
    write(folder.path(), "rules.toml", RULES);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it is bound").to_string();
    let output = program(folder.path())
        .args(["run", "--rules", "rules.toml", "--store", "sqlite:store.db"])
        .env("THROUGHLINE_HTTP__LISTEN", &address)
        .output()
        .expect("the program can be run");
    assert_eq!(output.status.code(), Some(64));
    let expected = format!("failed to listen on {address} (http.listen): Address already in use");
    assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
    assert!(!folder.path().join("store.db").exists(), "nothing else was begun");
}

#[tokio::test]
async fn readiness_follows_the_broker_and_the_worker_stays_alive() {
    let node = Node::prepare();
    let folder = folder();
    let settings = bench::settings(&node.url);
    let watched = MonitoredWorker::start(folder.path(), &settings, RULES, &[]).await;
    watched.await_missing(vec!["broker"]).await;
    node.start_again();
    watched.await_missing(vec![]).await;
    node.kill();
    watched.await_missing(vec!["broker"]).await;
    assert_eq!(watched.get("/livez").await.status, 200, "waiting for a broker is no standstill");
    node.start_again();
    watched.await_missing(vec![]).await;
    assert_eq!(watched.get("/nothing").await.status, 404);
    assert_eq!(watched.worker.stop().code(), Some(0));
}

#[tokio::test]
async fn readiness_follows_the_store_and_the_worker_stays_alive() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        let downstream = bench.downstream("interaction.#", FieldTable::default()).await;
        let server = Server::start();
        let folder = folder();
        let (url, key) = ("THROUGHLINE_STORE__URL", "THROUGHLINE_STORE__LIVE_KEY");
        let of_store = [(url, server.url()), (key, LIVE_KEY.to_owned())];
        let of_store = of_store.each_ref().map(|(name, value)| (*name, value.as_str()));
        let watched =
            MonitoredWorker::start(folder.path(), &bench.settings, RULES, &of_store).await;
        watched.await_missing(vec![]).await;
        server.stop();
        watched.await_missing(vec!["store"]).await;
        bench.send("any", BasicProperties::default(), &created("a")).await;
        poll_until_some(async || {
            let lane = &watched.json("/status").await["lanes"][0];
            (lane["waits_for_store"] == true && lane["in_hand"] == 1).then_some(())
        })
        .await;
        assert_eq!(watched.get("/livez").await.status, 200, "waiting for a store is no standstill");
        server.start_again();
        bench.take(&downstream, 1).await;
        watched.await_missing(vec![]).await;
        assert_eq!(watched.worker.stop().code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn alarm_and_unfinished_drain_are_reported() {
    let node = Node::start();
    let mut bench = Bench::connect(&node.url).await;
    declare_topology(&mut bench).await;
    bench.downstream("interaction.#", FieldTable::default()).await;
    bench.send_all(["a", "b", "c"].map(created)).await;
    node.control(&["set_vm_memory_high_watermark", "0.0000001"]);
    for (drain_secs, signals) in [("1", 1), ("3600", 2)] {
        let folder = folder();
        let drain = [("THROUGHLINE_SHUTDOWN__DRAIN_SECS", drain_secs)];
        let watched = MonitoredWorker::start(folder.path(), &bench.settings, RULES, &drain).await;
        // The broker says so only to a connection that publishes.
        watched.await_missing(vec!["broker_alarm"]).await;
        poll_until_some(async || (watched.json("/status").await["in_hand"] == 3).then_some(()))
            .await;
        let health = asked(&watched, &["healthcheck"]);
        assert_eq!(health.status.code(), Some(1));
        assert!(stdout(&health).starts_with("missing  broker_alarm: "), "{}", stdout(&health));
        for signal in 0..signals {
            watched.worker.signal("TERM");
            if signal + 1 < signals {
                watched.await_missing(vec!["broker_alarm", "draining"]).await;
            }
        }
        let log = folder.path().join("worker.log");
        assert_eq!(watched.worker.wait().code(), Some(75));
        let log = std::fs::read_to_string(log).expect("a log");
        let expected = "the time for draining is over; what is left is given back messages=3";
        assert!(log.contains(expected), "{log}");
    }
}

/// Runs a command that asks the worker.
fn asked(watched: &MonitoredWorker, arguments: &[&str]) -> std::process::Output {
    let folder = folder();
    let mut command = program(folder.path());
    command.args(arguments).env("THROUGHLINE_HTTP__LISTEN", watched.address.to_string());
    // No server listens on port 1.
    command.env("THROUGHLINE_AMQP__URL", "amqp://guest:guest@127.0.0.1:1/%2f");
    command.output().expect("the program can be run")
}

#[tokio::test]
async fn status_shows_waiting_messages_and_their_dependencies() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        let folder = folder();
        let patience = [("THROUGHLINE_WAITING__PARENT_SECS", "3600")];
        let watched = MonitoredWorker::start(folder.path(), &bench.settings, RULES, &patience).await;
        watched.await_missing(vec![]).await;
        let child = r#"{"type":"interaction.created","id":"1","interaction":{"id":"child","tenant":"t","channel":"chat","parentId":"late-parent"}}"#;
        bench.send("any", BasicProperties::default().with_message_id("m-1".into()), child).await;
        bench.send("any", BasicProperties::default(), "no JSON").await;
        // Its waits grow, so sooner or later one is long enough to be seen in.
        let waiting = poll_until_some(async || {
            let status = watched.json("/status").await;
            let is_set_aside = status["dead_lettered"]["not_json"] == 1;
            status["waiting"].get(0).filter(|_| is_set_aside).cloned()
        });
        let waiting: Value = waiting.await;
        assert_eq!(waiting["interaction"], "child");
        assert_eq!(waiting["waits_for"], "late-parent");
        assert_eq!((&waiting["tenant"], &waiting["message_id"]), (&"t".into(), &"m-1".into()));
        assert_eq!(waiting["cause"], "parent_unknown");

        // The same for a person. Between two waits it is listed nowhere, so it may take a second look.
        let seen = poll_until_some(async || {
            let output = asked(&watched, &["status"]);
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            let text = stdout(&output);
            text.contains("interaction child for late-parent (parent_unknown)").then_some(text)
        });
        let seen = seen.await;
        for expected in ["ready, for ", "set aside since the start: not_json 1\n", "\nlane 0    "] {
            assert!(seen.contains(expected), "{seen}");
        }
        assert!(seen.contains("\nqueues    not known: failed to reach the broker"), "{seen}");

        let address = watched.address.to_string();
        let output = program(folder.path())
            .args(["status", "--json"])
            .env("THROUGHLINE_HTTP__LISTEN", &address)
            .env("THROUGHLINE_AMQP__URL", &bench.settings.url)
            .env("THROUGHLINE_AMQP__QUEUE", &bench.settings.queue)
            .env("THROUGHLINE_AMQP__DEAD_LETTERS", &bench.settings.dead_letters)
            .env("THROUGHLINE_AMQP__WAITING_PREFIX", &bench.settings.waiting_prefix)
            .output()
            .expect("the program can be run");
        let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(status["queues"][&bench.settings.dead_letters], 1);
        assert_eq!(status["queues"][&bench.settings.queue], 0);
        assert!(status["rates"]["received"].is_f64());

        let health = asked(&watched, &["healthcheck"]);
        assert_eq!((health.status.code(), stdout(&health).as_str()), (Some(0), "ready\n"));
        let version = watched.json("/version").await;
        assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(version["rules_revision"], status["rules_revision"]);
        assert_eq!(watched.worker.stop().code(), Some(0));
        for (command, exit) in [("status", 69), ("healthcheck", 1)] {
            let output = program(folder.path())
                .arg(command)
                .env("THROUGHLINE_HTTP__LISTEN", &address)
                .output()
                .expect("the program can be run");
            assert_eq!(output.status.code(), Some(exit), "{command}");
            let expected = format!("throughline: failed to ask the worker at {address}: ");
            assert!(stderr(&output).starts_with(&expected), "{}", stderr(&output));
        }
    })
    .await;
}

#[test]
fn status_commands_require_a_worker_address() {
    let folder = folder();
    for command in ["status", "healthcheck"] {
        let output = program(folder.path()).arg(command).output().expect("it can be run");
        assert_eq!(output.status.code(), Some(64));
        assert!(stderr(&output).contains("http.listen names no port"), "{}", stderr(&output));
    }
}
