//! The checks of broker and store that `check --connect` and `run` make before the first message: each
//! problem is an error, or a warning with instructions.

use std::path::Path;
use std::process::Output;

use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};

use crate::support::bench::{self, Bench, declare_topology, headers, text};
use crate::support::postgres::Database;
use crate::support::program::{
    self, Worker, folder, program, run, run_on_broker, stderr, stdout, store_variables,
};
use crate::support::rabbitmq;

/// `throughline check --connect` over the names of a bench.
fn check(folder: &Path, bench: &Bench, more: &[(&str, &str)]) -> Output {
    run_on_broker(folder, &bench.settings, more, &["check", "--connect"])
}

/// Lets a worker run until it has taken a message, stops it, and gives its log.
async fn log_of_a_run(folder: &Path, bench: &mut Bench, more: &[(&str, &str)]) -> String {
    let downstream = bench.downstream("interaction.#", FieldTable::default()).await;
    let body =
        r#"{"type":"interaction.created","id":"1","interaction":{"id":"A","channel":"chat"}}"#;
    bench.send("any", Default::default(), body).await;
    let log = folder.join("worker.log");
    let worker = Worker::start(folder, &bench.settings, "", more);
    assert_eq!(bench.take(&downstream, 1).await.len(), 1);
    assert_eq!(worker.stop().code(), Some(0));
    std::fs::read_to_string(log).expect("it has a log")
}

/// Declares the work queue as another program might, instead of as the worker needs it.
async fn declare_otherwise(bench: &Bench, arguments: FieldTable) {
    let queue = bench.settings.queue.as_str();
    bench.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.expect("deleted");
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    bench.channel.queue_declare(queue.into(), options, arguments).await.expect("declared");
    let exchange = bench.settings.inbound_exchange.as_str();
    let bound = bench.channel.queue_bind(
        queue.into(),
        exchange.into(),
        "#".into(),
        Default::default(),
        FieldTable::default(),
    );
    bound.await.expect("bound");
}

/// Faults of a work queue: a description, its arguments, and the argument that the program names.
fn other_queues(dead_letters: &str) -> [(&'static str, FieldTable, &'static str); 4] {
    let quorum = || headers([("x-queue-type", text("quorum"))]);
    let dead_lettering = || {
        let mut arguments = quorum();
        arguments.insert("x-dead-letter-exchange".into(), text(dead_letters));
        arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        arguments.insert("x-overflow".into(), text("reject-publish"));
        arguments
    };
    let mut limited = dead_lettering();
    limited.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(20));
    [
        ("another type", headers([("x-queue-type", text("classic"))]), "inequivalent arg"),
        ("no dead-lettering", quorum(), "inequivalent arg 'x-dead-letter-exchange'"),
        ("the default limit", dead_lettering(), "inequivalent arg 'x-delivery-limit'"),
        ("RabbitMQ 4's limit", limited, "inequivalent arg 'x-delivery-limit'"),
    ]
}

#[tokio::test]
async fn work_queue_with_other_arguments_is_reported() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        let folder = folder();
        let declared_by_others = [("THROUGHLINE_TOPOLOGY__DECLARE", "false")];
        let good = check(folder.path(), bench, &declared_by_others);
        assert_eq!(good.status.code(), Some(0), "{}{}", stdout(&good), stderr(&good));

        let dead_letters = bench.settings.dead_letters.clone();
        for (what, arguments, named) in other_queues(&dead_letters) {
            declare_otherwise(bench, arguments).await;
            let output = check(folder.path(), bench, &declared_by_others);
            let told = stdout(&output);
            assert_eq!(output.status.code(), Some(1), "{what}: {told}{}", stderr(&output));
            let line = told.lines().find(|line| line.starts_with("differs"));
            let line = line.unwrap_or_else(|| panic!("{what}: {told}"));
            assert!(line.contains(&bench.settings.queue) && line.contains(named), "{what}: {line}");
            assert!(line.contains("declare it anew"), "{what}: {line}");

            let fresh = program::folder();
            let log = log_of_a_run(fresh.path(), bench, &declared_by_others).await;
            let line = log.lines().rfind(|line| line.contains("WARN") && line.contains(named));
            let line = line.unwrap_or_else(|| panic!("{what}: {log}"));
            assert!(line.contains("have it declared anew"), "{what}: {line}");
        }
    })
    .await;
}

#[tokio::test]
async fn undeclarable_work_queue_is_named_and_retried() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        let folder = folder();
        let dead_letters = bench.settings.dead_letters.clone();
        let [.., (_, arguments, named)] = other_queues(&dead_letters);
        declare_otherwise(bench, arguments).await;
        let worker = Worker::start(folder.path(), &bench.settings, "", &[]);
        worker.wait_for_log(named, 0).await;
        let log = worker.log();
        let failed = format!("failed to declare queue `{}`", bench.settings.queue);
        assert!(log.contains(&failed), "{log}");
        assert_eq!(worker.stop().code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn clock_difference_to_the_store_is_reported() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        let folder = folder();
        let database = Database::create().await;
        let settings = store_variables(&database);
        let output = check(folder.path(), bench, &settings);
        assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
        assert!(!stdout(&output).contains("clock"), "{}", stdout(&output));

        // The server's clock, an hour later: sessions find this function before the system's.
        database
            .execute(
                "CREATE SCHEMA later;
                 CREATE FUNCTION later.clock_timestamp() RETURNS timestamptz LANGUAGE sql
                     AS $$ SELECT pg_catalog.clock_timestamp() + interval '1 hour' $$;
                 DO $$ BEGIN EXECUTE format(
                     'ALTER DATABASE %I SET search_path = later, pg_catalog', current_database());
                 END $$",
            )
            .await;
        let expected = "s behind the store's: live data and history would expire";
        let output = check(folder.path(), bench, &settings);
        assert_eq!(output.status.code(), Some(0), "a warning is no failure");
        let told = stdout(&output);
        let line = told.lines().find(|line| line.starts_with("warning") && line.contains(expected));
        let line = line.unwrap_or_else(|| panic!("{told}"));
        assert!(line.contains("360") || line.contains("3599"), "an hour: {line}");
        assert!(line.ends_with("have both machines synchronise their time (NTP)"), "{line}");

        let log = log_of_a_run(folder.path(), bench, &settings).await;
        assert!(log.lines().any(|line| line.contains("WARN") && line.contains(expected)), "{log}");
    })
    .await;
}

#[test]
fn hold_beyond_the_consumer_timeout_is_reported() {
    let folder = folder();
    let output = run(folder.path(), &["check"]);
    assert!(!stdout(&output).contains("consumer timeout"), "the defaults fit");
    let patient = program(folder.path())
        .arg("check")
        .env("THROUGHLINE_WAITING__UNROUTABLE_SECS", "3600")
        .output()
        .expect("the program can be run");
    let told = stdout(&patient);
    let expected = "warning  a delivery may wait 5010 s for its acknowledgement";
    let line = told.lines().find(|line| line.starts_with(expected));
    assert!(line.is_some_and(|line| line.contains("lower waiting.unroutable_secs")), "{told}");
}

#[tokio::test]
async fn unknown_consumer_timeout_is_reported_with_how_to_check() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        let folder = folder();
        let output = check(folder.path(), bench, &[]);
        let told = stdout(&output);
        let line = told.lines().find(|line| line.starts_with("unknown")).expect("it is said");
        assert!(line.contains("consumer timeout") && line.contains("above 1230 s"), "{line}");
        assert!(line.contains("rabbitmqctl"), "{line}");
    })
    .await;
}

#[tokio::test]
async fn a_schema_newer_than_the_program_is_refused() {
    let folder = folder();
    let database = Database::create().await;
    let with_key = |arguments: &[&str]| {
        program(folder.path())
            .args(arguments)
            .envs(store_variables(&database))
            // No server listens on port 1: the program checks the store first.
            .env("THROUGHLINE_AMQP__URL", "amqp://127.0.0.1:1")
            .output()
            .expect("the program can be run")
    };
    assert_eq!(with_key(&["migrate"]).status.code(), Some(0));
    database.execute("INSERT INTO throughline_migration (version) VALUES (999)").await;
    for arguments in [&["check", "--connect"][..], &["run"], &["migrate"]] {
        let output = with_key(arguments);
        let told = stderr(&output);
        let expected = "schema version 999 is newer than this binary knows";
        assert!(told.contains(expected), "{arguments:?}: {told}");
        // `check` tries the broker too, and reports that last.
        let code = if arguments[0] == "check" { 69 } else { 64 };
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
    }
}
