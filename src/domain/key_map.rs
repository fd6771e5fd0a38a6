//! A map with keys of user data, in insertion order.
//!
//! Most messages have a dozen keys. A linear search of so few costs less than hashing one of them, and a
//! list is one allocation where a hash map is two. But customers choose the keys, and their number: so
//! above [`LIST_MAX`] it is a hash map, seeded at random.

use foldhash::fast::RandomState;
use indexmap::IndexMap;
use indexmap::map::Entry;

use super::value::{Key, same};

/// Keys of the list, at most; more are in a hash map.
const LIST_MAX: usize = 32;

/// A map with keys of user data, in insertion order.
#[derive(Clone, Debug)]
pub(crate) struct KeyMap<'a, T>(Pairs<'a, T>);

#[derive(Clone, Debug)]
enum Pairs<'a, T> {
    Few(Vec<(Key<'a>, T)>),
    Many(IndexMap<Key<'a>, T, RandomState>),
}

/// A pair that cannot be inserted, since its key is present.
#[derive(Debug)]
pub(crate) struct OccupiedEntry<'m, 'a, T> {
    /// The key of both.
    pub(crate) key: Key<'a>,
    /// The value to insert.
    pub(crate) value: T,
    /// The value that is present.
    pub(crate) there: &'m mut T,
}

impl<T> Default for KeyMap<'_, T> {
    fn default() -> Self {
        KeyMap(Pairs::Few(Vec::new()))
    }
}

impl<'a, T> KeyMap<'a, T> {
    /// An empty map with room for this many pairs.
    pub(crate) fn with_capacity(pairs: usize) -> KeyMap<'a, T> {
        KeyMap(match pairs {
            0..=LIST_MAX => Pairs::Few(Vec::with_capacity(pairs)),
            _ => Pairs::Many(IndexMap::with_capacity_and_hasher(pairs, RandomState::default())),
        })
    }

    /// Inserts a pair, unless its key is present.
    #[inline]
    pub(crate) fn insert(
        &mut self,
        key: Key<'a>,
        value: T,
    ) -> Result<(), OccupiedEntry<'_, 'a, T>> {
        self.insert_beside(usize::MAX, key, value)
    }

    /// [`KeyMap::insert`] for a key that can only be among the first `rivals` pairs.
    #[inline]
    pub(crate) fn insert_beside(
        &mut self,
        rivals: usize,
        key: Key<'a>,
        value: T,
    ) -> Result<(), OccupiedEntry<'_, 'a, T>> {
        if let Pairs::Few(few) = &mut self.0
            && few.len() == LIST_MAX
        {
            self.0 = Pairs::Many(few.drain(..).collect());
        }
        match &mut self.0 {
            Pairs::Few(few) => match position(&few[..rivals.min(few.len())], key.as_bytes()) {
                Some(at) => Err(OccupiedEntry { key, value, there: &mut few[at].1 }),
                None => {
                    few.push((key, value));
                    Ok(())
                }
            },
            Pairs::Many(many) => match many.entry(key) {
                Entry::Vacant(entry) => {
                    entry.insert(value);
                    Ok(())
                }
                Entry::Occupied(entry) => {
                    Err(OccupiedEntry { key: entry.key().clone(), value, there: entry.into_mut() })
                }
            },
        }
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&T> {
        match &self.0 {
            Pairs::Few(few) => position(few, key).map(|at| &few[at].1),
            Pairs::Many(many) => many.get(key),
        }
    }

    /// Changes what is under each key.
    pub(crate) fn for_each(&mut self, mut change: impl FnMut(&Key<'a>, &mut T)) {
        match &mut self.0 {
            Pairs::Few(few) => few.iter_mut().for_each(|(key, value)| change(key, value)),
            Pairs::Many(many) => many.iter_mut().for_each(|(key, value)| change(key, value)),
        }
    }

    /// Removes a key; the order of the others stays.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<T> {
        match &mut self.0 {
            Pairs::Few(few) => position(few, key).map(|at| few.remove(at).1),
            Pairs::Many(many) => many.shift_remove(key),
        }
    }

    /// Keeps the pairs for which `keep` is true, in their order.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Key<'a>, &T) -> bool) {
        match &mut self.0 {
            Pairs::Few(few) => few.retain(|(key, value)| keep(key, value)),
            Pairs::Many(many) => many.retain(|key, value| keep(key, value)),
        }
    }

    /// The pairs, in insertion order.
    pub(crate) fn iter(&self) -> Iter<'_, 'a, T> {
        match &self.0 {
            Pairs::Few(few) => Iter::Few(few.iter()),
            Pairs::Many(many) => Iter::Many(many.iter()),
        }
    }

    /// The owned pairs, in insertion order.
    pub(crate) fn into_pairs(self) -> Vec<(Key<'a>, T)> {
        match self.0 {
            Pairs::Few(few) => few,
            Pairs::Many(many) => many.into_iter().collect(),
        }
    }

    /// How many pairs there are.
    pub(crate) fn len(&self) -> usize {
        match &self.0 {
            Pairs::Few(few) => few.len(),
            Pairs::Many(many) => many.len(),
        }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The position of a key in a list.
#[inline]
fn position<T>(few: &[(Key<'_>, T)], key: &[u8]) -> Option<usize> {
    few.iter().position(|(known, _)| same(known.as_bytes(), key))
}

/// The pairs of a map, in insertion order.
#[derive(Debug)]
pub(crate) enum Iter<'m, 'a, T> {
    /// Of a list.
    Few(std::slice::Iter<'m, (Key<'a>, T)>),
    /// Of a hash map.
    Many(indexmap::map::Iter<'m, Key<'a>, T>),
}

impl<'m, 'a, T> Iterator for Iter<'m, 'a, T> {
    type Item = (&'m Key<'a>, &'m T);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Iter::Few(few) => few.next().map(|(key, value)| (key, value)),
            Iter::Many(many) => many.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Iter::Few(few) => few.size_hint(),
            Iter::Many(many) => many.size_hint(),
        }
    }
}

impl<T> ExactSizeIterator for Iter<'_, '_, T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Keys with many repeats and many of equal length, and more of them than a list holds.
    fn name(n: u8) -> Key<'static> {
        Key::from_bytes(format!("k{}", n % 50).into_bytes())
    }

    /// An operation on a map.
    #[derive(Clone, Copy, Debug)]
    enum Operation {
        Insert(u8, u32),
        Remove(u8),
        Retain(u32),
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            8 => (any::<u8>(), any::<u32>()).prop_map(|(key, value)| Operation::Insert(key, value)),
            2 => any::<u8>().prop_map(Operation::Remove),
            1 => (2_u32..7).prop_map(Operation::Retain),
        ]
    }

    proptest! {
        /// Of any size, it behaves as a plain hash map in insertion order.
        #[test]
        fn behaves_as_an_index_map(
            room in 0_usize..40,
            operations in prop::collection::vec(operation(), 0..120),
        ) {
            let mut map = KeyMap::with_capacity(room);
            let mut model: IndexMap<Key<'_>, u32> = IndexMap::new();
            for operation in operations {
                match operation {
                    Operation::Insert(key, value) => {
                        let known = model.get(&name(key)).copied();
                        match map.insert(name(key), value) {
                            Ok(()) => {
                                prop_assert_eq!(known, None);
                                model.insert(name(key), value);
                            }
                            Err(taken) => {
                                prop_assert_eq!(known, Some(*taken.there));
                                prop_assert_eq!((taken.key, taken.value), (name(key), value));
                                // Every other one is replaced, in its place.
                                if value % 2 == 0 {
                                    *taken.there = value;
                                    model.insert(name(key), value);
                                }
                            }
                        }
                    }
                    Operation::Remove(key) => prop_assert_eq!(
                        map.remove(name(key).as_bytes()),
                        model.shift_remove(&name(key))
                    ),
                    Operation::Retain(divisor) => {
                        map.retain(|_, value| value % divisor > 0);
                        model.retain(|_, value| *value % divisor > 0);
                    }
                }
                prop_assert_eq!(map.len(), model.len());
                prop_assert_eq!(map.iter().len(), model.len());
                prop_assert_eq!(map.is_empty(), model.is_empty());
            }
            for key in 0..50 {
                prop_assert_eq!(map.get(name(key).as_bytes()), model.get(&name(key)));
            }
            prop_assert!(map.iter().eq(model.iter()));
            prop_assert!(map.into_pairs().into_iter().eq(model));
        }
    }
}
