//! The HTTP server's section: loopback only, unless `http.allow_remote` is set.

use std::net::SocketAddr;

use super::raw::Raw;

/// The worker's HTTP server (`[http]`).
#[derive(Clone, Debug)]
pub struct Http {
    /// Where it listens; none: there is no server.
    pub listen: Option<SocketAddr>,
}

impl Http {
    pub(super) fn read(raw: &mut Raw) -> Http {
        let expected = "an IP address and a port such as 127.0.0.1:9464, or \"\" for none";
        let listen: Option<SocketAddr> = raw.text("http.listen", expected, |text| match text {
            "" => Some(None),
            text => text.parse().ok().map(Some),
        });
        let allow_remote = raw.boolean("http.allow_remote");
        if listen.is_some_and(|address| !address.ip().is_loopback()) && !allow_remote {
            raw.problem(
                "http.listen",
                "can be reached from other machines, and the server asks for no password; use \
                 127.0.0.1, or set http.allow_remote where the network keeps strangers away",
            );
        }
        Http { listen }
    }
}
