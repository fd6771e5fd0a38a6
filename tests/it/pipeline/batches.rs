//! What the two halves of the line do at the same time, and what leaves together.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{LaneBench, created};

#[tokio::test]
async fn the_next_batch_is_saved_while_one_awaits_its_confirms() {
    let mut bench = LaneBench::new();
    // One by one: what is saved by then is not published together.
    bench.batch_messages = 1;
    bench.gate = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&bench.gate);
    let journal = bench.journal.clone();
    let both_saved = async {
        // The broker confirms nothing until the second batch is saved.
        while !journal.lines().contains(&"save b".to_owned()) {
            tokio::task::yield_now().await;
        }
        gate.add_permits(2);
    };
    let ran = tokio::join!(bench.run(vec![vec![created("a")], vec![created("b")]]), both_saved).0;
    ran.expect("the input ends");
    assert_eq!(bench.journal.lines()[..2], ["save a", "save b"]);
    assert_eq!(bench.journal.lines()[2..4], ["interaction.enriched a", "Acknowledge a"]);
}

#[tokio::test]
async fn small_saved_batches_are_published_together() {
    let mut bench = LaneBench::new();
    bench.batch_messages = 3;
    let batches = ["a", "b", "c", "d"].map(|name| vec![created(name)]);
    bench.run(batches.into()).await.expect("the input ends");
    assert_eq!(bench.journal.lines()[..4], ["save a", "save b", "save c", "save d"]);
    assert_eq!(
        bench.journal.lines()[4..],
        [
            "interaction.enriched a",
            "interaction.enriched b",
            "interaction.enriched c",
            "Acknowledge a",
            "Acknowledge b",
            "Acknowledge c",
            "interaction.enriched d",
            "Acknowledge d",
        ]
    );
}
