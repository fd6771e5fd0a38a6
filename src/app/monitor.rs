//! Health, metrics and status of the worker, from the reports of its parts.
//!
//! Reads atomics and watch channels, and never waits, so it answers also while the parts hang.
//!
//! Liveness fails where only a restart helps: a lane that holds messages and takes no step for longer
//! than all its waits together, a lane that has ended while others run, a step of the cleaner that does
//! not end, a runtime that runs no task. A store or a broker that is away is a matter of readiness. (A
//! cleaner that panics ends the process: it runs in the task that runs the lanes.)

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::quarantine_status::QuarantineStatus;
use super::store_health::StoreHealth;
use super::wiring::millis;
use crate::broker::Health;
use crate::cleaner::SweepStats;
use crate::clock::Clock;
use crate::http::{
    self, LaneStatus, Liveness, Problem, Readiness, Status, Version, WaitingMessage,
};
use crate::pipeline::observe::labels::Outcome;
use crate::pipeline::observe::progress::Progress;
use crate::pipeline::observe::tally::{Counts, Tally};
use crate::pipeline::observe::waits::WaitEntry;
use crate::reload::ReloadStatus;
use crate::settings::Settings;
use crate::telemetry::metrics::{LaneSample, MEDIA_TYPE, Sample, SweepSample};
use crate::telemetry::traces::SpanQueue;

/// How long a lane may wait between two steps, beside the confirms of a batch: half a minute between two
/// attempts, some ten seconds for each answer of the store, and for the broker to accept an
/// acknowledgement. Generous, since a needless restart costs more than a late one.
const OTHER_WAITS_MAX: Duration = Duration::from_secs(120);

/// The reports of a worker's parts.
pub(super) struct WorkerMonitor {
    /// The tally of each lane.
    pub(super) lanes: Vec<Arc<Tally>>,
    /// The progress of each source's partitioner; idle where there are no partitions.
    pub(super) partitioners: Vec<Arc<Progress>>,
    /// The cleaner's statistics.
    pub(super) sweeps: Arc<SweepStats>,
    /// Spans that wait for the exporter.
    pub(super) traces: Arc<SpanQueue>,
    /// Whether the store answers.
    pub(super) store: StoreHealth,
    /// Which queues are read one message at a time, since a message ended the connection.
    pub(super) quarantine: QuarantineStatus,
    broker: watch::Receiver<Health>,
    stop: CancellationToken,
    clock: Clock,
    started: Instant,
    started_ms: i64,
    rules: watch::Receiver<ReloadStatus>,
    /// How long a lane may take no step before it counts as stuck.
    stuck_after: Duration,
}

impl WorkerMonitor {
    pub(super) fn new(
        settings: &Settings,
        rules: watch::Receiver<ReloadStatus>,
        broker: watch::Receiver<Health>,
        stop: &CancellationToken,
    ) -> WorkerMonitor {
        let clock = Clock::System;
        let sources = settings.sources();
        let lanes: usize = sources.iter().map(|source| source.lanes).sum();
        WorkerMonitor {
            lanes: (0..lanes).map(|_| Arc::default()).collect(),
            partitioners: sources.iter().map(|_| Arc::default()).collect(),
            sweeps: Arc::default(),
            traces: Arc::default(),
            store: StoreHealth::default(),
            quarantine: QuarantineStatus::default(),
            broker,
            stop: stop.clone(),
            started: Instant::now(),
            started_ms: clock.now_ms(),
            clock,
            rules,
            stuck_after: settings.amqp.confirm_timeout + OTHER_WAITS_MAX,
        }
    }

    /// Messages that were received and are not settled.
    pub(super) fn in_hand(&self) -> u64 {
        let lanes = self.lanes.iter().map(|lane| lane.progress.in_hand()).sum::<u64>();
        lanes + self.partitioners.iter().map(|it| it.in_hand()).sum::<u64>()
    }

    fn counts(&self) -> Counts {
        Counts::sum(self.lanes.iter().map(|lane| lane.counts()))
    }
}

impl http::Monitor for WorkerMonitor {
    fn liveness(&self) -> Liveness {
        let mut dead = Vec::new();
        let bound = self.stuck_after;
        let any_runs = self.lanes.iter().any(|lane| lane.progress.is_running());
        for (number, lane) in self.lanes.iter().enumerate() {
            let progress = &lane.progress;
            let secs = progress.idle().as_secs();
            if progress.is_stuck(bound) {
                let messages = progress.in_hand();
                let why = format!("lane {number} holds {messages} messages, no step for {secs} s");
                dead.push(Problem::new("lane", why));
            } else if any_runs
                && !self.quarantine.is_on()
                && !progress.is_running()
                && progress.idle() > bound
            {
                let why = format!("lane {number} has ended {secs} s ago, and others go on");
                dead.push(Problem::new("lane", why));
            }
        }
        for progress in self.partitioners.iter().filter(|it| it.is_stuck(bound)) {
            let (messages, secs) = (progress.in_hand(), progress.idle().as_secs());
            let why = format!("{messages} messages for partitions, no step for {secs} s");
            dead.push(Problem::new("partitioner", why));
        }
        let step = self.sweeps.totals().step_began.map(|began| began.elapsed());
        if let Some(step) = step.filter(|step| *step > bound) {
            let why = format!("a step of the sweep does not end, for {} s", step.as_secs());
            dead.push(Problem::new("cleaner", why));
        }
        if let Some(age) = self.store.age().filter(|age| *age > bound) {
            let why = format!("nothing has run for {} s", age.as_secs());
            dead.push(Problem::new("runtime", why));
        }
        Liveness { dead }
    }

    fn readiness(&self) -> Readiness {
        let mut missing = Vec::new();
        // True from the signal on, before any lane has noticed it.
        if self.stop.is_cancelled() {
            missing.push(Problem::new("draining", "it was told to stop"));
        }
        let held = self.lanes.iter().filter(|lane| lane.progress.is_held()).count();
        if !self.store.is_up() {
            missing.push(Problem::new("store", "it does not answer"));
        } else if held > 0 {
            missing.push(Problem::new("store", format!("{held} lanes wait to save a batch")));
        }
        let running = self.lanes.iter().filter(|lane| lane.progress.is_running()).count();
        let quarantine = self.quarantine.reason();
        match *self.broker.borrow() {
            Health::Down | Health::Up if quarantine.is_some() => {}
            Health::Down => missing.push(Problem::new("broker", "there is no connection")),
            Health::Blocked => {
                let why = "it takes no messages, for lack of memory or disk";
                missing.push(Problem::new("broker_alarm", why));
            }
            Health::Up if running < self.lanes.len() => {
                let why = format!("{running} of {} run", self.lanes.len());
                missing.push(Problem::new("lanes", why));
            }
            Health::Up => {}
        }
        let mut warnings = Vec::new();
        warnings.extend(quarantine.map(|why| Problem::new("undeliverable", why)));
        let asking = self.lanes.iter().filter(|lane| lane.progress.is_probing()).count();
        if asking > 0 {
            let why = format!(
                "{asking} lanes hold a batch: the broker returns or refuses what they publish"
            );
            warnings.push(Problem::new("takers", why));
        }
        if self.rules.borrow().problem.is_some() {
            // The log has the problems, at any length.
            let why = "the rules file is refused (see the log); older rules stay in force";
            warnings.push(Problem::new("rules", why));
        }
        Readiness { missing, warnings }
    }

    fn metrics(&self) -> Result<(&'static str, String), fmt::Error> {
        let broker = *self.broker.borrow();
        let rules = self.rules.borrow().clone();
        let swept = self.sweeps.totals();
        let lane = |lane: &Arc<Tally>| LaneSample {
            running: lane.progress.is_running(),
            in_hand: lane.progress.in_hand(),
            idle: lane.progress.idle(),
        };
        let sample = Sample {
            version: env!("CARGO_PKG_VERSION"),
            rules_revision: rules.revision.as_str().to_owned(),
            rules_number: rules.number,
            rules_refused: rules.refused,
            rules_problem: rules.problem.is_some(),
            started_ms: self.started_ms,
            counts: self.counts(),
            lanes: self.lanes.iter().map(lane).collect(),
            broker_connected: broker != Health::Down,
            broker_blocked: broker == Health::Blocked,
            store_up: self.store.is_up(),
            draining: self.stop.is_cancelled(),
            spans_exported: self.traces.exported(),
            spans_dropped: self.traces.dropped(),
            sweep: SweepSample {
                rounds: swept.rounds,
                rows: swept.latest.as_ref().map(|latest| latest.rows),
                live_rows: swept.latest.as_ref().map(|latest| latest.live),
                expired: swept.expired,
                forgotten: swept.forgotten,
                deleted: swept.deleted,
                early: swept.early,
            },
        };
        Ok((MEDIA_TYPE, sample.render()?))
    }

    fn status(&self) -> Status {
        let counts = self.counts();
        let latest = self.sweeps.totals().latest;
        let mut finished: BTreeMap<_, _> =
            Outcome::ALL.iter().map(|it| (it.as_str().to_owned(), counts.of(*it))).collect();
        finished.insert("given_back".to_owned(), counts.given_back);
        let now_ms = self.clock.now_ms();
        let mut waiting: Vec<_> =
            self.lanes.iter().flat_map(|lane| lane.waits.at(now_ms)).map(waiting_message).collect();
        waiting.sort_by_key(|wait| wait.since_ms);
        Status {
            version: self.version(),
            uptime_ms: millis(self.started.elapsed()),
            readiness: self.readiness(),
            liveness: self.liveness(),
            lanes: self.lanes.iter().enumerate().map(lane_status).collect(),
            received: counts.received,
            in_hand: counts.in_hand(),
            finished,
            dead_lettered: counts
                .dead_lettered()
                .map(|(reason, count)| (reason.as_str().to_owned(), count))
                .collect(),
            stored_rows: latest.as_ref().map(|latest| latest.rows),
            live_rows: latest.as_ref().map(|latest| latest.live),
            waiting,
        }
    }

    fn version(&self) -> Version {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let rules_revision = self.rules.borrow().revision.as_str().to_owned();
        Version { version, rules_revision }
    }
}

fn lane_status((number, lane): (usize, &Arc<Tally>)) -> LaneStatus {
    let progress = &lane.progress;
    LaneStatus {
        lane: number,
        running: progress.is_running(),
        waits_for_store: progress.is_held(),
        waits_for_takers: progress.is_probing(),
        in_hand: progress.in_hand(),
        received: progress.received(),
        idle_ms: millis(progress.idle()),
    }
}

fn waiting_message(wait: WaitEntry) -> WaitingMessage {
    let (who, on) = wait.who_on.unzip();
    WaitingMessage {
        message_id: wait.message_id,
        tenant: who.as_ref().map(|who| who.tenant.to_string()),
        interaction: who.map(|who| who.id.into_owned()),
        waits_for: on.map(|on| on.id.into_owned()),
        cause: wait.cause.as_str().to_owned(),
        since_ms: wait.since_ms,
        due_ms: wait.due_ms,
    }
}

#[cfg(test)]
mod tests;
