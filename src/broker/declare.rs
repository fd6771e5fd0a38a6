//! Puts a [`Topology`] into the broker, or looks whether it is there.
//!
//! Invariant: both are idempotent, and neither deletes or changes anything: what exists with other
//! arguments is an error, named. Deliberately absent: migrating a queue to other arguments, which
//! cannot be done without stopping its consumers.

use std::time::Duration;

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::broker_connection::BrokerConnection;
use super::topology::{Argument, Exchange, Topology};
use super::{CallError, Error, with_timeout};

/// Declares everything; existing exchanges and queues stay as they are.
pub(super) async fn declare(
    topology: &Topology,
    wire: &BrokerConnection,
    limit: Duration,
) -> Result<(), Error> {
    let channel = wire.channel(limit).await?;
    for exchange in &topology.exchanges {
        let what = format!("exchange `{}`", exchange.name);
        let kind = match exchange.kind {
            "fanout" => ExchangeKind::Fanout,
            _ => ExchangeKind::Topic,
        };
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let name = short(&exchange.name)?;
        with_timeout(limit, channel.exchange_declare(name, kind, options, FieldTable::default()))
            .await
            .map_err(|error| not_declared(what, &error))?;
    }
    for queue in &topology.queues {
        let what = format!("queue `{}`", queue.name);
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        let name = short(&queue.name)?;
        with_timeout(limit, channel.queue_declare(name, options, table(&queue.arguments)))
            .await
            .map_err(|error| not_declared(what, &error))?;
    }
    for binding in &topology.bindings {
        let what = format!("binding of `{}` to `{}`", binding.queue, binding.exchange);
        let (queue, exchange) = (short(&binding.queue)?, short(&binding.exchange)?);
        let (key, options) = (short(&binding.routing_key)?, QueueBindOptions::default());
        with_timeout(
            limit,
            channel.queue_bind(queue, exchange, key, options, FieldTable::default()),
        )
        .await
        .map_err(|error| not_declared(what, &error))?;
    }
    Ok(())
}

/// Looks for everything the worker itself uses, and names all that is missing at once.
///
/// AMQP cannot ask for bindings, nor for a queue's arguments without declaring it.
pub(super) async fn check(
    topology: &Topology,
    wire: &BrokerConnection,
    limit: Duration,
) -> Result<(), Error> {
    let mut missing = Vec::new();
    for exchange in topology.exchanges.iter().filter(|exchange| exchange.needed) {
        let options = ExchangeDeclareOptions { passive: true, ..Default::default() };
        let what = format!("exchange `{}`", exchange.name);
        // The broker closes the channel when a lookup fails, so each lookup has its own.
        let channel = wire.channel(limit).await?;
        let (name, kind) = (short(&exchange.name)?, ExchangeKind::Topic);
        let found = channel.exchange_declare(name, kind, options, FieldTable::default());
        match with_timeout(limit, found).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => missing.push(what),
            Err(error) => return Err(not_declared(what, &error)),
        }
    }
    for queue in &topology.queues {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let what = format!("queue `{}`", queue.name);
        let channel = wire.channel(limit).await?;
        let found = channel.queue_declare(short(&queue.name)?, options, FieldTable::default());
        match with_timeout(limit, found).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => missing.push(what),
            Err(error) => return Err(not_declared(what, &error)),
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(Error::Missing(missing)) }
}

/// How many messages are ready in each of these queues; none for one that is not there, or that this
/// user may not look at.
pub(super) async fn depths(
    queues: Vec<String>,
    wire: &BrokerConnection,
    limit: Duration,
) -> Result<Vec<(String, Option<u32>)>, Error> {
    let mut depths = Vec::with_capacity(queues.len());
    for name in queues {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let channel = wire.channel(limit).await?;
        let found = channel.queue_declare(short(&name)?, options, FieldTable::default());
        let ready = match with_timeout(limit, found).await {
            Ok(queue) => Some(queue.message_count()),
            Err(error) if error.is_not_found() || error.is_refused() => None,
            Err(error) => return Err(Error::Unreachable(error.to_string())),
        };
        depths.push((name, ready));
    }
    Ok(depths)
}

fn not_declared(what: String, error: &CallError) -> Error {
    match error.is_refused() {
        true => Error::Forbidden(what),
        false => Error::Declare { what, reason: error.to_string() },
    }
}

/// An exchange or queue of the topology, and its state in the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyFinding {
    /// `exchange` or `queue`, and the name.
    pub what: String,
    /// Its state in the broker.
    pub state: TopologyDifference,
}

/// How an exchange or queue in the broker differs from the topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopologyDifference {
    /// As it must be.
    Matches,
    /// It is not there.
    Missing,
    /// It is there with other arguments; the broker's text about them.
    Different(String),
    /// It is there, but this user may not declare, and AMQP cannot compare in any other way.
    NotComparable,
}

/// Compares the existing topology with the required one: kind of exchange, queue type, delivery limit,
/// TTL and dead-lettering. Changes nothing: only existing ones are declared again, and the broker
/// accepts that, or names the argument that differs.
pub(super) async fn compare(
    topology: &Topology,
    wire: &BrokerConnection,
    limit: Duration,
) -> Result<Vec<TopologyFinding>, Error> {
    let mut findings = Vec::new();
    for exchange in &topology.exchanges {
        let one = Topology { exchanges: vec![exchange.clone()], ..Topology::default() };
        let what = format!("exchange `{}`", exchange.name);
        findings.push(TopologyFinding { state: find(&one, wire, limit).await?, what });
    }
    for queue in &topology.queues {
        let one = Topology { queues: vec![queue.clone()], ..Topology::default() };
        let what = format!("queue `{}`", queue.name);
        findings.push(TopologyFinding { state: find(&one, wire, limit).await?, what });
    }
    Ok(findings)
}

async fn find(
    one: &Topology,
    wire: &BrokerConnection,
    limit: Duration,
) -> Result<TopologyDifference, Error> {
    let needed = |exchange: &Exchange| Exchange { needed: true, ..exchange.clone() };
    let looked_for =
        Topology { exchanges: one.exchanges.iter().map(needed).collect(), ..one.clone() };
    match check(&looked_for, wire, limit).await {
        Ok(()) => match declare(one, wire, limit).await {
            Ok(()) => Ok(TopologyDifference::Matches),
            Err(Error::Declare { reason, .. }) => Ok(TopologyDifference::Different(reason)),
            Err(Error::Forbidden(_)) => Ok(TopologyDifference::NotComparable),
            Err(error) => Err(error),
        },
        Err(Error::Forbidden(_)) => Ok(TopologyDifference::NotComparable),
        Err(Error::Missing(_)) => Ok(TopologyDifference::Missing),
        // A passive look at an exchange of another kind is refused, too.
        Err(Error::Declare { reason, .. }) => Ok(TopologyDifference::Different(reason)),
        Err(error) => Err(error),
    }
}

/// A name as AMQP carries it; lapin would panic over one that is too long.
pub(super) fn short(name: &str) -> Result<ShortString, Error> {
    ShortString::try_new(name)
        .map_err(|_| Error::Settings(format!("a name has {} bytes; AMQP allows 255", name.len())))
}

fn table(arguments: &[(&'static str, Argument)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in arguments {
        let value = match value {
            Argument::Text(text) => AMQPValue::LongString(text.as_str().into()),
            Argument::Number(number) => AMQPValue::LongLongInt(*number),
            Argument::Yes => AMQPValue::Boolean(true),
        };
        table.insert((*key).into(), value);
    }
    table
}
