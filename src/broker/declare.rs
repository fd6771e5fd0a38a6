//! Puts a [`Topology`] into the broker, or looks whether it is there.
//!
//! Invariant: both are idempotent, and neither deletes or changes anything: what exists with other
//! arguments is an error, named. Deliberately absent: migrating a queue to other arguments, which
//! cannot be done without stopping its consumers.

use std::time::Duration;

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::topology::{Argument, Exchange, Topology};
use super::wire::Wire;
use super::{Error, NoAnswer, within};

/// Declares everything; what is there already stays as it is.
pub(super) async fn declare(
    topology: &Topology,
    wire: &Wire,
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
        within(limit, channel.exchange_declare(name, kind, options, FieldTable::default()))
            .await
            .map_err(|error| not_declared(what, &error))?;
    }
    for queue in &topology.queues {
        let what = format!("queue `{}`", queue.name);
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        let name = short(&queue.name)?;
        within(limit, channel.queue_declare(name, options, table(&queue.arguments)))
            .await
            .map_err(|error| not_declared(what, &error))?;
    }
    for binding in &topology.bindings {
        let what = format!("binding of `{}` to `{}`", binding.queue, binding.exchange);
        let (queue, exchange) = (short(&binding.queue)?, short(&binding.exchange)?);
        let (key, options) = (short(&binding.routing_key)?, QueueBindOptions::default());
        within(limit, channel.queue_bind(queue, exchange, key, options, FieldTable::default()))
            .await
            .map_err(|error| not_declared(what, &error))?;
    }
    Ok(())
}

/// Looks for everything the worker itself uses, and names all that is missing at once.
///
/// AMQP cannot ask for bindings, nor for a queue's arguments without declaring it.
pub(super) async fn check(topology: &Topology, wire: &Wire, limit: Duration) -> Result<(), Error> {
    let mut missing = Vec::new();
    for exchange in topology.exchanges.iter().filter(|exchange| exchange.needed) {
        let options = ExchangeDeclareOptions { passive: true, ..Default::default() };
        let what = format!("exchange `{}`", exchange.name);
        // The broker closes the channel over what it does not find, so each look has its own.
        let channel = wire.channel(limit).await?;
        let (name, kind) = (short(&exchange.name)?, ExchangeKind::Topic);
        let found = channel.exchange_declare(name, kind, options, FieldTable::default());
        match within(limit, found).await {
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
        match within(limit, found).await {
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
    wire: &Wire,
    limit: Duration,
) -> Result<Vec<(String, Option<u32>)>, Error> {
    let mut depths = Vec::with_capacity(queues.len());
    for name in queues {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let channel = wire.channel(limit).await?;
        let found = channel.queue_declare(short(&name)?, options, FieldTable::default());
        let ready = match within(limit, found).await {
            Ok(queue) => Some(queue.message_count()),
            Err(error) if error.is_not_found() || error.is_refused() => None,
            Err(error) => return Err(Error::Unreachable(error.to_string())),
        };
        depths.push((name, ready));
    }
    Ok(depths)
}

fn not_declared(what: String, error: &NoAnswer) -> Error {
    match error.is_refused() {
        true => Error::Forbidden(what),
        false => Error::Declare { what, reason: error.to_string() },
    }
}

/// One thing of the topology, and how it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The kind of thing and its name.
    pub what: String,
    /// How it is found.
    pub state: Found,
}

/// How a thing of the topology is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// As it must be.
    AsNeeded,
    /// It is not there.
    Missing,
    /// It is there with other arguments; what the broker says of it.
    Different(String),
    /// It is there, but this user may not declare, and AMQP cannot compare in any other way.
    NotToBeCompared,
}

/// Compares what is there with what must be: kind of exchange, queue type, delivery limit, TTL and
/// dead-lettering. Changes nothing: only what exists is declared again, which the broker answers
/// with yes, or with the argument that differs.
pub(super) async fn compare(
    topology: &Topology,
    wire: &Wire,
    limit: Duration,
) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for exchange in &topology.exchanges {
        let one = Topology { exchanges: vec![exchange.clone()], ..Topology::default() };
        let what = format!("exchange `{}`", exchange.name);
        findings.push(Finding { state: find(&one, wire, limit).await?, what });
    }
    for queue in &topology.queues {
        let one = Topology { queues: vec![queue.clone()], ..Topology::default() };
        let what = format!("queue `{}`", queue.name);
        findings.push(Finding { state: find(&one, wire, limit).await?, what });
    }
    Ok(findings)
}

async fn find(one: &Topology, wire: &Wire, limit: Duration) -> Result<Found, Error> {
    let needed = |exchange: &Exchange| Exchange { needed: true, ..exchange.clone() };
    let looked_for =
        Topology { exchanges: one.exchanges.iter().map(needed).collect(), ..one.clone() };
    match check(&looked_for, wire, limit).await {
        Ok(()) => match declare(one, wire, limit).await {
            Ok(()) => Ok(Found::AsNeeded),
            Err(Error::Declare { reason, .. }) => Ok(Found::Different(reason)),
            Err(Error::Forbidden(_)) => Ok(Found::NotToBeCompared),
            Err(error) => Err(error),
        },
        Err(Error::Forbidden(_)) => Ok(Found::NotToBeCompared),
        Err(Error::Missing(_)) => Ok(Found::Missing),
        // A passive look at an exchange of another kind is refused, too.
        Err(Error::Declare { reason, .. }) => Ok(Found::Different(reason)),
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
