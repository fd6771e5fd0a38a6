//! What the broker part needs to know, already valid in form. The settings module fills it.
//!
//! Invariant: the URL's password leaves through neither `Debug` nor [`Settings::masked_url`].
//! Deliberately absent: reading files and the environment, and defaults that depend on other parts.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::Inbound;

/// Settings of the connection to RabbitMQ and of the names used there.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// `amqp://user:password@host:port/vhost`, or `amqps://…`. A secret, for its password.
    pub url: String,
    /// Begins the connections' names in RabbitMQ's own listings.
    pub connection_name: String,
    /// The work queues; none: the one that [`Settings::queue`] and its neighbours describe.
    pub sources: Vec<Inbound>,
    /// The one work queue, where there are no [`Settings::sources`].
    pub queue: String,
    /// The topic exchange that interactions are published to; the one work queue is bound to it.
    pub inbound_exchange: String,
    /// The topic exchange for what we publish.
    pub outbound_exchange: String,
    /// The topic exchanges of further outputs.
    pub further_exchanges: Vec<String>,
    /// The name of both the exchange and the queue of dead letters.
    pub dead_letters: String,
    /// Bytes of bodies that the dead-letter queue may hold; none: no bound.
    pub dead_letters_max_bytes: Option<u64>,
    /// How long a dead letter is kept, in seconds, before the broker drops it; none: for ever.
    pub dead_letters_max_age_secs: Option<u64>,
    /// What becomes of a dead letter that finds its queue full.
    pub dead_letters_overflow: Overflow,
    /// Begins the names of the one work queue's waiting queues; the delay follows, `250ms`.
    pub waiting_prefix: String,
    /// Bytes of bodies that each waiting queue may hold; none: no bound. A full one refuses.
    pub waiting_max_bytes: Option<u64>,
    /// How many deliveries of the one work queue may be unacknowledged on a lane (trap 8).
    pub prefetch_messages: u16,
    /// The heartbeat offered to the broker; a dead peer is noticed after twice this time.
    pub heartbeat_secs: u16,
    /// How long connecting may take, TLS and login included.
    pub connect_timeout_ms: u64,
    /// How long the broker may take over one call: open a channel, declare, acknowledge, close.
    pub answer_timeout_ms: u64,
    /// How long the broker may take to confirm a whole batch.
    pub confirm_timeout_ms: u64,
    /// Whether exchanges, queues and bindings are declared, or only looked for.
    pub declare: bool,
    /// The format of what arrives in the one work queue, where its messages do not say.
    pub format: Option<String>,
    /// PEM file with the certificates to trust besides the system's (`amqps`).
    pub tls_ca_file: Option<PathBuf>,
    /// PEM file with the client's certificate; needs [`Settings::tls_key_file`].
    pub tls_cert_file: Option<PathBuf>,
    /// PEM file with the client's key; needs [`Settings::tls_cert_file`].
    pub tls_key_file: Option<PathBuf>,
}

/// What a full queue does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// It rejects the publish; the publisher keeps the message.
    #[default]
    RejectPublish,
    /// It drops its oldest messages to make room.
    DropHead,
}

impl Overflow {
    /// Both.
    pub const ALL: [Overflow; 2] = [Overflow::RejectPublish, Overflow::DropHead];

    /// The word in the settings and in the queue's argument `x-overflow`.
    pub fn as_str(self) -> &'static str {
        match self {
            Overflow::RejectPublish => "reject-publish",
            Overflow::DropHead => "drop-head",
        }
    }
}

impl Settings {
    /// The work queues that are consumed, one at least.
    pub fn inbound(&self) -> Vec<Inbound> {
        if !self.sources.is_empty() {
            return self.sources.clone();
        }
        vec![Inbound {
            queue: self.queue.clone(),
            partitions: None,
            exchange: self.inbound_exchange.clone(),
            // Vendors' routing keys vary; the worker visibly sets aside messages that are no interactions.
            routing_keys: vec![String::from("#")],
            waiting_prefix: self.waiting_prefix.clone(),
            prefetch_messages: self.prefetch_messages,
            format: self.format.clone(),
            tenant: None,
            signing_secret: None,
        }]
    }

    /// The URL with its password, and all parameters, replaced by `***`.
    pub fn masked_url(&self) -> String {
        let Some((scheme, rest)) = self.url.split_once("://") else {
            // Not a URL: where it holds a password is unknown.
            return String::from("***");
        };
        // A password that is not percent-encoded may hold any character, so it ends at the
        // last `@` only: rather too much is masked than a piece of it.
        let login = rest
            .rsplit_once('@')
            .filter(|(login, _)| login.contains(':') || !login.contains(['/', '?', '#']));
        let host = |host: &str| match host.split_once('?') {
            Some((host, _)) => format!("{host}?***"),
            None => host.to_owned(),
        };
        match login {
            Some((login, rest)) => {
                let user = login.split_once(':').map_or(login, |(user, _)| user);
                format!("{scheme}://{user}:***@{}", host(rest))
            }
            None => format!("{scheme}://{}", host(rest)),
        }
    }

    pub(super) fn answer_timeout(&self) -> Duration {
        Duration::from_millis(self.answer_timeout_ms)
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            url: String::from("amqp://guest:guest@127.0.0.1:5672/%2f"),
            connection_name: String::from("throughline"),
            sources: Vec::new(),
            queue: String::from("throughline.interactions"),
            inbound_exchange: String::from("interactions"),
            outbound_exchange: String::from("interactions.enriched"),
            further_exchanges: Vec::new(),
            dead_letters: String::from("throughline.dead-letters"),
            dead_letters_max_bytes: None,
            dead_letters_max_age_secs: None,
            dead_letters_overflow: Overflow::RejectPublish,
            waiting_prefix: String::from("throughline.wait."),
            waiting_max_bytes: None,
            // A few batches: one being confirmed, one being saved, and the next one at hand.
            prefetch_messages: 500,
            // RabbitMQ's 60 s would notice a dead peer after two minutes (trap 7).
            heartbeat_secs: 15,
            connect_timeout_ms: 10_000,
            answer_timeout_ms: 10_000,
            // Far above what a quorum queue takes, far below the consumer timeout of 30 minutes,
            // after which the broker would take the batch away.
            confirm_timeout_ms: 30_000,
            declare: true,
            format: None,
            tls_ca_file: None,
            tls_cert_file: None,
            tls_key_file: None,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("url", &self.masked_url())
            .field("sources", &self.sources)
            .field("queue", &self.queue)
            .field("inbound_exchange", &self.inbound_exchange)
            .field("outbound_exchange", &self.outbound_exchange)
            .field("dead_letters", &self.dead_letters)
            .field("waiting_prefix", &self.waiting_prefix)
            .field("prefetch_messages", &self.prefetch_messages)
            .field("declare", &self.declare)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_masked() {
        for (url, masked) in [
            ("amqp://u:s3cret@h:1/%2f", "amqp://u:***@h:1/%2f"),
            ("amqps://u:s3:cr@et@h", "amqps://u:***@h"),
            ("amqp://u@h/v?heartbeat=1", "amqp://u:***@h/v?***"),
            ("amqp://h/a@b", "amqp://h/a@b"),
            // Characters that a login must percent-encode, left as they are.
            ("amqp://u:s3/cr?e#t@h:1/%2f", "amqp://u:***@h:1/%2f"),
            ("amqp://h/%2f?auth_mechanism=plain&s3cret=x", "amqp://h/%2f?***"),
            ("u:s3cret@h", "***"),
        ] {
            let settings = Settings { url: url.into(), ..Settings::default() };
            assert_eq!(settings.masked_url(), masked);
            assert!(!format!("{settings:?}").contains("s3"), "{url}");
        }
    }
}
