//! The section of traces; the type is theirs.

use super::raw::Raw;
use crate::telemetry::traces::{Endpoint, Settings};

/// Reads `[traces]`.
pub(super) fn read(raw: &mut Raw) -> Settings {
    let text = raw.text("traces.endpoint", "a URL, or \"\" for none", |text| Some(text.to_owned()));
    let endpoint = match text.as_str() {
        "" => None,
        // The problem does not quote it: it may hold a password.
        text => match text.parse::<Endpoint>() {
            Ok(endpoint) => Some(endpoint),
            Err(error) => {
                raw.problem("traces.endpoint", error.to_string());
                None
            }
        },
    };
    Settings {
        endpoint,
        sample_per_thousand: raw.integer("traces.sample_per_thousand", 0..=1000),
        service_name: raw.name("traces.service_name", 255),
    }
}
