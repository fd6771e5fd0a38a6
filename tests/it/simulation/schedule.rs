//! Which harm is done to a run, and in which order: made from the seed.
//!
//! Faults come one by one or two and three at once, each to another part of the whole. Every kind comes
//! once, in some order, then every kind again, and so on.

use std::fmt;
use std::time::Duration;

use super::place::Place;
use super::random::Random;

/// The most faults at once.
const AT_ONCE: usize = 3;

/// Faults that overlap.
pub(super) type Step = Vec<Fault>;

/// A fault, to which worker (if it is about one), how long after its step began, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) worker: usize,
    pub(super) after: Duration,
    pub(super) lasting: Duration,
    /// Where it takes a quantity.
    pub(super) bytes: u64,
}

/// What is harmed. Two faults at once never harm the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
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
    ($($kind:ident: $part:ident, $from_ms:literal..$to_ms:literal;)+) => {
        /// The kinds of faults.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Kind { $($kind,)+ }

        impl Kind {
            const ALL: &[Kind] = &[$(Kind::$kind,)+];

            fn part(self) -> Part {
                match self { $(Kind::$kind => Part::$part,)+ }
            }

            fn lasting_ms(self) -> (usize, usize) {
                match self { $(Kind::$kind => ($from_ms, $to_ms),)+ }
            }
        }
    };
}

// What is brief is within the heartbeat of 2 s or the store's patience of 10 s; what is long is beyond:
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

impl Kind {
    fn is_possible(self, place: &Place) -> bool {
        let is_server = matches!(place, Place::Postgres { .. });
        match self {
            Kind::DiskFull => matches!(place, Place::SmallDisk(_)),
            Kind::RowsLockedLong | Kind::StoreRestarted | Kind::StoreKilled => is_server,
            other => is_server || other.part() != Part::StoreLink,
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
pub(super) fn schedule(seed: u64, count: usize, place: &Place, workers: usize) -> Vec<Step> {
    let mut random = Random::of(seed, "faults", 0);
    let mut steps: Vec<Step> = Vec::new();
    let mut deck: Vec<Kind> = Vec::new();
    for _ in 0..count {
        if deck.is_empty() {
            deck.extend(Kind::ALL.iter().filter(|kind| kind.is_possible(place)));
            // A small disk is there to be filled.
            deck.extend([Kind::DiskFull; 7].iter().filter(|kind| kind.is_possible(place)));
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
        match steps.last_mut().filter(|step| joins && goes_with(kind, step)) {
            Some(step) => {
                fault.after = milliseconds(random.below(2000));
                step.push(fault);
            }
            None => steps.push(vec![fault]),
        }
    }
    steps
}

fn goes_with(kind: Kind, step: &Step) -> bool {
    let part = kind.part();
    let apart = |other: &Fault| other.kind.part() != part && other.kind.part() != Part::All;
    part != Part::All && step.len() < AT_ONCE && step.iter().all(apart)
}

/// How often each kind is in a schedule, and how many overlap.
pub(super) fn tally(steps: &[Step]) -> String {
    let faults = || steps.iter().flatten();
    let overlapping = steps.iter().filter(|step| step.len() > 1).map(Vec::len).sum::<usize>();
    let counts = Kind::ALL.iter().filter_map(|kind| {
        let count = faults().filter(|fault| fault.kind == *kind).count();
        (count > 0).then(|| format!("{count} × {kind:?}"))
    });
    let counts: Vec<_> = counts.collect();
    format!("{} faults, {overlapping} of them at once: {}", faults().count(), counts.join(", "))
}
