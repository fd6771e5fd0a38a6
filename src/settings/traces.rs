//! The section of traces; the type is theirs.

use super::raw::Raw;
use crate::telemetry::traces::{Endpoint, Settings};

/// Reads `[traces]`.
pub(super) fn read(raw: &mut Raw) -> Settings {
    Settings {
        endpoint: raw.optional_url("traces.endpoint", str::parse::<Endpoint>),
        sample_per_thousand: raw.integer("traces.sample_per_thousand", 0..=1000),
        service_name: raw.name("traces.service_name", 255),
    }
}
