//! The lanes of a link: all of them run until one fails, or until the worker is to stop.

use std::fmt::Display;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::monitor::WorkerMonitor;
use crate::broker::Link;
use crate::pipeline::lane::Lane;
use crate::pipeline::partitions::Partitions;
use crate::pipeline::partitions::partitioner::Partitioner;
use crate::pipeline::save::worker::Worker;
use crate::settings::Settings;
use crate::store::Store;

/// Runs the lanes over a link until `stop`, or until one of them fails: then the others are stopped
/// too, as the link they share is most likely lost.
pub(super) async fn run(
    link: &Link,
    settings: &Settings,
    worker: &Arc<Worker<Store>>,
    monitor: &WorkerMonitor,
    stop: &CancellationToken,
) -> Result<(), String> {
    let stop_all = stop.child_token();
    let mut lanes = JoinSet::new();
    let sources = link.sources().iter().zip(settings.sources());
    let sources =
        sources.flat_map(|(inbound, source)| (0..source.lanes).map(move |n| (inbound, n)));
    for ((source, number), tally) in sources.zip(&monitor.lanes) {
        let lane = link.lane_of_partition(source, number).await;
        let lane = lane.map_err(|error| error.to_string())?;
        let (worker, tally) = (Arc::clone(worker), Arc::clone(tally));
        let (stop_all, batch_messages) = (stop_all.clone(), settings.pipeline.batch_messages);
        lanes.spawn(async move {
            let lane = Lane {
                worker: &worker,
                source: lane.consumer,
                publisher: lane.publisher,
                settler: lane.settler,
                batch_messages,
                tally: &tally,
            };
            lane.run(&stop_all).await
        });
    }
    let partitioned_sources = link.sources().iter().filter(|_| settings.partitions.pass_on);
    for (source, progress) in partitioned_sources.zip(&monitor.partitioners) {
        let Some(partitioned) = &source.partitions else { continue };
        let partitions = Partitions::new(partitioned.count, settings.partitions.key);
        let lane = link.lane_of(source).await.map_err(|error| error.to_string())?;
        let (worker, progress) = (Arc::clone(worker), Arc::clone(progress));
        let (stop_all, batch_messages) = (stop_all.clone(), settings.pipeline.batch_messages);
        lanes.spawn(async move {
            let partitioner = Partitioner {
                worker: &worker,
                source: lane.consumer,
                distributor: lane.publisher,
                settler: lane.settler,
                batch_messages,
                partitions,
                progress: &progress,
            };
            partitioner.run(&stop_all).await
        });
    }
    join(lanes, &stop_all).await
}

/// Waits until all of them have ended. The first that fails stops the others, and its failure is
/// returned.
pub(super) async fn join<E: Display + Send + 'static>(
    mut lanes: JoinSet<Result<(), E>>,
    stop_all: &CancellationToken,
) -> Result<(), String> {
    let mut first_failure = None;
    while let Some(ended) = lanes.join_next().await {
        let failure = match ended {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error.to_string(),
            // The error's text would quote the panic's, which may quote a value.
            Err(error) if error.is_panic() => "run a lane: it panicked".to_owned(),
            Err(_) => "run a lane: it was cancelled".to_owned(),
        };
        stop_all.cancel();
        first_failure.get_or_insert(failure);
    }
    first_failure.map_or(Ok(()), Err)
}
