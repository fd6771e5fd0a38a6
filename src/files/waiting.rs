//! Lines that wait for an interaction, and lines that are ready to be tried again.
//!
//! Shared by the three adapters of a lane. Bounded: when it is full, the line that has waited longest is
//! decided as on its last attempt, so that memory stays bounded for any input.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::line::Line;
use crate::domain::Identity;
use crate::pipeline::ports::WaitDependency;

/// The bytes of all waiting bodies, at most. Enough for tens of thousands of children that overtook
/// their parents, and little for a machine.
const MAX_WAITING_BYTES: usize = 64 * 1024 * 1024;

/// The waiting lines of one run.
#[derive(Debug, Default)]
pub(crate) struct WaitingLines {
    inner: Mutex<Inner>,
    /// Notified when lines are settled.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// The waiting lines, in the order of arrival.
    waiting: BTreeMap<u64, WaitingLine>,
    /// The numbers of the lines that wait for an interaction.
    waiting_for: HashMap<Identity<'static>, Vec<u64>>,
    /// The number of the next waiting line.
    next: u64,
    waiting_bytes: usize,
    ready: VecDeque<Line>,
    /// Lines that were delivered and are not settled.
    in_flight: usize,
}

#[derive(Debug)]
struct WaitingLine {
    line: Line,
    awaited: WaitDependency,
}

/// What is left for a source at the end of its input.
pub(super) enum PendingLines {
    /// Lines to be delivered now.
    Ready(Vec<Line>),
    /// Nothing yet: lines in flight may wake others.
    InFlight,
    /// Nothing: all lines are settled.
    Nothing,
}

impl WaitingLines {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic while it is locked leaves the queues consistent: each is changed in one step.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a line until the interaction it waits for is published.
    pub(super) fn park(&self, line: Line, awaited: WaitDependency) {
        let mut inner = self.inner();
        let number = inner.next;
        inner.next += 1;
        inner.waiting_bytes += line.body.len();
        inner.waiting_for.entry(awaited.on.clone()).or_default().push(number);
        inner.waiting.insert(number, WaitingLine { line, awaited });
        while inner.waiting_bytes > MAX_WAITING_BYTES {
            inner.release_first();
        }
    }

    /// Makes the lines ready that wait for this interaction: it has been published.
    pub(super) fn wake(&self, published: &Identity<'static>) {
        let mut inner = self.inner();
        for number in inner.waiting_for.remove(published).unwrap_or_default() {
            inner.make_ready(number);
        }
    }

    /// Takes lines that are ready, `max` at most.
    pub(super) fn take_ready(&self, max: usize) -> Vec<Line> {
        let mut inner = self.inner();
        let count = inner.ready.len().min(max);
        let lines: Vec<_> = inner.ready.drain(..count).collect();
        inner.in_flight += lines.len();
        lines
    }

    /// Counts lines that were delivered.
    pub(super) fn delivered(&self, lines: usize) {
        self.inner().in_flight += lines;
    }

    /// Counts lines that were settled.
    pub(crate) fn settled(&self, lines: usize) {
        let mut inner = self.inner();
        inner.in_flight = inner.in_flight.saturating_sub(lines);
        drop(inner);
        self.changed.notify_one();
    }

    /// Puts a line back to be delivered again.
    pub(super) fn requeue(&self, line: Line) {
        self.inner().ready.push_back(line);
    }

    /// The lines to deliver when the input has ended. Lines in flight may still wake waiting ones; after
    /// that, lines that wait for no other waiting line are decided, which may wake the rest.
    pub(super) fn next_pending(&self, max: usize) -> PendingLines {
        let mut inner = self.inner();
        if inner.ready.is_empty() && inner.in_flight > 0 {
            return PendingLines::InFlight;
        }
        if inner.ready.is_empty() {
            inner.release_roots();
        }
        drop(inner);
        match self.take_ready(max) {
            lines if lines.is_empty() => PendingLines::Nothing,
            lines => PendingLines::Ready(lines),
        }
    }

    /// Waits until lines have been settled.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Inner {
    /// Releases the lines that wait for no other waiting line: a creation before its update, a child
    /// before its own child. Where all wait for each other, the first.
    fn release_roots(&mut self) {
        let others: HashSet<_> = self
            .waiting
            .values()
            .filter(|line| line.awaited.on != line.awaited.who)
            .map(|line| line.awaited.who.clone())
            .collect();
        let root = |(_, line): &(&u64, &WaitingLine)| !others.contains(&line.awaited.on);
        let roots: Vec<_> = self.waiting.iter().filter(root).map(|(number, _)| *number).collect();
        if roots.is_empty() {
            self.release_first();
        }
        for number in roots {
            self.release(number);
        }
    }

    fn release_first(&mut self) {
        if let Some(number) = self.waiting.keys().next().copied() {
            self.release(number);
        }
    }

    /// Makes a line ready, to be decided as on its last attempt.
    fn release(&mut self, number: u64) {
        if let Some(line) = self.make_ready(number) {
            // More attempts than any schedule allows: see `RetrySchedule::next_wait`.
            line.arrival.attempts.count = u32::MAX;
        }
    }

    fn make_ready(&mut self, number: u64) -> Option<&mut Line> {
        let waiting = self.waiting.remove(&number)?;
        self.waiting_bytes -= waiting.line.body.len();
        self.ready.push_back(waiting.line);
        self.ready.back_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    fn identity(id: &'static str) -> Identity<'static> {
        Identity { tenant: Cow::Borrowed(""), id: Cow::Borrowed(id) }
    }

    fn park(waiting: &WaitingLines, number: u64, who: &'static str, on: &'static str) {
        let line = Line { number, ..Line::default() };
        waiting.park(line, WaitDependency { who: identity(who), on: identity(on) });
    }

    fn numbers(left: &PendingLines) -> Vec<u64> {
        match left {
            PendingLines::Ready(lines) => lines.iter().map(|line| line.number).collect(),
            PendingLines::InFlight | PendingLines::Nothing => Vec::new(),
        }
    }

    #[test]
    fn published_interaction_wakes_lines_that_wait_for_it() {
        let waiting = WaitingLines::default();
        park(&waiting, 1, "C", "P");
        park(&waiting, 2, "D", "Q");
        waiting.wake(&identity("P"));
        let ready = waiting.take_ready(10);
        assert_eq!(ready.iter().map(|line| line.number).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn at_end_of_input_roots_are_released_first() {
        let waiting = WaitingLines::default();
        // An update of C, C's child G, and C itself, which waits for a parent that never comes.
        park(&waiting, 1, "C", "C");
        park(&waiting, 2, "G", "C");
        park(&waiting, 3, "C", "P");
        assert_eq!(numbers(&waiting.next_pending(10)), [3]);
        waiting.wake(&identity("C"));
        waiting.settled(1);
        assert_eq!(numbers(&waiting.next_pending(10)), [1, 2]);
        waiting.settled(2);
        assert!(matches!(waiting.next_pending(10), PendingLines::Nothing));
    }

    #[test]
    fn lines_that_wait_for_each_other_are_released_too() {
        let waiting = WaitingLines::default();
        park(&waiting, 1, "A", "B");
        park(&waiting, 2, "B", "A");
        assert_eq!(numbers(&waiting.next_pending(10)), [1]);
        assert!(matches!(waiting.next_pending(10), PendingLines::InFlight));
    }
}
