//! Another number of partitions, as docs/operating.md says how to come to it.

use pretty_assertions::assert_eq;

use super::{Fleet, Outcome, assert_in_order, left, partitioned, run_empty};
use crate::run::traffic;
use crate::support::bench::{self, Bench, publish_all, quorum};
use crate::support::program::Worker;
use crate::support::rabbitmq;

#[tokio::test]
async fn the_number_of_partitions_is_changed_without_loss_or_disorder() {
    bench::on(rabbitmq::shared(), async |bench| {
        let three = partitioned(bench, 3).await;
        let downstream = bench.downstream("interaction.#", quorum()).await;
        let fleet = Fleet::new(2).await;
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
        let mut outcome = Outcome::of(bench, &downstream).await;
        outcome.until(500).await;
        // As docs/operating.md says: nothing is passed on any more, the partitions run empty …
        stop(workers);
        publish_all(bench, after).await;
        // What a worker held when it was told to stop is in its partition again.
        while left(bench, &three).await > 0 {
            let alone = fleet.start(0, bench, 3, &[("THROUGHLINE_PARTITIONS__PASS_ON", "false")]);
            run_empty(bench, &three).await;
            stop(vec![alone]);
        }
        // … and then there are others.
        let five = partitioned(bench, 5).await;
        let workers = start(bench, 5, &[]);
        outcome.until(bodies.len()).await;
        run_empty(bench, &five).await;
        stop(workers);
        assert_in_order(&outcome.received, bodies.len());
        assert_eq!(bench.ready(&bench.settings.dead_letters).await, 0);
    })
    .await;
}
