//! The section of traces; the type is theirs.

use super::raw::Raw;
use crate::telemetry::traces::Settings;

/// Reads `[traces]`.
pub(super) fn read(raw: &mut Raw) -> Settings {
    let expected = "a URL such as http://127.0.0.1:4318 (no TLS), or \"\" for none";
    Settings {
        endpoint: raw.text("traces.endpoint", expected, |text| match text {
            "" => Some(None),
            text => text.parse().ok().map(Some),
        }),
        sample_per_thousand: raw.integer("traces.sample_per_thousand", 0..=1000),
        service_name: raw.name("traces.service_name", 255),
    }
}
