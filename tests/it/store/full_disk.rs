//! SQLite on a disk that is full: an outage like any other. Nothing of a batch is saved then, what was
//! saved stays, and the same store goes on once there is room.

use throughline::pipeline::ports::StoreError;
use throughline::store::{self, Settings};

use super::place::LIVE_KEYS;
use super::samples::{Sample, assert_same, create, read, record, save};
use crate::support::small_disk::SmallDisk;

/// Batches that are tried while there is no room.
const TRIES: usize = 5;

/// Rows of about a page each.
fn batch(from: usize, rows: usize) -> Vec<Sample> {
    let sample = |n| Sample {
        record: record(&[("plan", &"p".repeat(4_000))]),
        ..Sample::new("t", &format!("{n:05}"))
    };
    (from..from + rows).map(sample).collect()
}

#[tokio::test]
async fn a_full_disk_is_an_outage_that_ends_when_there_is_room() {
    // How much room is left decides which step fails: the log's first page, or the last of many.
    for left_bytes in [0, 4_096, 40_000, 400_000] {
        let disk = SmallDisk::mount();
        let url = format!("sqlite:{}", disk.path().join("store.db").display());
        let settings = Settings { live_key: Some(LIVE_KEYS[0].to_owned()), ..Settings::new(url) };
        let store = store::connect(&settings).await.expect("connected");
        let before = batch(0, 10);
        create(&store, &before).await;

        disk.fill(left_bytes);
        let refused = batch(10, 200);
        for attempt in 0..TRIES {
            let error = save(&store, &refused).await.expect_err("there is no room for this");
            let StoreError::Unavailable(why) = &error else { panic!("{attempt}: {error:?}") };
            assert!(
                why.contains("the disk is full") || why.contains("the disk fails"),
                "{left_bytes} bytes left, attempt {attempt}: {why}"
            );
        }

        disk.make_room();
        save(&store, &refused).await.expect("there is room, and nothing of it was saved before");
        for (row, sample) in read(&store, &before).await.iter().zip(&before) {
            assert_same(row, sample);
        }
        assert_eq!(read(&store, &refused).await.len(), refused.len());
        store.close().await;
    }
}
