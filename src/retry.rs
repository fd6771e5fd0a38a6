//! Delays between attempts: [`Reconnect`] for our own connections, [`Ladder`] for messages that wait;
//! and [`jittered`] rests for what is done again and again.
//!
//! The only file that names `backoff` (docs/design.md says why the crate stays). It is used as a
//! schedule of delays and nothing more: nothing here sleeps, reads a clock or gives up on its own.
//! `max_elapsed_time` is `None` throughout, because its default of 15 minutes would silently end
//! all retrying.
//!
//! The two schedules differ in what they need. Workers that lost the same broker must *not* come
//! back in step, so `Reconnect` is random. Workers that share the waiting queues must agree on
//! their delays and on which wait is the last, so `Ladder` is a pure function of the attempts.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;

/// The shortest delay before connecting again, before jitter: long enough not to hammer a broker
/// that refuses at once, short enough that a restart of its listener is hardly noticed.
const RECONNECT_FIRST_MS: u64 = 250;
/// The longest delay before jitter. With a jitter of one half, a delay never exceeds 30 s: a worker
/// is back within half a minute of its broker.
const RECONNECT_CAP_MS: u64 = 20_000;
/// How far a delay may stray to either side. One half spreads a fleet over a whole delay's width.
const RECONNECT_JITTER: f64 = 0.5;

/// Each delay is twice the one before: few tries while it lasts, the first ones soon.
const MULTIPLIER: f64 = 2.0;

/// Growing, jittered delays for connecting again; they never run out.
#[derive(Debug)]
pub struct Reconnect {
    schedule: ExponentialBackoff,
}

impl Reconnect {
    /// A schedule that begins with its shortest delay.
    pub fn new() -> Reconnect {
        Reconnect { schedule: schedule(RECONNECT_FIRST_MS, RECONNECT_CAP_MS, RECONNECT_JITTER) }
    }

    /// How long to wait before the next attempt: 125 ms to 30 s, growing.
    pub fn next_delay(&mut self) -> Duration {
        // `None` only ever comes from `max_elapsed_time`, which is off.
        self.schedule.next_backoff().unwrap_or(Duration::from_millis(RECONNECT_CAP_MS))
    }

    /// Begins again with the shortest delay: the connection has held.
    pub fn reset(&mut self) {
        self.schedule.reset();
    }
}

impl Default for Reconnect {
    fn default() -> Reconnect {
        Reconnect::new()
    }
}

/// A rest of half to one and a half times `rest`, in whole milliseconds: whoever rests that long does
/// not stay in step with others who do the same.
pub fn jittered(rest: Duration) -> Duration {
    let rest_ms = whole_ms(rest);
    schedule(rest_ms, rest_ms, RECONNECT_JITTER).next_backoff().unwrap_or(rest)
}

/// The delays that a waiting message climbs (C9): one waiting queue exists for each rung.
///
/// Invariant: at least one rung; rungs grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ladder {
    rungs_ms: Vec<u64>,
}

impl Ladder {
    /// The first rung of the default ladder: C9 wants a first try after at most 250 ms.
    pub const FIRST_MS: u64 = 250;
    /// The last rung of the default ladder. Longer waits would save few deliveries and make the
    /// last tries of a patience of a minute coarse; seven queues are enough.
    pub const CAP_MS: u64 = 16_000;

    /// A ladder from `first_ms` (at least 1), doubling, up to `cap_ms`.
    pub fn new(first_ms: u64, cap_ms: u64) -> Ladder {
        let first_ms = first_ms.max(1);
        let mut schedule = schedule(first_ms, cap_ms.max(first_ms), 0.0);
        let mut rungs_ms = Vec::new();
        while let Some(delay_ms) = schedule.next_backoff().map(whole_ms) {
            // The schedule stays at its cap for ever; the ladder ends there.
            if rungs_ms.last() == Some(&delay_ms) {
                break;
            }
            rungs_ms.push(delay_ms);
        }
        Ladder { rungs_ms }
    }

    /// The rungs, shortest first: what the topology needs a waiting queue for.
    pub fn delays(&self) -> Vec<Duration> {
        self.rungs_ms.iter().copied().map(Duration::from_millis).collect()
    }

    /// The next wait of a message that has waited `attempts_so_far` times for the same cause, so
    /// that all its waits together stay within `patience_ms`; `None` when that was the last attempt.
    ///
    /// Waits grow rung by rung. Where the next rung does not fit into what is left, the largest
    /// that fits is taken: patience is used up to less than the first rung.
    pub fn next_wait(&self, attempts_so_far: u32, patience_ms: u64) -> Option<Duration> {
        let mut left_ms = patience_ms;
        // Ends after `patience_ms / first rung` steps at most, whatever the header claimed.
        for attempt in 0..=attempts_so_far {
            let highest = usize::try_from(attempt).map_or(self.rungs_ms.len(), |n| n + 1);
            let wait_ms = self.rungs_ms.iter().take(highest).rfind(|&&rung| rung <= left_ms)?;
            if attempt == attempts_so_far {
                return Some(Duration::from_millis(*wait_ms));
            }
            left_ms -= wait_ms;
        }
        None
    }
}

impl Default for Ladder {
    fn default() -> Ladder {
        Ladder::new(Ladder::FIRST_MS, Ladder::CAP_MS)
    }
}

fn schedule(first_ms: u64, cap_ms: u64, jitter: f64) -> ExponentialBackoff {
    ExponentialBackoff {
        current_interval: Duration::from_millis(first_ms),
        initial_interval: Duration::from_millis(first_ms),
        max_interval: Duration::from_millis(cap_ms),
        multiplier: MULTIPLIER,
        randomization_factor: jitter,
        max_elapsed_time: None,
        ..ExponentialBackoff::default()
    }
}

/// The schedule works in floating-point nanoseconds; a queue's name and TTL are whole milliseconds.
fn whole_ms(delay: Duration) -> u64 {
    u64::try_from((delay + Duration::from_micros(500)).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn waits_ms(ladder: &Ladder, patience_ms: u64) -> Vec<u64> {
        (0..).map_while(|attempts| ladder.next_wait(attempts, patience_ms)).map(whole_ms).collect()
    }

    #[test]
    fn the_default_ladder_uses_up_its_patience() {
        let ladder = Ladder::default();
        assert_eq!(
            ladder.delays().into_iter().map(whole_ms).collect::<Vec<_>>(),
            [250, 500, 1000, 2000, 4000, 8000, 16_000]
        );
        for (patience_ms, expected) in [
            (0, &[][..]),
            (249, &[]),
            (250, &[250]),
            (8_000, &[250, 500, 1000, 2000, 4000, 250]),
            (60_000, &[250, 500, 1000, 2000, 4000, 8000, 16_000, 16_000, 8000, 4000, 250]),
        ] {
            assert_eq!(waits_ms(&ladder, patience_ms), expected, "patience {patience_ms} ms");
        }
    }

    #[test]
    fn an_absurd_number_of_attempts_is_just_over() {
        assert_eq!(Ladder::default().next_wait(u32::MAX, 60_000), None);
    }

    #[test]
    fn reconnecting_grows_jitters_never_ends_and_begins_again() {
        let mut retry = Reconnect::new();
        let delays: Vec<_> = (0..1000).map(|_| retry.next_delay()).collect();
        assert!(delays[0] <= Duration::from_millis(375), "first: {:?}", delays[0]);
        let late = &delays[10..];
        assert!(late.iter().all(|delay| (10_000..=30_000).contains(&whole_ms(*delay))));
        assert!(late.iter().any(|delay| delay != &late[0]), "no jitter");
        retry.reset();
        assert!(retry.next_delay() <= Duration::from_millis(375));
    }

    proptest! {
        #[test]
        fn waits_stay_within_patience_and_use_it_up(
            first_ms in 1_u64..2_000,
            doublings in 0_u32..8,
            patience_ms in 0_u64..200_000,
        ) {
            let ladder = Ladder::new(first_ms, first_ms << doublings);
            let rungs: Vec<_> = ladder.delays().into_iter().map(whole_ms).collect();
            prop_assert_eq!(rungs.len(), doublings as usize + 1);
            prop_assert!(rungs.windows(2).all(|pair| pair[0] < pair[1]));

            let waits = waits_ms(&ladder, patience_ms);
            let total: u64 = waits.iter().sum();
            prop_assert!(total <= patience_ms);
            prop_assert!(patience_ms - total < first_ms, "patience is left over");
            prop_assert!(waits.iter().all(|wait| rungs.contains(wait)), "a wait without a queue");
            prop_assert!(waits.first().is_none_or(|wait| *wait == first_ms));
        }
    }
}
