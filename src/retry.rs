//! Delays between attempts: [`ReconnectBackoff`] for connections, [`RetrySchedule`] for waiting
//! messages; and [`jittered`] rests for repeated work.
//!
//! The only file that names `backoff` (docs/design.md says why the crate stays). It is used as a
//! schedule of delays and nothing more: nothing here sleeps, reads a clock or gives up on its own.
//! `max_elapsed_time` is `None` throughout, because its default of 15 minutes would silently end
//! all retrying.
//!
//! The two schedules differ in what they need. Workers that lost the same broker must *not* come
//! back in step, so `ReconnectBackoff` is random. Workers that share the waiting queues must agree on
//! their delays and on which wait is the last, so `RetrySchedule` is a pure function of the attempts.

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

/// Growing, jittered delays for reconnecting, without end.
#[derive(Debug)]
pub struct ReconnectBackoff {
    schedule: ExponentialBackoff,
}

impl ReconnectBackoff {
    /// A schedule that begins with its shortest delay.
    pub fn new() -> ReconnectBackoff {
        ReconnectBackoff {
            schedule: exponential(RECONNECT_FIRST_MS, RECONNECT_CAP_MS, RECONNECT_JITTER),
        }
    }

    /// How long to wait before the next attempt: 125 ms to 30 s, growing.
    pub fn next_delay(&mut self) -> Duration {
        // `None` only ever comes from `max_elapsed_time`, which is off.
        self.schedule.next_backoff().unwrap_or(Duration::from_millis(RECONNECT_CAP_MS))
    }

    /// Starts again with the shortest delay, after a success.
    pub fn reset(&mut self) {
        self.schedule.reset();
    }
}

impl Default for ReconnectBackoff {
    fn default() -> ReconnectBackoff {
        ReconnectBackoff::new()
    }
}

/// A duration of half to one and a half times `rest`, in whole milliseconds, so that workers that repeat
/// something do not stay in step.
pub fn jittered(rest: Duration) -> Duration {
    let rest_ms = whole_ms(rest);
    exponential(rest_ms, rest_ms, RECONNECT_JITTER).next_backoff().unwrap_or(rest)
}

/// The delays of a waiting message (C9), from the shortest to the longest: one waiting queue exists for
/// each.
///
/// Invariant: at least one delay; delays grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetrySchedule {
    delays_ms: Vec<u64>,
}

impl RetrySchedule {
    /// The first delay of the default schedule: C9 wants a first retry after at most 250 ms.
    pub const FIRST_MS: u64 = 250;
    /// The longest delay of the default schedule. Longer ones would save few deliveries and make the
    /// last retries within a minute coarse; seven queues are enough.
    pub const CAP_MS: u64 = 16_000;

    /// A schedule from `first_ms` (at least 1), doubling, up to `cap_ms`.
    pub fn new(first_ms: u64, cap_ms: u64) -> RetrySchedule {
        let first_ms = first_ms.max(1);
        let mut schedule = exponential(first_ms, cap_ms.max(first_ms), 0.0);
        let mut delays_ms = Vec::new();
        while let Some(delay_ms) = schedule.next_backoff().map(whole_ms) {
            // `backoff` repeats its cap for ever; this schedule ends there.
            if delays_ms.last() == Some(&delay_ms) {
                break;
            }
            delays_ms.push(delay_ms);
        }
        RetrySchedule { delays_ms }
    }

    /// The delays, shortest first: the topology has a waiting queue for each.
    pub fn delays(&self) -> Vec<Duration> {
        self.delays_ms.iter().copied().map(Duration::from_millis).collect()
    }

    /// The next wait of a message that has waited `attempts_so_far` times for the same cause, so
    /// that all its waits together stay within `limit_ms`; `None` when that was the last attempt.
    ///
    /// Waits grow delay by delay. Where the next delay exceeds the remaining time, the largest that
    /// fits is used: the time left over is less than the first delay.
    pub fn next_wait(&self, attempts_so_far: u32, limit_ms: u64) -> Option<Duration> {
        let mut left_ms = limit_ms;
        // Ends after `limit_ms / first delay` steps at most, whatever the header claims.
        for attempt in 0..=attempts_so_far {
            let highest = usize::try_from(attempt).map_or(self.delays_ms.len(), |n| n + 1);
            let wait_ms = self.delays_ms.iter().take(highest).rfind(|&&delay| delay <= left_ms)?;
            if attempt == attempts_so_far {
                return Some(Duration::from_millis(*wait_ms));
            }
            left_ms -= wait_ms;
        }
        None
    }
}

impl Default for RetrySchedule {
    fn default() -> RetrySchedule {
        RetrySchedule::new(RetrySchedule::FIRST_MS, RetrySchedule::CAP_MS)
    }
}

fn exponential(first_ms: u64, cap_ms: u64, jitter: f64) -> ExponentialBackoff {
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

    fn waits_ms(schedule: &RetrySchedule, limit_ms: u64) -> Vec<u64> {
        (0..).map_while(|attempts| schedule.next_wait(attempts, limit_ms)).map(whole_ms).collect()
    }

    #[test]
    fn default_schedule_uses_up_its_limit() {
        let schedule = RetrySchedule::default();
        assert_eq!(
            schedule.delays().into_iter().map(whole_ms).collect::<Vec<_>>(),
            [250, 500, 1000, 2000, 4000, 8000, 16_000]
        );
        for (limit_ms, expected) in [
            (0, &[][..]),
            (249, &[]),
            (250, &[250]),
            (8_000, &[250, 500, 1000, 2000, 4000, 250]),
            (60_000, &[250, 500, 1000, 2000, 4000, 8000, 16_000, 16_000, 8000, 4000, 250]),
        ] {
            assert_eq!(waits_ms(&schedule, limit_ms), expected, "limit {limit_ms} ms");
        }
    }

    #[test]
    fn absurd_attempt_count_means_no_more_waits() {
        assert_eq!(RetrySchedule::default().next_wait(u32::MAX, 60_000), None);
    }

    #[test]
    fn reconnect_delays_grow_with_jitter_without_end_until_reset() {
        let mut retry = ReconnectBackoff::new();
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
        fn waits_stay_within_limit_and_use_it_up(
            first_ms in 1_u64..2_000,
            doublings in 0_u32..8,
            limit_ms in 0_u64..200_000,
        ) {
            let schedule = RetrySchedule::new(first_ms, first_ms << doublings);
            let delays: Vec<_> = schedule.delays().into_iter().map(whole_ms).collect();
            prop_assert_eq!(delays.len(), doublings as usize + 1);
            prop_assert!(delays.windows(2).all(|pair| pair[0] < pair[1]));

            let waits = waits_ms(&schedule, limit_ms);
            let total: u64 = waits.iter().sum();
            prop_assert!(total <= limit_ms);
            prop_assert!(limit_ms - total < first_ms, "limit is left over");
            prop_assert!(waits.iter().all(|wait| delays.contains(wait)), "a wait without a queue");
            prop_assert!(waits.first().is_none_or(|wait| *wait == first_ms));
        }
    }
}
