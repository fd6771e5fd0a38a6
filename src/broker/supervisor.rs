//! Gets a [`Link`], however long that takes, and gets the next one when it is lost.
//!
//! Invariants: it never gives up on a broker that may come back, only on settings that cannot work.
//! Delays grow over short-lived links as well as over failed attempts, so that a link which fails
//! at once (a deleted queue, an alarm) is not rebuilt in a hot loop. Each change of state is logged
//! once, however many attempts it takes.
//!
//! Deliberately absent: noticing that a link is lost. Its user notices, and drops it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Error, Health, Link, Settings, Topology};
use crate::retry::ReconnectBackoff;

/// A link that held this long was a good one: the next loss is a new one. It is above the longest
/// time that a link lives while the broker is blocked, which is `confirm_timeout_ms`, by default.
const GOOD_LINK: Duration = Duration::from_secs(60);

/// Connects for ever.
#[derive(Debug)]
pub struct Supervisor {
    settings: Arc<Settings>,
    topology: Topology,
    health: watch::Sender<Health>,
    retry: ReconnectBackoff,
    /// When the latest link was handed out.
    connected_at: Option<Instant>,
}

impl Supervisor {
    /// A supervisor that has not connected yet.
    pub fn new(settings: Settings, topology: Topology) -> Supervisor {
        Supervisor {
            settings: Arc::new(settings),
            topology,
            health: watch::Sender::new(Health::Down),
            retry: ReconnectBackoff::new(),
            connected_at: None,
        }
    }

    /// How the broker is to be reached, over all links.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Has the next link made at once: the last one ended over a message, and not for want of a broker.
    pub fn hurry(&mut self) {
        self.connected_at = None;
        self.retry.reset();
    }

    /// A new link with the topology in place, or `None` when `shutdown` comes first. The one
    /// before must have been dropped.
    ///
    /// The first call tries at once; a later one, after a link was lost, waits for a jittered delay
    /// first, so that a fleet does not come back in one instant.
    ///
    /// # Errors
    /// Only those that [`Error::is_final`].
    pub async fn connect(&mut self, shutdown: &CancellationToken) -> Result<Option<Link>, Error> {
        let mut logged_reason = String::new();
        let mut wait = match self.connected_at.take() {
            None => Duration::ZERO,
            Some(since) => {
                if since.elapsed() >= GOOD_LINK {
                    self.retry.reset();
                }
                self.retry.next_delay()
            }
        };
        loop {
            let attempt = async {
                tokio::time::sleep(wait).await;
                let link = Link::open(self.settings.clone(), self.health.clone()).await?;
                link.prepare(&self.topology).await?;
                link.look_behind().await?;
                Ok::<_, Error>(link)
            };
            let error = tokio::select! {
                () = shutdown.cancelled() => return Ok(None),
                link = attempt => match link {
                    Ok(link) => {
                        self.connected_at = Some(Instant::now());
                        tracing::info!("connected to the broker");
                        return Ok(Some(link));
                    }
                    Err(error) if error.is_final() => return Err(error),
                    Err(error) => error,
                },
            };
            wait = self.retry.next_delay();
            let reason = error.to_string();
            if reason != logged_reason {
                tracing::warn!("failed to {reason}; trying again until it works");
                logged_reason = reason;
            }
        }
    }
}
