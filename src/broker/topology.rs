//! The required exchanges, queues and bindings, as a value.
//!
//! | what | kind | options |
//! |---|---|---|
//! | inbound exchange, of each source | topic | |
//! | work queue, of each source | quorum | at-least-once dead-lettering to the dead-letter exchange |
//! | outbound exchange, of each output | topic | |
//! | intake queue, of each source with partitions | quorum | as the work queue, with a single active consumer |
//! | partition's queue, of each source with partitions | quorum | the same |
//! | waiting queue, one per work queue and delay | quorum | that delay as TTL, at-least-once back to that work queue |
//! | dead-letter exchange | fanout | |
//! | dead-letter queue, bound `#` | quorum | no end to how often it may be read; bounds where they are set |
//!
//! Everything is durable. A full queue never drops messages unless the settings say so, not even
//! where a policy of the broker's gives it a bound later. Pure, so that `topology show` prints exactly
//! the topology that is applied (`declare.rs`). Deliberately absent: queues for published messages,
//! which belong to their consumers.

use std::fmt;
use std::time::Duration;

use super::Settings;

/// How often a delivery may fail before the work queue sets it aside. Said outright, because it is
/// unlimited before RabbitMQ 4.0 and 20 from there on. 20 is too few for us: a restart of a worker
/// counts as a failure of all it held, so an orchestrator that restarts it while its store is down
/// would set aside innocent messages. It is not unlimited, because a message that kills every worker
/// must end somewhere.
pub const DELIVERY_LIMIT: i64 = 100;

/// How long a delivery from the work queue may stay unacknowledged: RabbitMQ's default, said outright
/// because an operator may have lowered it for everybody. Below RabbitMQ 3.12 it is the server's
/// setting that counts, and from there on a policy may still lower it; AMQP tells neither.
pub const CONSUMER_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// How often a dead letter may be looked at and given back: for ever. The default of RabbitMQ 4.0
/// would *drop* it at the 21st look, since nothing lies behind this queue. (`-1` is no number to
/// RabbitMQ 3.)
const READ_LIMIT: i64 = i32::MAX as i64;

/// One consumer is active at a time; the next one takes over when it is gone.
const SINGLE_ACTIVE_CONSUMER: (&str, Argument) = ("x-single-active-consumer", Argument::Yes);

/// All that must be in the broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// In the order of declaration.
    pub exchanges: Vec<Exchange>,
    /// In the order of declaration.
    pub queues: Vec<Queue>,
    /// In the order of declaration.
    pub bindings: Vec<Binding>,
}

/// A durable exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Its name.
    pub name: String,
    /// `topic` or `fanout`.
    pub kind: &'static str,
    /// Whether the worker itself uses it, and so misses it when it is not there.
    pub needed: bool,
}

/// A durable queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Its `x-` arguments.
    pub arguments: Vec<(&'static str, Argument)>,
}

/// The value of a queue's argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// Text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// Yes.
    Yes,
}

/// A binding from an exchange to a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// From where.
    pub exchange: String,
    /// To where.
    pub queue: String,
    /// For which routing keys.
    pub routing_key: String,
}

impl Topology {
    /// What the settings call for, with a waiting queue for each of `delays`.
    pub fn new(settings: &Settings, delays: &[Duration]) -> Topology {
        let exchange = |name: &str, kind, needed| Exchange { name: name.into(), kind, needed };
        let queue = |name: &str, arguments: Vec<_>| Queue {
            name: name.into(),
            // Replicated and on disk before it is confirmed; the only kind that dead-letters at
            // least once.
            arguments: [("x-queue-type", text("quorum"))].into_iter().chain(arguments).collect(),
        };
        let bind = |exchange: &str, queue: &str, routing_key: &str| Binding {
            exchange: exchange.into(),
            queue: queue.into(),
            routing_key: routing_key.into(),
        };

        let sources = settings.inbound();
        // Fanout: whatever is set aside reaches every queue bound here, and its routing key stays the
        // one it was received with.
        let dead_letters = exchange(&settings.dead_letters, "fanout", true);
        let mut exchanges: Vec<Exchange> = Vec::new();
        let bound = sources.iter().filter(|source| !source.routing_keys.is_empty());
        let inbound = bound.map(|source| exchange(&source.exchange, "topic", false));
        let outbound = std::iter::once(&settings.outbound_exchange)
            .chain(&settings.further_exchanges)
            .map(|name| exchange(name, "topic", true));
        for one in inbound.chain(outbound).chain([dead_letters]) {
            match exchanges.iter_mut().find(|known| known.name == one.name) {
                Some(known) => known.needed |= one.needed,
                None => exchanges.push(one),
            }
        }

        let mut queues = vec![queue(&settings.dead_letters, dead_letter_bounds(settings))];
        let mut bindings = vec![bind(&settings.dead_letters, &settings.dead_letters, "#")];
        for source in &sources {
            let single = source.partitions.is_some().then_some(SINGLE_ACTIVE_CONSUMER);
            for name in source.consumed() {
                let arguments = dead_lettering(&settings.dead_letters).chain([
                    ("x-delivery-limit", Argument::Number(DELIVERY_LIMIT)),
                    ("x-consumer-timeout", millis(CONSUMER_TIMEOUT)),
                ]);
                queues.push(queue(&name, arguments.chain(single.clone()).collect()));
            }
            queues.extend(delays.iter().map(|delay| {
                queue(
                    &source.waiting_queue(*delay),
                    // The default exchange leads straight to the work queue: through the inbound
                    // exchange, every other queue bound there would get the message again.
                    dead_lettering("")
                        .chain([
                            ("x-dead-letter-routing-key", text(&source.queue)),
                            // One TTL for the whole queue: messages expire at its head only.
                            ("x-message-ttl", millis(*delay)),
                        ])
                        .chain(max_length(settings.waiting_max_bytes))
                        .collect(),
                )
            }));
            let keys = source.routing_keys.iter();
            bindings.extend(keys.map(|key| bind(&source.exchange, &source.queue, key)));
        }
        Topology { exchanges, queues, bindings }
    }
}

/// How long and how much the dead-letter queue keeps, and how often it may be read.
fn dead_letter_bounds(settings: &Settings) -> Vec<(&'static str, Argument)> {
    let mut arguments = vec![
        ("x-delivery-limit", Argument::Number(READ_LIMIT)),
        // Said outright even without a bound: one that comes by a policy would drop the oldest.
        ("x-overflow", text(settings.dead_letters_overflow.as_str())),
    ];
    arguments.extend(max_length(settings.dead_letters_max_bytes));
    arguments.extend(
        settings
            .dead_letters_max_age_secs
            .map(|secs| ("x-message-ttl", Argument::Number(whole(secs.saturating_mul(1000))))),
    );
    arguments
}

fn max_length(bytes: Option<u64>) -> Option<(&'static str, Argument)> {
    bytes.map(|bytes| ("x-max-length-bytes", Argument::Number(whole(bytes))))
}

/// AMQP's integers are signed.
fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Dead-lettering to `exchange` that loses nothing, even when the target is not there for a while.
fn dead_lettering(exchange: &str) -> impl Iterator<Item = (&'static str, Argument)> {
    [
        ("x-dead-letter-exchange", text(exchange)),
        // The default, at-most-once, drops messages that it cannot pass on.
        ("x-dead-letter-strategy", text("at-least-once")),
        // At-least-once asks for it: the default, drop-head, would throw messages away when full.
        ("x-overflow", text("reject-publish")),
    ]
    .into_iter()
}

fn millis(span: Duration) -> Argument {
    Argument::Number(i64::try_from(span.as_millis()).unwrap_or(i64::MAX))
}

fn text(value: &str) -> Argument {
    Argument::Text(value.into())
}

impl fmt::Display for Topology {
    /// One line for each exchange, queue and binding.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Exchange { name, kind, .. } in &self.exchanges {
            writeln!(f, "exchange {name} ({kind}, durable)")?;
        }
        for Queue { name, arguments } in &self.queues {
            write!(f, "queue {name} (durable")?;
            for (key, value) in arguments {
                match value {
                    Argument::Text(text) => write!(f, ", {key}={text:?}")?,
                    Argument::Number(number) => write!(f, ", {key}={number}")?,
                    Argument::Yes => write!(f, ", {key}=true")?,
                }
            }
            writeln!(f, ")")?;
        }
        for Binding { exchange, queue, routing_key } in &self.bindings {
            writeln!(f, "binding {exchange} -> {queue} ({routing_key})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Overflow;
    use super::*;
    use pretty_assertions::assert_eq;

    #[test]
    fn default_topology_matches_contract() {
        let topology = Topology::new(&Settings::default(), &[Duration::from_millis(250)]);
        assert_eq!(
            topology.to_string(),
            r#"exchange interactions (topic, durable)
exchange interactions.enriched (topic, durable)
exchange throughline.dead-letters (fanout, durable)
queue throughline.dead-letters (durable, x-queue-type="quorum", x-delivery-limit=2147483647, x-overflow="reject-publish")
queue throughline.interactions (durable, x-queue-type="quorum", x-dead-letter-exchange="throughline.dead-letters", x-dead-letter-strategy="at-least-once", x-overflow="reject-publish", x-delivery-limit=100, x-consumer-timeout=1800000)
queue throughline.wait.250ms (durable, x-queue-type="quorum", x-dead-letter-exchange="", x-dead-letter-strategy="at-least-once", x-overflow="reject-publish", x-dead-letter-routing-key="throughline.interactions", x-message-ttl=250)
binding throughline.dead-letters -> throughline.dead-letters (#)
binding interactions -> throughline.interactions (#)
"#
        );
    }

    #[test]
    fn bounds_become_queue_arguments() {
        let settings = Settings {
            dead_letters_max_bytes: Some(1_000_000),
            dead_letters_max_age_secs: Some(86_400),
            dead_letters_overflow: Overflow::DropHead,
            waiting_max_bytes: Some(500_000),
            ..Settings::default()
        };
        let topology = Topology::new(&settings, &[Duration::from_millis(250)]);
        let bounds = |queue: &Queue| -> Vec<_> {
            let bounds = ["x-overflow", "x-max-length-bytes", "x-message-ttl"];
            let arguments = queue.arguments.iter().filter(|(key, _)| bounds.contains(key));
            arguments.cloned().collect()
        };
        let [dead, work, waiting] = &topology.queues[..] else { panic!("three queues") };
        let number = Argument::Number;
        assert_eq!(
            bounds(dead),
            [
                ("x-overflow", text("drop-head")),
                ("x-max-length-bytes", number(1_000_000)),
                ("x-message-ttl", number(86_400_000)),
            ]
        );
        assert_eq!(bounds(work), [("x-overflow", text("reject-publish"))]);
        assert_eq!(
            bounds(waiting),
            [
                ("x-overflow", text("reject-publish")),
                ("x-message-ttl", number(250)),
                ("x-max-length-bytes", number(500_000)),
            ]
        );
    }
}
