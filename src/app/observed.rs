//! The worker as it is seen from outside: health, metrics and status out of what its parts report.
//!
//! Reads atomics and watches, and waits for nothing, so it answers also when the parts hang.
//!
//! *Alive* means that only a restart could make it better if it were not: a lane that holds messages and
//! takes no step for longer than all it may wait for, a lane that has ended while others go on, a step
//! of the cleaner that does not end, a runtime that runs nothing. A store or a broker that is away is
//! none of these: it is what readiness is about. (A cleaner that panics ends the process: it runs in
//! the task of whoever runs the lanes.)

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::quarantined::Quarantined;
use super::store_watch::StoreWatch;
use crate::broker::Health;
use crate::cleaner::Sweeps;
use crate::clock::Clock;
use crate::http::{self, LaneStatus, Liveness, Problem, Readiness, Status, Version, Waiting};
use crate::pipeline::observe::labels::Outcome;
use crate::pipeline::observe::progress::Progress;
use crate::pipeline::observe::tally::{Counts, Tally};
use crate::pipeline::observe::waits::WaitEntry;
use crate::reload::Standing;
use crate::settings::Settings;
use crate::telemetry::metrics::{LaneSample, MEDIA_TYPE, Sample, SweepSample};
use crate::telemetry::traces::Outbox;

/// What a lane may wait for between two steps beside the confirms of a batch, all of it together: half a
/// minute between two tries, some ten seconds for each of the store's answers, and for the broker to
/// take an acknowledgement. Generous, since a restart costs more than a late one.
const OTHER_WAITS: Duration = Duration::from_secs(120);

/// The parts of a worker, as far as they are looked at.
pub(super) struct Observed {
    /// Each lane's own.
    pub(super) lanes: Vec<Arc<Tally>>,
    /// Of each source, who passes its messages on to its partitions; idle where there are none.
    pub(super) partitioners: Vec<Arc<Progress>>,
    /// What the cleaner reports.
    pub(super) sweeps: Arc<Sweeps>,
    /// Spans on their way out.
    pub(super) traces: Arc<Outbox>,
    pub(super) store: StoreWatch,
    pub(super) quarantine: Quarantined,
    broker: watch::Receiver<Health>,
    stop: CancellationToken,
    clock: Clock,
    started: Instant,
    started_ms: i64,
    rules: watch::Receiver<Standing>,
    /// How long a lane may take no step.
    stuck_after: Duration,
}

impl Observed {
    pub(super) fn new(
        settings: &Settings,
        rules: watch::Receiver<Standing>,
        broker: watch::Receiver<Health>,
        stop: &CancellationToken,
    ) -> Observed {
        let clock = Clock::System;
        let sources = settings.sources();
        let lanes: usize = sources.iter().map(|source| source.lanes).sum();
        Observed {
            lanes: (0..lanes).map(|_| Arc::default()).collect(),
            partitioners: sources.iter().map(|_| Arc::default()).collect(),
            sweeps: Arc::default(),
            traces: Arc::default(),
            store: StoreWatch::default(),
            quarantine: Quarantined::default(),
            broker,
            stop: stop.clone(),
            started: Instant::now(),
            started_ms: clock.now_ms(),
            clock,
            rules,
            stuck_after: settings.amqp.confirm_timeout + OTHER_WAITS,
        }
    }

    /// Messages that were taken and are not settled.
    pub(super) fn in_hand(&self) -> u64 {
        let lanes = self.lanes.iter().map(|lane| lane.progress.in_hand()).sum::<u64>();
        lanes + self.partitioners.iter().map(|it| it.in_hand()).sum::<u64>()
    }

    fn counts(&self) -> Counts {
        Counts::sum(self.lanes.iter().map(|lane| lane.counts()))
    }
}

impl http::Observed for Observed {
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
        let step = self.sweeps.total().step_began.map(|began| began.elapsed());
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
        // True from the moment of the signal on, before any lane has heard of it.
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
        let quarantine = self.quarantine.why();
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
            let why = format!("{asking} lanes hold a batch: no consumer takes what is published");
            warnings.push(Problem::new("takers", why));
        }
        if self.rules.borrow().problem.is_some() {
            // What is wrong with them stands in the log, at any length.
            let why = "the rules file is not taken (see the log); older rules stay in force";
            warnings.push(Problem::new("rules", why));
        }
        Readiness { missing, warnings }
    }

    fn metrics(&self) -> Result<(&'static str, String), fmt::Error> {
        let broker = *self.broker.borrow();
        let rules = self.rules.borrow().clone();
        let swept = self.sweeps.total();
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
        let latest = self.sweeps.total().latest;
        let mut finished: BTreeMap<_, _> =
            Outcome::ALL.iter().map(|it| (it.as_str().to_owned(), counts.of(*it))).collect();
        finished.insert("given_back".to_owned(), counts.given_back);
        let now_ms = self.clock.now_ms();
        let mut waiting: Vec<_> =
            self.lanes.iter().flat_map(|lane| lane.waits.at(now_ms)).map(waiting).collect();
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

fn waiting(wait: WaitEntry) -> Waiting {
    let (who, on) = wait.who_on.unzip();
    Waiting {
        message_id: wait.message_id,
        tenant: who.as_ref().map(|who| who.tenant.to_string()),
        interaction: who.map(|who| who.id.into_owned()),
        waits_for: on.map(|on| on.id.into_owned()),
        cause: wait.cause.as_str().to_owned(),
        since_ms: wait.since_ms,
        due_ms: wait.due_ms,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app;
    use crate::domain::{Identity, Rules};
    use crate::http::Observed as _;
    use crate::pipeline::lane::Lane;
    use crate::pipeline::ports::{
        Arrival, Delivery, Outgoing, PublishOutcome, Publisher, Row, RowChange, Settlement,
        Settler, Source, Store, StoreError, Transaction, TransportError,
    };
    use crate::pipeline::ports::{Doubtful, Recall};
    use crate::pipeline::save::rules_in_force::RulesInForce;
    use crate::reload::Reloader;
    use crate::settings::{self, Sources};

    /// What cannot be decoded: it needs no store, and is published as a dead letter.
    struct Noise(Arrival);

    impl Delivery for Noise {
        fn body(&self) -> &[u8] {
            b"noise"
        }
        fn arrival(&self) -> &Arrival {
            &self.0
        }
    }

    /// Two deliveries, then nothing more for ever.
    struct Two(bool);

    impl Source for Two {
        type Delivery = Noise;
        async fn next_batch(&mut self, _max: usize) -> Result<Vec<Noise>, TransportError> {
            if std::mem::replace(&mut self.0, true) {
                std::future::pending::<()>().await;
            }
            Ok(vec![Noise(Arrival::default()), Noise(Arrival::default())])
        }
    }

    /// A broker that never answers, and that nothing gives up on.
    struct Silence;

    impl Publisher<Noise> for Silence {
        async fn publish(
            &mut self,
            _batch: &[Outgoing<'_, Noise>],
        ) -> Result<Vec<PublishOutcome>, TransportError> {
            std::future::pending().await
        }
    }

    impl Settler<Noise> for Silence {
        async fn settle(&mut self, _batch: Vec<(Noise, Settlement)>) -> Result<(), TransportError> {
            unreachable!("nothing is ever confirmed")
        }
    }

    impl Store for Silence {
        type Transaction = Silence;
        async fn begin(
            &self,
            _own: &[Identity<'_>],
            _parents: &[Identity<'_>],
        ) -> Result<(Vec<Row>, Silence), StoreError> {
            unreachable!("nothing can be decoded")
        }
    }

    impl Recall for Silence {
        async fn recall(&mut self, _events: &[Doubtful<'_>]) -> Result<Vec<usize>, StoreError> {
            unreachable!("nothing is begun")
        }
    }

    impl Transaction for Silence {
        async fn save(self, _rows: &[RowChange<'_>]) -> Result<(), StoreError> {
            unreachable!("nothing is begun")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_that_hangs_is_told_from_one_that_has_nothing_to_do() {
        let mut settings = settings::load(Sources::default()).expect("the defaults").settings;
        settings.lanes = 2;
        let (health, broker) = watch::channel(Health::Up);
        let stop = CancellationToken::new();
        let rules = Arc::new(RulesInForce::new(Rules::empty()));
        let reloader = Reloader::new(app::rules_source(&settings), Arc::clone(&rules));
        let observed = Observed::new(&settings, reloader.standing(), broker, &stop);
        let worker = app::worker(&settings, rules, Silence);
        let lane = |number: usize, source: Two| {
            let lane = Lane {
                worker: &worker,
                source,
                publisher: Silence,
                settler: Silence,
                batch_messages: 10,
                tally: &observed.lanes[number],
            };
            lane.run(&stop)
        };
        let bound = settings.amqp.confirm_timeout + OTHER_WAITS;
        let watching = async {
            tokio::time::sleep(bound).await;
            assert_eq!(observed.liveness(), Liveness::default(), "not longer than it may wait");
            tokio::time::sleep(Duration::from_secs(1)).await;
            let why = "lane 1 holds 2 messages, no step for 151 s";
            assert_eq!(observed.liveness().dead, [Problem::new("lane", why)]);
            // Alive or not, what is missing is another question.
            health.send_replace(Health::Down);
            let missing: Vec<_> =
                observed.readiness().missing.into_iter().map(|problem| problem.what).collect();
            assert_eq!(missing, ["store", "broker"]);
            assert_eq!(observed.in_hand(), 2);
        };
        tokio::select! {
            ended = lane(0, Two(true)) => panic!("an idle lane goes on: {ended:?}"),
            ended = lane(1, Two(false)) => panic!("it hangs: {ended:?}"),
            () = watching => {}
        }
        assert_eq!(observed.in_hand(), 0, "a lane that is dropped gives back what it has");
        assert_eq!(observed.counts().given_back, 2);
    }
}
