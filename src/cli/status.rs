//! `throughline status`: what the running worker does.
//!
//! Two samples a second apart give the rates. The broker is asked for the depth of the queues; if it cannot
//! be reached, the rest is printed all the same.

mod print;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::sync::watch;

use super::failure::{Exit, Failure};
use super::output::Stdout;
use super::{block_on, healthcheck};
use crate::app;
use crate::broker::{self, Health, Link};
use crate::http::{self, Status};
use crate::settings::Settings;

/// What the running worker does: lanes, rates, what waits and for whom, dead letters, broker, store
///
/// Asks the worker at http.listen, twice within a second, and the broker for the depth of the queues.
/// Exits with 69 when no worker answers, and with 1 when it is not ready.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  throughline status --config production.toml
  throughline status --json | jq '.waiting[] | {interaction, waits_for}'")]
pub(super) struct Arguments {
    /// For programs: one object, as /status has it, with `rates` and `queues`.
    #[arg(long)]
    json: bool,
}

/// Between the two samples: long enough for a meaningful rate, and short enough for a person to wait.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// The time limit for connecting to the broker: the rest must not wait for it.
const BROKER_TIME: Duration = Duration::from_secs(5);

/// The second of two samples of the worker's status, the rates between them, and the queue depths.
struct StatusSample {
    status: Status,
    /// Messages a second: taken, and finished.
    rates: Rates,
    /// Queues and how many messages are ready in them; or why that is not known.
    queues: Result<Vec<(String, Option<u32>)>, String>,
    /// The prefix of the names of the waiting queues.
    waiting_prefix: String,
}

struct Rates {
    received: f64,
    finished: f64,
}

pub(super) fn run(arguments: &Arguments, settings: &Settings) -> Result<Exit, Failure> {
    let listen = healthcheck::listen(settings)?;
    let sample = async || {
        let failed = |what: String| Failure::new(Exit::Unavailable, what);
        let answer = http::get(listen, "/status").await;
        let answer = answer.map_err(|error| failed(format!("failed to {error}")))?;
        serde_json::from_slice::<Status>(&answer.body)
            .map_err(|_| failed(format!("what answers at {listen} is no worker of this version")))
    };
    let sample = block_on(async {
        let first = sample().await?;
        let ((), queues) = tokio::join!(tokio::time::sleep(SAMPLE_INTERVAL), queues(settings));
        let status = sample().await?;
        let waiting_prefix = settings.amqp.waiting_prefix.clone();
        Ok(StatusSample { rates: rates(&first, &status), status, queues, waiting_prefix })
    })?;
    let mut out = Stdout::lock();
    match arguments.json {
        true => out.line(as_json(&sample)?)?,
        false => print::print(&mut out, &sample)?,
    }
    out.finish()?;
    let status = &sample.status;
    let is_well = status.readiness.missing.is_empty() && status.liveness.dead.is_empty();
    Ok(if is_well { Exit::Done } else { Exit::DoesNotHold })
}

fn as_json(sample: &StatusSample) -> Result<serde_json::Value, Failure> {
    let mut object = serde_json::to_value(&sample.status).map_err(Failure::internal)?;
    object["rates"] =
        json!({ "received": sample.rates.received, "finished": sample.rates.finished });
    object["queues"] = match &sample.queues {
        Ok(queues) => queues.iter().map(|(name, ready)| (name.clone(), json!(ready))).collect(),
        Err(_) => serde_json::Value::Null,
    };
    Ok(object)
}

fn rates(first: &Status, second: &Status) -> Rates {
    let secs = second.uptime_ms.saturating_sub(first.uptime_ms) as f64 / 1000.0;
    let finished = |status: &Status| status.finished.values().sum::<u64>();
    let rate = |before: u64, after: u64| match secs > 0.0 {
        true => after.saturating_sub(before) as f64 / secs,
        // Another worker answered the second time, and has run for less long.
        false => 0.0,
    };
    Rates {
        received: rate(first.received, second.received),
        finished: rate(finished(first), finished(second)),
    }
}

/// The numbers of messages that are ready in the work queue, the waiting queues and the dead letters.
async fn queues(settings: &Settings) -> Result<Vec<(String, Option<u32>)>, String> {
    let names = app::topology(settings).queues.into_iter().map(|queue| queue.name);
    let asked = async {
        let of_broker = Arc::new(app::broker_settings(settings));
        let link = Link::open(of_broker, watch::Sender::new(Health::Down)).await?;
        let depths = link.depths(names.collect()).await?;
        link.close().await;
        Ok::<_, broker::Error>(depths)
    };
    match tokio::time::timeout(BROKER_TIME, asked).await {
        Ok(depths) => depths.map_err(|error| format!("failed to {error}")),
        Err(_) => Err(format!("no answer in {} s", BROKER_TIME.as_secs())),
    }
}
