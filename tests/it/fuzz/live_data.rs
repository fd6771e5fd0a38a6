//! Live data as it comes out of the seal, and history as it comes out of the store: bytes that we
//! wrote ourselves, or that another version did, or that a disk has damaged.
//!
//! An input is live data, or, where it begins with `{`, the history of a row.
//!
//! Laws: what cannot be read is refused; what can be read is written and read again as the same.

use throughline::domain::{LiveData, Record};

/// Panics if a law does not hold for this input.
pub(crate) fn hold_for(input: &[u8]) {
    if input.starts_with(b"{") {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let Ok(record) = Record::restored(text) else { return };
        let written = record.to_json();
        let again = Record::restored(&written).expect("what was written can be read");
        assert_eq!(again.to_json(), written, "a fixed point");
        return;
    }
    let Ok(live) = LiveData::decode(input) else { return };
    let written = live.encode();
    let again = LiveData::decode(&written).expect("what was written can be read");
    assert_eq!(again.encode(), written, "a fixed point");
    assert_eq!(again.received.len(), live.received.len());
    assert_eq!(again.assigned.len(), live.assigned.len());
    assert_eq!(again.copied.len(), live.copied.len());
}
