//! The waiting room: lines that wait for an interaction, and lines that are ready to be tried again.
//!
//! Shared by the three adapters of a lane. Bounded: when it is full, whoever has waited longest is
//! decided as after the last attempt, so that memory stays bounded for any input.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::lines::Line;
use crate::domain::Identity;
use crate::pipeline::ports::{Attempts, WaitDependency};

/// The bodies that may wait together, in bytes. Enough for tens of thousands of children that
/// overtook their parents, and little for a machine.
const MAX_WAITING_BYTES: usize = 64 * 1024 * 1024;

/// The waiting room of one run.
#[derive(Debug, Default)]
pub struct Room {
    inner: Mutex<Inner>,
    /// Told whenever something is settled or becomes ready.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// Those who wait, by when they came.
    waiting: BTreeMap<u64, Waiting>,
    /// Who waits for an interaction.
    waiting_for: HashMap<Identity<'static>, Vec<u64>>,
    /// The number of the next to come.
    next: u64,
    waiting_bytes: usize,
    ready: VecDeque<Line>,
    /// Lines that were delivered and are not settled.
    under_way: usize,
}

#[derive(Debug)]
struct Waiting {
    line: Line,
    awaited: WaitDependency,
}

/// What the room has to say to a source at the end of its input.
pub(super) enum Left {
    /// Lines to be delivered now.
    Ready(Vec<Line>),
    /// Nothing yet: something is under way that may change it.
    UnderWay,
    /// Nothing, ever.
    Nothing,
}

impl Room {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere leaves the queues as they are: each is changed in one step.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a line until the interaction it waits for is published.
    pub(super) fn park(&self, line: Line, awaited: WaitDependency) {
        let mut inner = self.inner();
        let number = inner.next;
        inner.next += 1;
        inner.waiting_bytes += line.body.len();
        inner.waiting_for.entry(awaited.on.clone()).or_default().push(number);
        inner.waiting.insert(number, Waiting { line, awaited });
        while inner.waiting_bytes > MAX_WAITING_BYTES {
            inner.decide_first();
        }
    }

    /// Makes ready whatever waits for this interaction: it has been published.
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
        inner.under_way += lines.len();
        lines
    }

    /// Counts lines that were delivered.
    pub(super) fn delivered(&self, lines: usize) {
        self.inner().under_way += lines;
    }

    /// Counts lines that were settled.
    pub fn settled(&self, lines: usize) {
        let mut inner = self.inner();
        inner.under_way = inner.under_way.saturating_sub(lines);
        drop(inner);
        self.changed.notify_one();
    }

    /// Puts a line back to be delivered again.
    pub(super) fn requeue(&self, line: Line) {
        self.inner().ready.push_back(line);
    }

    /// What is left when the input has ended. While anything is under way, what waits may still be
    /// woken by it; then whatever waits for nobody in this room is decided, which may wake the rest.
    pub(super) fn left(&self, max: usize) -> Left {
        let mut inner = self.inner();
        if inner.ready.is_empty() && inner.under_way > 0 {
            return Left::UnderWay;
        }
        if inner.ready.is_empty() {
            inner.decide_roots();
        }
        drop(inner);
        match self.take_ready(max) {
            lines if lines.is_empty() => Left::Nothing,
            lines => Left::Ready(lines),
        }
    }

    /// Waits until something has been settled.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Inner {
    /// Decides those that wait for nobody who is waiting here too: a creation before its update, a
    /// child before its own child. Where all wait for each other, the first.
    fn decide_roots(&mut self) {
        let others: HashSet<_> = self
            .waiting
            .values()
            .filter(|waiting| waiting.awaited.on != waiting.awaited.who)
            .map(|waiting| waiting.awaited.who.clone())
            .collect();
        let root = |(_, waiting): &(&u64, &Waiting)| !others.contains(&waiting.awaited.on);
        let roots: Vec<_> = self.waiting.iter().filter(root).map(|(number, _)| *number).collect();
        if roots.is_empty() {
            self.decide_first();
        }
        for number in roots {
            self.decide(number);
        }
    }

    fn decide_first(&mut self) {
        if let Some(number) = self.waiting.keys().next().copied() {
            self.decide(number);
        }
    }

    /// Makes one ready, as after the last attempt.
    fn decide(&mut self, number: u64) {
        if let Some(line) = self.make_ready(number) {
            // More waits than any patience has: see `RetrySchedule::next_wait`.
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

/// The attempts of a line that waits: it is tried again once for each time that it is woken.
pub(super) fn with_attempts(line: &Line, attempts: &Attempts) -> Line {
    let mut line = line.clone();
    line.arrival.attempts = attempts.clone();
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    fn identity(id: &'static str) -> Identity<'static> {
        Identity { tenant: Cow::Borrowed(""), id: Cow::Borrowed(id) }
    }

    fn park(room: &Room, number: u64, who: &'static str, on: &'static str) {
        let line = Line { number, ..Line::default() };
        room.park(line, WaitDependency { who: identity(who), on: identity(on) });
    }

    fn numbers(left: &Left) -> Vec<u64> {
        match left {
            Left::Ready(lines) => lines.iter().map(|line| line.number).collect(),
            Left::UnderWay | Left::Nothing => Vec::new(),
        }
    }

    #[test]
    fn a_published_interaction_wakes_those_who_wait_for_it() {
        let room = Room::default();
        park(&room, 1, "C", "P");
        park(&room, 2, "D", "Q");
        room.wake(&identity("P"));
        let ready = room.take_ready(10);
        assert_eq!(ready.iter().map(|line| line.number).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn at_the_end_roots_are_decided_first() {
        let room = Room::default();
        // An update of C, C's child G, and C itself, which waits for a parent that never comes.
        park(&room, 1, "C", "C");
        park(&room, 2, "G", "C");
        park(&room, 3, "C", "P");
        assert_eq!(numbers(&room.left(10)), [3]);
        room.wake(&identity("C"));
        room.settled(1);
        assert_eq!(numbers(&room.left(10)), [1, 2]);
        room.settled(2);
        assert!(matches!(room.left(10), Left::Nothing));
    }

    #[test]
    fn those_who_wait_for_each_other_are_decided_too() {
        let room = Room::default();
        park(&room, 1, "A", "B");
        park(&room, 2, "B", "A");
        assert_eq!(numbers(&room.left(10)), [1]);
        assert!(matches!(room.left(10), Left::UnderWay));
    }
}
