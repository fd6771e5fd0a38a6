//! A worker with an HTTP server, and its responses.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use throughline::broker::Settings;
use throughline::http::{self, Problem, Readiness, Response};

use super::bench::within_timeout;
use super::program::Worker;

/// The pause between two polls: a machine that builds at the same time needs its cores.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A worker with an HTTP server on a port of its own.
pub(crate) struct MonitoredWorker {
    pub(crate) worker: Worker,
    pub(crate) address: SocketAddr,
}

impl MonitoredWorker {
    /// Starts a worker, and waits until its server is there.
    pub(crate) async fn start(
        folder: &Path,
        broker: &Settings,
        rules: &str,
        more: &[(&str, &str)],
    ) -> MonitoredWorker {
        let more = [&[("THROUGHLINE_HTTP__LISTEN", "127.0.0.1:0")], more].concat();
        let worker = Worker::start(folder, broker, rules, &more);
        let address = poll_until_some(async || {
            let log = worker.log();
            // Only a whole line has the whole address.
            let told = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            let mut told =
                told.filter_map(|line| line.split("answering over HTTP address=").nth(1));
            told.next().map(|address| address.trim().parse().expect("an address"))
        });
        let address = address.await;
        MonitoredWorker { worker, address }
    }

    /// The response of a route.
    pub(crate) async fn get(&self, path: &'static str) -> Response {
        let answer = http::get(self.address, path).await;
        answer.unwrap_or_else(|error| panic!("failed to {error}: {}", self.worker.log()))
    }

    /// The JSON that a route answers.
    pub(crate) async fn json(&self, path: &'static str) -> Value {
        serde_json::from_slice(&self.get(path).await.body).expect("JSON")
    }

    /// Waits until exactly these parts are missing for readiness, in any order.
    pub(crate) async fn await_missing(&self, mut expected: Vec<&str>) {
        expected.sort_unstable();
        poll_until_some(async || {
            let answer = self.get("/readyz").await;
            let readiness: Readiness = serde_json::from_slice(&answer.body).expect("JSON");
            assert_eq!(answer.status == 200, readiness.missing.is_empty(), "{readiness:?}");
            let mut missing: Vec<_> =
                readiness.missing.iter().map(|Problem { what, .. }| what.as_str()).collect();
            missing.sort_unstable();
            (missing == expected).then_some(())
        })
        .await;
    }

    /// The metrics: every sample with its labels, and its value.
    pub(crate) async fn metrics(&self) -> BTreeMap<String, f64> {
        let text = String::from_utf8(self.get("/metrics").await.body).expect("UTF-8");
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        };
        samples.map(sample).collect()
    }
}

/// Polls until there is a value.
pub(crate) async fn poll_until_some<T>(mut at: impl AsyncFnMut() -> Option<T>) -> T {
    within_timeout(async {
        loop {
            if let Some(seen) = at().await {
                return seen;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    })
    .await
}
