//! The settings of the status gate (`[gate]`).

use super::raw::Raw;
use crate::gate::{self, BaseUrl};

/// The status gate (`[gate]`).
#[derive(Clone, Debug)]
pub struct Gate {
    /// The endpoint that is asked, and how; none: the gate is off.
    pub endpoint: Option<gate::Settings>,
    /// The channels whose interactions are asked about.
    pub channels: Vec<String>,
}

impl Gate {
    pub(super) fn read(raw: &mut Raw) -> Gate {
        let base_url = raw.optional_url("gate.base_url", BaseUrl::parse);
        let channels = raw.list("gate.channels");
        if base_url.is_some() && channels.is_empty() {
            raw.problem("gate.channels", "names no channel, though gate.base_url is set");
        }
        let timeout = raw.milliseconds("gate.timeout_ms", 10..=30_000);
        let cache = raw.milliseconds("gate.cache_ms", 0..=600_000);
        let token_file = raw.optional_path("gate.token_file");
        let ca_file = raw.optional_path("gate.ca_file");
        let endpoint = base_url.map(|base_url| gate::Settings {
            base_url,
            timeout,
            cache,
            token_file,
            ca_file,
        });
        Gate { endpoint, channels }
    }
}
