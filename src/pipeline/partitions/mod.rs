//! Which partition a message belongs to, so that what must stay in order is in one queue.
//!
//! A partition is a hash of the conversation: its tenant, and the id of the parent if it has one, else
//! its own. An update or an end does not name the parent, so where an interaction went is remembered,
//! and looked up in the store where it is not:
//!
//! | asked in turn | for |
//! |---|---|
//! | the header that the settings name | whatever carries it |
//! | the parent that it names | `created` |
//! | where its interaction went before | all that have been here lately |
//! | the row of its interaction | `opened`, `updated`, `ended` |
//! | the parent that it names, else itself | all others |
//!
//! Invariants: a body that is no message, or whose signature is missing, has a partition as well, by
//! its hash; it is set aside there. The hash is SHA-256, so all versions and platforms agree on it.
//! Memory is bounded, and forgetting costs a look into the store.
//!
//! Deliberately absent: grandparents. A chat's own child goes with the chat's id, and the chat with its
//! parent's: from there on it is another conversation (docs/messages.md, *Order*).

pub mod partitioner;

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::domain::digest::sha256;
use crate::domain::{Event, Identity};
use crate::pipeline::decode::{decode, text};
use crate::pipeline::ports::{Delivery, Row, Store, StoreError};
use crate::pipeline::save::table::parent_id;
use crate::pipeline::save::worker::catch_panic;

/// Interactions whose partition is remembered: some 5 MB. At a thousand new ones a second it is longer
/// than a creation takes from here to the store, which is what memory is for.
const REMEMBERED_MAX: usize = 100_000;

/// What is kept together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Key {
    /// A parent, its children, and all that happens to them.
    #[default]
    Conversation,
    /// All that happens to one interaction. Needs neither memory nor store.
    Interaction,
}

/// Chooses partitions.
#[derive(Debug)]
pub struct Partitions {
    /// How many there are, 1 at least.
    count: u16,
    key: Key,
    memory: Memory,
}

/// A digest of an interaction's identity.
type Digest = [u8; 16];

/// What a message says of where it belongs.
enum Claim {
    /// This partition, whatever else is known.
    Settled(u16),
    /// An interaction, and the parent that the message names.
    Of { identity: Identity<'static>, event: Event, parent: Option<Identity<'static>> },
}

impl Partitions {
    /// A choice between `count` partitions, none remembered.
    pub fn new(count: u16, key: Key) -> Partitions {
        Partitions { count: count.max(1), key, memory: Memory::default() }
    }

    /// The partition of each message of a batch, in its order. `None`, with nothing remembered, where one
    /// is about an interaction that is not known, and `may_guess` does not allow to take it for one
    /// without a parent.
    ///
    /// # Errors
    /// When the store cannot be asked. Nothing is remembered then, and the batch may be asked for again.
    pub(crate) async fn of_batch<S: Store, D: Delivery>(
        &mut self,
        batch: &[D],
        body_max_bytes: usize,
        store: &S,
        may_guess: bool,
    ) -> Result<Option<Vec<u16>>, StoreError> {
        let claims: Vec<_> = batch.iter().map(|one| self.claim(one, body_max_bytes)).collect();
        let unknown: BTreeSet<_> =
            claims.iter().filter_map(|claim| self.to_look_up(claim)).collect();
        let rows = match unknown.is_empty() {
            true => Vec::new(),
            // Nothing is locked, and nothing is written.
            false => store.begin(&[], &Vec::from_iter(unknown.iter().cloned())).await?.0,
        };
        let known: HashMap<_, _> = rows.iter().map(|row| (&row.identity, row)).collect();
        let created = claims.iter().filter_map(created).collect::<BTreeSet<_>>();
        let is_known = |one: &Identity<'_>| known.contains_key(one) || created.contains(one);
        if !may_guess && !unknown.iter().all(is_known) {
            return Ok(None);
        }
        Ok(Some(claims.into_iter().map(|claim| self.choose(claim, &known)).collect()))
    }

    fn claim<D: Delivery>(&self, delivery: &D, body_max_bytes: usize) -> Claim {
        let arrival = delivery.arrival();
        let by_body = || Claim::Settled(self.hash(&[delivery.body()]));
        if let Some(conversation) = &arrival.conversation {
            return Claim::Settled(self.hash(&[conversation.as_bytes()]));
        }
        let text = text(delivery, body_max_bytes);
        // What panics here does so in the lane too, which sets that one message aside.
        let decoded = catch_panic(|| decode(delivery, &text));
        let Some(Ok(decoded)) = decoded else { return by_body() };
        let message = decoded.message;
        match self.key {
            Key::Interaction => Claim::Settled(self.of(&message.identity)),
            Key::Conversation => Claim::Of {
                identity: message.identity.to_owned(),
                event: message.event,
                parent: message.parent().map(|parent| parent.to_owned()),
            },
        }
    }

    fn to_look_up(&self, claim: &Claim) -> Option<Identity<'static>> {
        match claim {
            Claim::Settled(_) | Claim::Of { event: Event::Created, .. } => None,
            Claim::Of { identity, .. } => {
                self.memory.get(digest(identity)).is_none().then(|| identity.clone())
            }
        }
    }

    fn choose(&mut self, claim: Claim, known: &HashMap<&Identity<'static>, &Row>) -> u16 {
        let (identity, event, parent) = match claim {
            Claim::Settled(partition) => return partition,
            Claim::Of { identity, event, parent } => (identity, event, parent),
        };
        let digest = digest(&identity);
        let partition = match (event, &parent, self.memory.get(digest)) {
            (Event::Created, Some(parent), _) => self.of(parent),
            (_, _, Some(partition)) => partition,
            (_, parent, None) => match known.get(&identity) {
                Some(row) => self.of_row(row),
                None => self.of(parent.as_ref().unwrap_or(&identity)),
            },
        };
        self.memory.insert(digest, partition);
        partition
    }

    /// The partition of an interaction that the store knows.
    fn of_row(&self, row: &Row) -> u16 {
        let Identity { tenant, id } = &row.identity;
        let parent = parent_id(row).filter(|parent| parent != id.as_ref());
        self.hash(&[tenant.as_bytes(), b"\0", parent.as_deref().unwrap_or(id).as_bytes()])
    }

    fn of(&self, Identity { tenant, id }: &Identity<'_>) -> u16 {
        // No id holds a NUL, so no two identities are spelt alike.
        self.hash(&[tenant.as_bytes(), b"\0", id.as_bytes()])
    }

    fn hash(&self, parts: &[&[u8]]) -> u16 {
        let number = u64::from_be_bytes(sha256(parts));
        u16::try_from(number % u64::from(self.count)).unwrap_or_default()
    }
}

/// The interaction that a message creates, or opens with a parent that it names.
fn created(claim: &Claim) -> Option<&Identity<'static>> {
    match claim {
        Claim::Of { identity, event: Event::Created, .. }
        | Claim::Of { identity, event: Event::Opened, parent: Some(_) } => Some(identity),
        Claim::Of { .. } | Claim::Settled(_) => None,
    }
}

fn digest(identity: &Identity<'_>) -> Digest {
    sha256(&[identity.tenant.as_bytes(), b"\0", identity.id.as_bytes()])
}

/// Where interactions went, the ones that came last.
#[derive(Debug, Default)]
struct Memory {
    partitions: HashMap<Digest, u16>,
    /// All that are remembered, the first to be forgotten first.
    order: VecDeque<Digest>,
}

impl Memory {
    fn get(&self, digest: Digest) -> Option<u16> {
        self.partitions.get(&digest).copied()
    }

    fn insert(&mut self, digest: Digest, partition: u16) {
        if self.partitions.insert(digest, partition).is_none() {
            self.order.push_back(digest);
        }
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.partitions.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_of_an_identity_never_changes() {
        // Worked out by Python's hashlib: a change here sends running conversations elsewhere.
        let partitions = Partitions::new(4, Key::Conversation);
        let of = |tenant: &str, id: &str| {
            partitions.of(&Identity { tenant: tenant.to_owned().into(), id: id.to_owned().into() })
        };
        assert_eq!([of("", "W1"), of("1", "W1"), of("", "W2")], [1, 2, 2]);
    }

    #[test]
    fn memory_forgets_the_oldest_first() {
        let mut memory = Memory::default();
        let digest = |n: usize| sha256::<16>(&[&n.to_be_bytes()]);
        (0..=REMEMBERED_MAX).for_each(|n| memory.insert(digest(n), 1));
        memory.insert(digest(1), 2);
        assert_eq!(memory.get(digest(0)), None);
        assert_eq!(memory.get(digest(1)), Some(2));
        assert_eq!((memory.partitions.len(), memory.order.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
    }
}
