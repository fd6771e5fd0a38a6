//! RabbitMQ and what is declared in it: `[amqp]` and `[topology]`.

use std::path::PathBuf;
use std::time::Duration;

use super::Secret;
use super::raw::Raw;

/// A name on the wire of AMQP is a short string: 255 bytes at most.
pub(super) const AMQP_NAME_MAX_BYTES: usize = 255;

/// Leaves room for the delay, up to 20 digits and `ms`, in an AMQP name.
pub(super) const WAITING_PREFIX_MAX_BYTES: usize = AMQP_NAME_MAX_BYTES - 22;

/// RabbitMQ (`[amqp]`).
#[derive(Clone, Debug)]
pub struct Amqp {
    /// `amqp://` or `amqps://`.
    pub url: Secret,
    /// The work queue.
    pub queue: String,
    /// The exchange interactions come in by.
    pub inbound_exchange: String,
    /// The exchange enriched interactions go out by.
    pub outbound_exchange: String,
    /// The exchange and queue for messages that are set aside.
    pub dead_letters: String,
    /// The prefix of the names of the waiting queues.
    pub waiting_prefix: String,
    /// Deliveries ahead of their acknowledgement, on each lane.
    pub prefetch_messages: u16,
    /// Between heartbeats, in seconds: AMQP negotiates whole ones.
    pub heartbeat_secs: u16,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long the confirms of a batch may take.
    pub confirm_timeout: Duration,
    /// The format of all messages; none: recognised by their shape.
    pub format: Option<String>,
    /// PEM file with the authorities to trust instead of the operating system's.
    pub ca_file: Option<PathBuf>,
    /// PEM files with the client's certificate and its key.
    pub client: Option<ClientCertificate>,
}

/// The client's side of mutual TLS: PEM files.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The certificate, and those that lead from it to the authority.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

impl Amqp {
    pub(super) fn read(raw: &mut Raw) -> Amqp {
        Amqp {
            url: raw.secret_url("amqp.url", &["amqp://", "amqps://"]),
            queue: raw.name("amqp.queue", AMQP_NAME_MAX_BYTES),
            inbound_exchange: raw.name("amqp.inbound_exchange", AMQP_NAME_MAX_BYTES),
            outbound_exchange: raw.name("amqp.outbound_exchange", AMQP_NAME_MAX_BYTES),
            dead_letters: raw.name("amqp.dead_letters", AMQP_NAME_MAX_BYTES),
            waiting_prefix: raw.name("amqp.waiting_prefix", WAITING_PREFIX_MAX_BYTES),
            // 0 would mean "without bound" to AMQP; 65535 is the protocol's largest.
            prefetch_messages: raw.integer("amqp.prefetch_messages", 1..=65_535),
            // 0 would switch heartbeats off: a dead peer would never be noticed.
            heartbeat_secs: raw.integer("amqp.heartbeat_secs", 1..=600),
            connect_timeout: raw.milliseconds("amqp.connect_timeout_ms", 100..=600_000),
            confirm_timeout: raw.milliseconds("amqp.confirm_timeout_ms", 100..=600_000),
            format: raw.format("amqp.format"),
            ca_file: raw.optional_path("amqp.ca_file"),
            client: ClientCertificate::read(raw),
        }
    }
}

impl ClientCertificate {
    fn read(raw: &mut Raw) -> Option<ClientCertificate> {
        let cert_file = raw.optional_path("amqp.cert_file");
        let key_file = raw.optional_path("amqp.key_file");
        match (cert_file, key_file) {
            (Some(cert_file), Some(key_file)) => Some(ClientCertificate { cert_file, key_file }),
            (None, None) => None,
            (Some(_), None) => {
                raw.problem("amqp.cert_file", "needs amqp.key_file beside it");
                None
            }
            (None, Some(_)) => {
                raw.problem("amqp.key_file", "needs amqp.cert_file beside it");
                None
            }
        }
    }
}

/// Exchanges, queues and bindings (`[topology]`).
#[derive(Clone, Debug)]
pub struct Topology {
    /// Whether to declare them at start.
    pub declare: bool,
}

impl Topology {
    pub(super) fn read(raw: &mut Raw) -> Topology {
        Topology { declare: raw.boolean("topology.declare") }
    }
}
