//! Received pairs: one for each key, whichever of several sources and times it comes from (rule P1).

use std::cmp::Ordering;

use super::key_map::{KeyMap, OccupiedEntry};
use super::source::{Priority, Source};
use super::value::{Key, Value};

/// Received pairs, one per key, each with its source and, where the message states it, its time (P1).
#[derive(Clone, Debug, Default)]
pub struct Received<'a> {
    pub(super) pairs: KeyMap<'a, Kept<'a>>,
}

/// The value of a key, with its source and time.
#[derive(Clone, Debug)]
pub(super) struct Kept<'a> {
    pub(super) value: Value<'a>,
    pub(super) source: Source<'a>,
    /// When it was set, in milliseconds since the Unix epoch, where a format states it.
    pub(super) set_ms: Option<i64>,
}

impl Kept<'_> {
    /// Whether it wins over what was there before it came (P1): a stronger source does, and of equals the
    /// later one, by the times that both were set, if both say one.
    fn wins_over(&self, there: &Kept<'_>, priority: &Priority) -> bool {
        let is_later = || match (there.set_ms, self.set_ms) {
            (Some(there_ms), Some(self_ms)) => there_ms <= self_ms,
            (None, _) | (_, None) => true,
        };
        match priority.rank(&self.source).cmp(&priority.rank(&there.source)) {
            Ordering::Less => true,
            Ordering::Equal => is_later(),
            Ordering::Greater => false,
        }
    }
}

impl<'a> Received<'a> {
    /// No pairs yet, and room for so many.
    pub(crate) fn with_capacity(pairs: usize) -> Received<'a> {
        Received { pairs: KeyMap::with_capacity(pairs) }
    }

    /// Takes a pair that comes after all that is here: it wins over its inferiors, and over its equals
    /// unless those were set later (P1). Returns the pair that lost, if two had the key.
    pub(crate) fn take(
        &mut self,
        key: Key<'a>,
        value: Value<'a>,
        source: Source<'a>,
        priority: &Priority,
    ) -> Option<LosingPair> {
        self.insert(key, Kept { value, source, set_ms: None }, priority)
    }

    fn insert(&mut self, key: Key<'a>, kept: Kept<'a>, priority: &Priority) -> Option<LosingPair> {
        let Err(OccupiedEntry { value, there, .. }) = self.pairs.insert(key, kept) else {
            return None;
        };
        if value.wins_over(there, priority) {
            *there = value;
            Some(LosingPair::Earlier)
        } else {
            Some(LosingPair::Later)
        }
    }

    /// When pairs were set, of those of which it is known: milliseconds since the Unix epoch.
    pub fn set_ms(&self) -> impl Iterator<Item = (&Key<'a>, i64)> {
        self.pairs.iter().filter_map(|(key, kept)| Some((key, kept.set_ms?)))
    }

    /// Sets the time of each pair to the one that `known` returns.
    pub fn mark_set(&mut self, known: impl Fn(&Key<'a>) -> Option<i64>) {
        self.pairs.for_each(|key, kept| kept.set_ms = known(key));
    }

    /// The pairs, in the order of arrival.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Key<'a>, &Value<'a>, &Source<'a>)> {
        self.pairs.iter().map(|(key, kept)| (key, &kept.value, &kept.source))
    }

    /// The value under a key.
    pub fn get(&self, key: &Key<'_>) -> Option<&Value<'a>> {
        self.pairs.get(key.as_bytes()).map(|kept| &kept.value)
    }

    /// Takes a key out.
    pub(crate) fn remove(&mut self, key: &Key<'_>) -> Option<Value<'a>> {
        self.pairs.remove(key.as_bytes()).map(|kept| kept.value)
    }

    /// Takes later pairs, one by one (P1); reports each key that had two, and which pair lost.
    pub(crate) fn take_all(
        &mut self,
        later: Received<'a>,
        priority: &Priority,
        mut lost: impl FnMut(Key<'a>, LosingPair),
    ) {
        for (key, kept) in later.pairs.into_pairs() {
            let named = key.clone();
            if let Some(loser) = self.insert(key, kept, priority) {
                lost(named, loser);
            }
        }
    }

    /// Keeps the pairs for which `keep` returns `true`.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Key<'a>, &Value<'a>) -> bool) {
        self.pairs.retain(|key, kept| keep(key, &kept.value));
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

/// Which of two pairs with the same key is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LosingPair {
    /// The pair that was present.
    Earlier,
    /// The pair that was added.
    Later,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of a key after these pairs, in this order: a source, and when it was set.
    fn kept(pairs: &[(Source<'static>, Option<i64>)]) -> String {
        let mut received = Received::default();
        for (n, (source, set_ms)) in pairs.iter().enumerate() {
            let kept = Kept {
                value: Value::from_json(n.to_string()),
                source: source.clone(),
                set_ms: *set_ms,
            };
            received.insert(Key::from("k"), kept, &Priority::default());
        }
        received.get(&Key::from("k")).map(|value| value.as_json().to_owned()).unwrap_or_default()
    }

    #[test]
    fn equal_sources_keep_the_pair_that_was_set_later() {
        use Source::{Customer, Integration};
        let at = |ms| (Integration, Some(ms));
        for (pairs, expected) in [
            (vec![at(5), at(1)], "0"),
            (vec![at(1), at(5)], "1"),
            (vec![at(1), at(1)], "1"),
            (vec![at(2), at(5), at(3)], "1"),
            // Without a time on both sides the order of arrival is all there is.
            (vec![at(5), (Integration, None)], "1"),
            (vec![(Integration, None), at(1)], "1"),
            // The source goes before the time.
            (vec![(Customer, Some(1)), at(5)], "0"),
            (vec![at(5), (Customer, Some(1))], "1"),
        ] {
            assert_eq!(kept(&pairs), expected, "{pairs:?}");
        }
    }
}
