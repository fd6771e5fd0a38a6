//! Another number of partitions, as docs/operating.md says how to come to it.

use pretty_assertions::assert_eq;

use super::{
    DownstreamReader, WorkerFleet, assert_in_order, await_empty_partitions, partitioned,
    remaining_messages,
};
use crate::run::traffic;
use crate::support::bench::{self, Bench, publish_all, quorum};
use crate::support::program::Worker;
use crate::support::rabbitmq;

#[tokio::test]
async fn changing_the_partition_count_loses_and_reorders_nothing() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        let three = partitioned(bench, 3).await;
        let downstream = bench.downstream("interaction.#", quorum()).await;
        let fleet = WorkerFleet::new(2).await;
        let bodies: Vec<_> = traffic().into_iter().take(2_000).collect();
        // In the middle of ten conversations: their updates and ends come when all has changed.
        let (before, after) = bodies.split_at(1_020);
        let start = |bench: &Bench, count: u16, more: &[(&str, &str)]| -> Vec<_> {
            (0..2).map(|which| fleet.start(which, bench, count, more)).collect()
        };
        let stop = |workers: Vec<Worker>| {
            for worker in workers {
                assert_eq!(worker.stop().code(), Some(0));
            }
        };

        let workers = start(bench, 3, &[]);
        publish_all(bench, before).await;
        let mut reader = DownstreamReader::new(bench, &downstream).await;
        reader.read_until(500).await;
        // As docs/operating.md says: nothing is passed on any more, the partitions run empty …
        stop(workers);
        publish_all(bench, after).await;
        // What a worker held when it was told to stop is in its partition again.
        while remaining_messages(bench, &three).await > 0 {
            let alone = fleet.start(0, bench, 3, &[("THROUGHLINE_PARTITIONS__PASS_ON", "false")]);
            await_empty_partitions(bench, &three).await;
            stop(vec![alone]);
        }
        // … and then there are others.
        let five = partitioned(bench, 5).await;
        let workers = start(bench, 5, &[]);
        reader.read_until(bodies.len()).await;
        await_empty_partitions(bench, &five).await;
        stop(workers);
        assert_in_order(&reader.received, bodies.len());
        assert_eq!(bench.ready(&bench.settings.dead_letters).await, 0);
    })
    .await;
}
