//! What operators see of partitions: settings, topology, and queues that were left behind.

use pretty_assertions::assert_eq;
use throughline::broker::Topology;
use throughline::retry::RetrySchedule;

use super::{TWO_PARTITIONS, partitioned, publish, unpartitioned};
use crate::support::bench;
use crate::support::program::{Worker, folder, program, run_on_broker, stderr, stdout};
use crate::support::rabbitmq;

#[tokio::test]
async fn unread_partitions_must_be_empty_before_removal() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        let four = partitioned(bench, 4).await;
        publish(bench, &four.queue(3), "{}").await;
        let folder = folder();
        let environment = [("THROUGHLINE_PARTITIONS__COUNT", "3")];

        let check =
            run_on_broker(folder.path(), &bench.settings, &environment, &["check", "--connect"]);
        assert_eq!(check.status.code(), Some(1));
        let expected = format!("`{}` must be empty first", four.queue(3));
        assert!(stdout(&check).contains(&expected), "{}{}", stdout(&check), stderr(&check));

        let worker = Worker::start(folder.path(), &unpartitioned(bench), "", &environment);
        worker.wait_for_log(&expected, 0).await;
        assert_eq!(worker.stop().code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn the_topology_is_shown_declared_and_compared() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        let source = bench.settings.inbound().remove(0).partitioned(2, None);
        bench.settings.sources = vec![source];
        bench.topology = Topology::new(&bench.settings, &RetrySchedule::default().delays());
        let folder = folder();
        let shown =
            run_on_broker(folder.path(), &bench.settings, &TWO_PARTITIONS, &["topology", "show"]);
        assert_eq!(stdout(&shown).trim(), bench.topology.to_string().trim());
        let single = "x-single-active-consumer=true";
        assert_eq!(stdout(&shown).matches(single).count(), 3, "the intake and two partitions");
        let declared = run_on_broker(
            folder.path(),
            &bench.settings,
            &TWO_PARTITIONS,
            &["topology", "declare"],
        );
        assert!(declared.status.success(), "{}", stderr(&declared));
        let compared =
            run_on_broker(folder.path(), &bench.settings, &TWO_PARTITIONS, &["check", "--connect"]);
        assert!(compared.status.success(), "{}{}", stdout(&compared), stderr(&compared));
        for queue in &bench.topology.queues {
            let line = format!("ok       queue `{}`", queue.name);
            assert!(stdout(&compared).contains(&line), "{}", stdout(&compared));
        }
    })
    .await;
}

#[test]
fn invalid_partition_settings_are_named() {
    let folder = folder();
    for (variables, expected) in [
        (
            vec![("THROUGHLINE_PARTITIONS__COUNT", "65")],
            "partitions.count: expected a whole number from 0 to 64, found 65",
        ),
        (
            vec![("THROUGHLINE_PARTITIONS__COUNT", "2"), ("THROUGHLINE_LANES", "2")],
            "partitions.count: gives each partition its own lane, so `lanes` stays 1",
        ),
        (
            vec![("THROUGHLINE_PARTITIONS__KEY", "queue")],
            "partitions.key: expected `conversation` or `interaction`",
        ),
        (
            vec![
                ("THROUGHLINE_PARTITIONS__COUNT", "2"),
                ("THROUGHLINE_AMQP__WAITING_PREFIX", &*"w".repeat(230)),
            ],
            "partitions.count: makes names too long that begin with the queue",
        ),
    ] {
        let checked =
            program(folder.path()).arg("check").envs(variables).output().expect("it can be run");
        assert_eq!(checked.status.code(), Some(64));
        assert!(stderr(&checked).contains(expected), "{}", stderr(&checked));
    }
}
