//! The events that brought an interaction where it stands: by them a repeat is recognised.
//!
//! Only digests are kept, since an event's id may be anything of up to 255 bytes and a row holds many.

use super::digest::sha256;

/// Digests of the events of one interaction, by which a repeat is recognised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventLog(Vec<u8>);

/// Sixteen bytes of SHA-256: two events of one interaction do not meet by chance.
const DIGEST_BYTES: usize = 16;

impl EventLog {
    /// The log that a store kept.
    pub fn from_bytes(bytes: Vec<u8>) -> EventLog {
        EventLog(bytes)
    }

    /// The digests, one after the other.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn digest(event_id: &str) -> [u8; DIGEST_BYTES] {
        sha256(&[event_id.as_bytes()])
    }

    /// Whether the event is in it.
    pub fn contains(&self, event_id: &str) -> bool {
        let digest = EventLog::digest(event_id);
        self.0.chunks_exact(DIGEST_BYTES).any(|known| known == digest)
    }

    /// Whether the event is the first one in it.
    pub(crate) fn begins_with(&self, event_id: &str) -> bool {
        self.0.starts_with(&EventLog::digest(event_id))
    }

    /// The log with one more event.
    pub(crate) fn with(&self, event_id: &str) -> EventLog {
        let mut bytes = Vec::with_capacity(self.0.len() + DIGEST_BYTES);
        bytes.extend_from_slice(&self.0);
        bytes.extend_from_slice(&EventLog::digest(event_id));
        EventLog(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_knows_what_it_was_given_and_nothing_else() {
        let log = EventLog::default().with("1").with("2");
        assert!(log.contains("1") && log.contains("2"));
        assert!(!log.contains("") && !log.contains("12"));
        assert!(log.begins_with("1") && !log.begins_with("2"));
        assert!(!EventLog::default().begins_with("1"));
        assert_eq!(EventLog::from_bytes(log.as_bytes().to_vec()), log);
    }
}
