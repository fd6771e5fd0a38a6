//! `throughline check`: settings and rules, and with `--connect` the services behind them.

use std::sync::Arc;

use clap::Args;
use tokio::sync::watch;

use super::block_on;
use super::failure::{Exit, Failure};
use super::output::Stdout;
use crate::app::{self, checks};
use crate::broker::{self, Health, Link, TopologyDifference, TopologyFinding};
use crate::clock::Clock;
use crate::pipeline::gate_policy::GateOverflow;
use crate::settings::Settings;
use crate::store;

/// Validates settings and rules
///
/// Prints what is odd as warnings. With --connect it also reaches broker and store and compares what
/// is there with what the worker needs; nothing is created or changed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  throughline check --rules new-rules.toml
  throughline check --config production.toml --connect")]
pub(super) struct Arguments {
    /// Reach broker and store, too.
    #[arg(long)]
    connect: bool,
}

pub(super) fn run(arguments: &Arguments, settings: &Settings) -> Result<Exit, Failure> {
    let (rules, warnings) = app::load_rules(settings, &app::rules_source(settings))?;
    check_settings(settings)?;
    let mut out = Stdout::lock();
    for warning in &warnings {
        out.line(format_args!("warning  {warning}"))?;
    }
    if let Some(warning) = checks::hold_warning(settings) {
        out.line(format_args!("warning  {warning}"))?;
    }
    out.line(format_args!("ok       settings"))?;
    out.line(format_args!("ok       rules, revision {}", rules.revision().as_str()))?;
    if app::gating(settings, GateOverflow::Decide)?.is_some() {
        out.line(format_args!("ok       status gate, its files; it is not asked"))?;
    }
    if !arguments.connect {
        out.finish()?;
        return Ok(Exit::Done);
    }
    block_on(async {
        // Both are tried, so that the failures of both are reported.
        let store = check_store(settings, &mut out).await;
        let broker = check_broker(settings, &mut out).await;
        out.finish()?;
        both(store, broker).map(|()| Exit::Done)
    })
}

/// Checks the store and broker settings without a connection, for what ends `run` at once.
fn check_settings(settings: &Settings) -> Result<(), Failure> {
    let store = store::check(&app::store_settings(settings)).map_err(Failure::from);
    let of_broker = app::broker_settings(settings);
    let broker = block_on(async { Ok(broker::check(&of_broker).await?) });
    both(store, broker)
}

/// Combines two results; where both failed, the first failure is reported and the second returned.
fn both(one: Result<(), Failure>, other: Result<(), Failure>) -> Result<(), Failure> {
    match (one, other) {
        (Err(one), Err(other)) => {
            one.report();
            Err(other)
        }
        (one, other) => one.and(other),
    }
}

async fn check_store(settings: &Settings, out: &mut Stdout) -> Result<(), Failure> {
    // The check creates no store.
    let of_store = store::Settings { must_exist: true, ..app::store_settings(settings) };
    let store = match store::open(&of_store).await {
        Err(store::OpenError::Absent(_)) if settings.store.migrate => {
            out.line(format_args!("ok       store, not there yet, to be made at start"))?;
            return Ok(());
        }
        opened => opened?,
    };
    store.ping().await?;
    for warning in store.warnings() {
        out.line(format_args!("warning  {warning}"))?;
    }
    let version = store.schema_version().await?;
    match store.check_schema().await {
        // An older schema is no fault where the worker itself will bring it up to date.
        Err(store::OpenError::Outdated { .. } | store::OpenError::Incomplete)
            if settings.store.migrate =>
        {
            out.line(format_args!(
                "ok       store, schema version {version}, to be migrated at start"
            ))?;
        }
        checked => {
            checked?;
            out.line(format_args!("ok       store, schema version {version}"))?;
        }
    }
    if let Some(warning) = checks::clock_warning(&store, &Clock::System).await {
        out.line(format_args!("warning  {warning}"))?;
    }
    store.close().await;
    Ok(())
}

async fn check_broker(settings: &Settings, out: &mut Stdout) -> Result<(), Failure> {
    let of_broker = Arc::new(app::broker_settings(settings));
    let link = Link::open(of_broker, watch::Sender::new(Health::Down)).await?;
    out.line(format_args!("ok       broker"))?;
    let mut wrong = 0;
    for TopologyFinding { what, state } in link.compare(&app::topology(settings)).await? {
        match state {
            TopologyDifference::Matches => out.line(format_args!("ok       {what}"))?,
            TopologyDifference::Missing if settings.topology.declare => {
                out.line(format_args!("missing  {what}: will be declared at start"))?;
            }
            TopologyDifference::Missing => {
                wrong += 1;
                out.line(format_args!("missing  {what}: declare it, or set topology.declare"))?;
            }
            TopologyDifference::NotComparable => {
                out.line(format_args!(
                    "unknown  {what}: this user may not `configure`, so it cannot be compared"
                ))?;
            }
            TopologyDifference::Different(how) => {
                wrong += 1;
                out.line(format_args!(
                    "differs  {what}: {how}; delete it once it is empty, and declare it anew"
                ))?;
            }
        }
    }
    match link.look_behind().await {
        Ok(()) => {}
        Err(error @ broker::Error::LeftBehind(_)) => {
            wrong += 1;
            out.line(format_args!("wrong    failed to {error}"))?;
        }
        Err(error) => return Err(error.into()),
    }
    // RabbitMQ does not compare the timeout when an existing queue is declared.
    let consumed = link.sources().iter().flat_map(|source| source.consumed());
    let queues: Vec<_> = consumed.map(|queue| format!("queue `{queue}`")).collect();
    out.line(format_args!(
        "unknown  the consumer timeout of {}, which must be above {} s: AMQP does not tell it. \
         RabbitMQ's default is 1800; look with `rabbitmqctl list_queues name arguments \
         effective_policy_definition` for consumer-timeout (from 3.12 on), and with `rabbitmqctl eval \
         'application:get_env(rabbit, consumer_timeout).'` for what holds elsewhere (milliseconds)",
        queues.join(", "),
        checks::worst_case_hold(settings).as_secs(),
    ))?;
    link.close().await;
    match wrong {
        0 => Ok(()),
        _ => Err(Failure::new(
            Exit::DoesNotHold,
            format_args!("{wrong} of the exchanges and queues are not as the worker needs them"),
        )),
    }
}
