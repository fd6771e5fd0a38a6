//! A worker that answers over HTTP, and what it answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use throughline::broker::Settings;
use throughline::http::{self, Problem, Readiness, Response};

use super::bench::soon;
use super::program::Worker;

/// The rest between two looks at something that is on its way: a machine that builds at the same time
/// needs its cores.
const LOOK: Duration = Duration::from_millis(20);

/// A worker with an HTTP server on a port of its own.
pub(crate) struct Watched {
    pub(crate) worker: Worker,
    pub(crate) address: SocketAddr,
}

impl Watched {
    /// Starts a worker, and waits until its server is there.
    pub(crate) async fn start(
        folder: &Path,
        broker: &Settings,
        rules: &str,
        more: &[(&str, &str)],
    ) -> Watched {
        let more = [&[("THROUGHLINE_HTTP__LISTEN", "127.0.0.1:0")], more].concat();
        let worker = Worker::start(folder, broker, rules, &more);
        let address = look(async || {
            let log = worker.log();
            // The end of the line tells that the address is whole.
            let told = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            let mut told =
                told.filter_map(|line| line.split("answering over HTTP address=").nth(1));
            told.next().map(|address| address.trim().parse().expect("an address"))
        });
        let address = address.await;
        Watched { worker, address }
    }

    /// What a route answers.
    pub(crate) async fn get(&self, path: &'static str) -> Response {
        let answer = http::get(self.address, path).await;
        answer.unwrap_or_else(|error| panic!("failed to {error}: {}", self.worker.log()))
    }

    /// The JSON that a route answers.
    pub(crate) async fn json(&self, path: &'static str) -> Value {
        serde_json::from_slice(&self.get(path).await.body).expect("JSON")
    }

    /// Waits until exactly this is missing, in any order.
    pub(crate) async fn misses(&self, mut expected: Vec<&str>) {
        expected.sort_unstable();
        look(async || {
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

/// Looks again and again, until there is something to see.
pub(crate) async fn look<T>(mut at: impl AsyncFnMut() -> Option<T>) -> T {
    soon(async {
        loop {
            if let Some(seen) = at().await {
                return seen;
            }
            tokio::time::sleep(LOOK).await;
        }
    })
    .await
}
