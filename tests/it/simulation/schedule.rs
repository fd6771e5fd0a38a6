//! The faults of a run, and their order: made from the seed.
//!
//! Faults come one by one or two and three at once, each in another component. Every kind comes
//! once, in some order, then every kind again, and so on.

use std::fmt;
use std::time::Duration;

use super::random::Random;
use super::store_kind::StoreKind;

/// The most faults at once.
const CONCURRENT_FAULTS: usize = 3;

/// Faults that overlap.
pub(super) type FaultStep = Vec<Fault>;

/// A fault, to which worker (if it is about one), how long after its step began, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    pub(super) worker: usize,
    pub(super) after: Duration,
    pub(super) lasting: Duration,
    /// Where it takes a quantity.
    pub(super) bytes: u64,
}

/// The component that a fault affects. Overlapping faults affect different components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FaultScope {
    Worker,
    Broker,
    BrokerLink,
    Store,
    StoreLink,
    /// Everything else must be well.
    All,
}

/// Declares the kinds, each with its part and how long it lasts, from and to, in milliseconds.
macro_rules! kinds {
    ($($kind:ident: $scope:ident, $from_ms:literal..$to_ms:literal;)+) => {
        /// The kinds of faults.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum FaultKind { $($kind,)+ }

        impl FaultKind {
            const ALL: &[FaultKind] = &[$(FaultKind::$kind,)+];

            fn scope(self) -> FaultScope {
                match self { $(FaultKind::$kind => FaultScope::$scope,)+ }
            }

            fn lasting_ms(self) -> (usize, usize) {
                match self { $(FaultKind::$kind => ($from_ms, $to_ms),)+ }
            }
        }
    };
}

// Brief faults are within the heartbeat of 2 s or the store's timeout of 10 s; long faults are beyond:
// each side of a connection misses its peer after two heartbeats.
kinds! {
    WorkerKilled: Worker, 0..1500;
    WorkerStopped: Worker, 0..1500;
    WorkerFrozen: Worker, 3000..12500;
    BrokerKilled: Broker, 0..1500;
    BrokerFrozenBriefly: Broker, 300..1500;
    BrokerFrozenLong: Broker, 5000..7000;
    MemoryAlarm: Broker, 500..2500;
    Undecodable: Broker, 0..1;
    DownstreamUnbound: Broker, 1000..5000;
    DownstreamFull: Broker, 1000..5000;
    ConnectionsCut: BrokerLink, 0..1;
    AllConnectionsCut: BrokerLink, 0..1;
    ConnectionsStalledBriefly: BrokerLink, 300..1500;
    AllConnectionsStalledLong: BrokerLink, 5000..7000;
    AllConnectionsSlow: BrokerLink, 1000..5000;
    QueueDeleted: All, 0..1;
    StoreLockedBriefly: Store, 500..3000;
    StoreLockedLong: Store, 11500..13000;
    RowsLockedLong: Store, 11500..13000;
    StoreRestarted: Store, 0..1500;
    StoreKilled: Store, 0..1500;
    DiskFull: Store, 500..4000;
    StoreCut: StoreLink, 0..1;
    AllStoreCut: StoreLink, 0..1;
    StoreStalledBriefly: StoreLink, 500..3000;
    AllStoreStalledLong: StoreLink, 12500..14000;
    AllStoreSlow: StoreLink, 1000..5000;
}

impl FaultKind {
    fn is_possible(self, store: &StoreKind) -> bool {
        let is_server = matches!(store, StoreKind::Postgres { .. });
        match self {
            FaultKind::DiskFull => matches!(store, StoreKind::SmallDisk(_)),
            FaultKind::RowsLockedLong | FaultKind::StoreRestarted | FaultKind::StoreKilled => {
                is_server
            }
            other => is_server || other.scope() != FaultScope::StoreLink,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { kind, worker, after, lasting, .. } = self;
        let (after, lasting) = (after.as_millis(), lasting.as_millis());
        write!(f, "{kind:?} (worker {worker}, after {after} ms, {lasting} ms)")
    }
}

/// The faults of a seed.
pub(super) fn schedule(
    seed: u64,
    count: usize,
    store: &StoreKind,
    workers: usize,
) -> Vec<FaultStep> {
    let mut random = Random::from_parts(seed, "faults", 0);
    let mut steps: Vec<FaultStep> = Vec::new();
    let mut deck: Vec<FaultKind> = Vec::new();
    for _ in 0..count {
        if deck.is_empty() {
            deck.extend(FaultKind::ALL.iter().filter(|kind| kind.is_possible(store)));
            // A small disk is there to be filled.
            deck.extend([FaultKind::DiskFull; 7].iter().filter(|kind| kind.is_possible(store)));
            random.shuffle(&mut deck);
        }
        let kind = deck.pop().expect("it was just filled");
        let milliseconds = |ms: usize| Duration::from_millis(ms.try_into().expect("it is small"));
        let (from, to) = kind.lasting_ms();
        let mut fault = Fault {
            kind,
            worker: random.below(workers),
            after: Duration::ZERO,
            lasting: milliseconds(from + random.below(to - from)),
            bytes: random.next() % 300_000,
        };
        let joins = random.chance(50);
        match steps.last_mut().filter(|step| joins && can_overlap(kind, step)) {
            Some(step) => {
                fault.after = milliseconds(random.below(2000));
                step.push(fault);
            }
            None => steps.push(vec![fault]),
        }
    }
    steps
}

fn can_overlap(kind: FaultKind, step: &FaultStep) -> bool {
    let scope = kind.scope();
    let apart =
        |other: &Fault| other.kind.scope() != scope && other.kind.scope() != FaultScope::All;
    scope != FaultScope::All && step.len() < CONCURRENT_FAULTS && step.iter().all(apart)
}

/// How often each kind is in a schedule, and how many overlap.
pub(super) fn tally(steps: &[FaultStep]) -> String {
    let faults = || steps.iter().flatten();
    let overlapping = steps.iter().filter(|step| step.len() > 1).map(Vec::len).sum::<usize>();
    let counts = FaultKind::ALL.iter().filter_map(|kind| {
        let count = faults().filter(|fault| fault.kind == *kind).count();
        (count > 0).then(|| format!("{count} × {kind:?}"))
    });
    let counts: Vec<_> = counts.collect();
    format!("{} faults, {overlapping} of them at once: {}", faults().count(), counts.join(", "))
}
