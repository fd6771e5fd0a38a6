//! The events that brought an interaction where it stands: by them a repeat is recognised.
//!
//! Only digests are kept, since an event's id may be anything of up to 255 bytes. The row holds the newest
//! of them (`KEPT_MOST` at the most), so a conversation may go on for ever and its row stays as it is. What no
//! longer fits is *spilled*: a store keeps it elsewhere, and looks up there only the events that a batch
//! brings.
//!
//! ```text
//! first event, 16 bytes │ how many were spilled, 16 bytes, once there are any │ the newest, 16 bytes each
//! ```
//!
//! Every part has the length of a digest, so that an earlier version, which reads digests only, reads and
//! extends the log all the same.

use super::digest::sha256;

/// Sixteen bytes of SHA-256: two events of one interaction do not meet by chance.
pub type Digest = [u8; DIGEST_BYTES];

/// The length of a digest.
pub const DIGEST_BYTES: usize = 16;

/// So many events stand in the row at the most, besides the first one. Most interactions have fewer.
const KEPT_MOST: usize = 32;

/// So many are left there when the others are spilled: those go many at a time.
const KEPT_LEAST: usize = 16;

/// The marker before the count of spilled events, which follows in eight bytes, big-endian.
const COUNT_MARK: [u8; 8] = *b"spilled:";

/// The digest of an event's id.
pub fn digest(event_id: &str) -> Digest {
    sha256(&[event_id.as_bytes()])
}

/// Digests of the events of one interaction, by which a repeat is recognised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventLog {
    first: Option<Digest>,
    /// How many were spilled, ever.
    spilled: u64,
    /// The newest, the oldest of them first.
    newest: Vec<Digest>,
    /// Of the spilled ones, those that this batch brings again.
    found: Vec<Digest>,
}

/// A log as a store keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredLog {
    /// The bytes that the row stores.
    pub bytes: Vec<u8>,
    /// The digests that are spilled with this save.
    pub spilled: Vec<Digest>,
    /// How many were spilled before.
    pub spilled_before: u64,
}

/// How many events of a log that a store kept were spilled.
pub fn spilled_count(bytes: &[u8]) -> u64 {
    let second = bytes.get(DIGEST_BYTES..2 * DIGEST_BYTES).unwrap_or_default();
    let count = second.strip_prefix(&COUNT_MARK).and_then(|count| count.try_into().ok());
    count.map_or(0, u64::from_be_bytes)
}

impl EventLog {
    /// The log that a store kept.
    pub fn from_stored(bytes: &[u8]) -> EventLog {
        let spilled = spilled_count(bytes);
        let (digests, _) = bytes.as_chunks::<DIGEST_BYTES>();
        let mut digests = digests.iter().copied();
        let first = digests.next();
        let newest = digests.skip(usize::from(spilled > 0)).collect();
        EventLog { first, spilled, newest, found: Vec::new() }
    }

    /// Says of an event that was spilled that it is known.
    pub fn recall(&mut self, spilled: Digest) {
        self.found.push(spilled);
    }

    /// The log as a store is to keep it.
    pub fn to_stored(&self) -> StoredLog {
        let excess = match self.newest.len() > KEPT_MOST {
            true => self.newest.len() - KEPT_LEAST,
            false => 0,
        };
        let (spilled, kept) = self.newest.split_at(excess);
        let count = self.spilled + spilled.len() as u64;
        let mut bytes = Vec::with_capacity((2 + kept.len()) * DIGEST_BYTES);
        bytes.extend(self.first.iter().flatten());
        if count > 0 {
            bytes.extend(COUNT_MARK);
            bytes.extend(count.to_be_bytes());
        }
        bytes.extend(kept.iter().flatten());
        StoredLog { bytes, spilled: spilled.to_vec(), spilled_before: self.spilled }
    }

    /// Whether the event is in it.
    pub fn contains(&self, event_id: &str) -> bool {
        let digest = digest(event_id);
        let known = self.first.iter().chain(&self.newest).chain(&self.found);
        known.into_iter().any(|known| *known == digest)
    }

    /// Whether the interaction began with the event, or last began anew with it.
    pub(crate) fn begins_with(&self, event_id: &str) -> bool {
        self.first == Some(digest(event_id))
    }

    /// The log with one more event.
    pub(crate) fn with(&self, event_id: &str) -> EventLog {
        let mut log = self.clone();
        match log.first {
            None => log.first = Some(digest(event_id)),
            Some(_) => log.newest.push(digest(event_id)),
        }
        log
    }

    /// The log with one more event, with which the interaction begins anew.
    pub(crate) fn anew_with(&self, event_id: &str) -> EventLog {
        let mut log = self.clone();
        log.newest.extend(log.first.replace(digest(event_id)));
        log
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(log: &EventLog) -> EventLog {
        EventLog::from_stored(&log.to_stored().bytes)
    }

    #[test]
    fn contains_only_the_events_that_were_added() {
        let log = EventLog::default().with("1").with("2");
        assert!(log.contains("1") && log.contains("2"));
        assert!(!log.contains("") && !log.contains("12"));
        assert!(log.begins_with("1") && !log.begins_with("2"));
        assert!(!EventLog::default().begins_with("1"));
        assert_eq!(stored(&log), log);
    }

    #[test]
    fn new_beginning_becomes_the_first_event_and_earlier_events_stay_known() {
        let log = stored(&EventLog::default().with("1").with("2").anew_with("3"));
        assert!(["1", "2", "3"].iter().all(|event| log.contains(event)));
        assert!(log.begins_with("3") && !log.begins_with("1"));
        assert!(EventLog::default().anew_with("1").begins_with("1"));
    }

    #[test]
    fn stored_log_is_bounded_and_spilled_events_can_be_recalled() {
        let (mut log, mut spilled) = (EventLog::default(), Vec::new());
        let ids: Vec<_> = (0..1_000).map(|n| n.to_string()).collect();
        for id in &ids {
            log = log.with(id);
            let kept = log.to_stored();
            assert!(kept.bytes.len() <= (2 + KEPT_MOST) * DIGEST_BYTES);
            assert_eq!(kept.spilled_before, spilled.len() as u64);
            spilled.extend(kept.spilled);
            assert_eq!(spilled_count(&kept.bytes), spilled.len() as u64);
            log = EventLog::from_stored(&kept.bytes);
        }
        assert!(log.begins_with("0"));
        assert!(!log.contains("1"), "it is spilled");
        let mut found = log;
        spilled.into_iter().for_each(|digest| found.recall(digest));
        assert!(ids.iter().all(|id| found.contains(id)));
        assert!(!found.contains("1000"));
    }

    /// A log of an earlier version: digests without a count, of any number.
    #[test]
    fn log_without_spill_count_is_read_and_trimmed() {
        let bytes: Vec<u8> = (0..500).flat_map(|n| digest(&n.to_string())).collect();
        let log = EventLog::from_stored(&bytes);
        assert!((0..500).all(|n| log.contains(&n.to_string())));
        let kept = log.with("500").to_stored();
        assert_eq!((kept.spilled.len(), kept.spilled_before), (484, 0));
        assert_eq!(kept.spilled[0], digest("1"), "the oldest first");
        let cut = EventLog::from_stored(&kept.bytes);
        assert!(cut.begins_with("0") && cut.contains("500") && !cut.contains("484"));
        assert_eq!(spilled_count(&[7; 64]), 0);
    }
}
