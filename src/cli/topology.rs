//! `throughline topology`: exchanges, queues and bindings.

use std::sync::Arc;

use clap::Subcommand;
use tokio::sync::watch;

use super::block_on;
use super::failure::{Exit, Failure};
use super::output::Stdout;
use crate::app;
use crate::broker::{self, Health, Link};
use crate::settings::Settings;

/// Shows or declares exchanges, queues and bindings
#[derive(Debug, Subcommand)]
pub(super) enum TopologyCommand {
    /// What the worker needs in the broker, with every argument
    Show,
    /// Declares it; what is there already stays as it is
    #[command(after_help = "Example:
  throughline topology declare --config production.toml")]
    Declare,
}

pub(super) fn run(command: &TopologyCommand, settings: &Settings) -> Result<Exit, Failure> {
    let topology = app::topology(settings);
    let mut out = Stdout::lock();
    match command {
        TopologyCommand::Show => out.line(format_args!("{topology}"))?,
        TopologyCommand::Declare => block_on(async {
            // The command declares the topology even if `topology.declare` is off.
            let of_broker = broker::Settings { declare: true, ..app::broker_settings(settings) };
            let link = Link::open(Arc::new(of_broker), watch::Sender::new(Health::Down)).await?;
            link.prepare(&topology).await?;
            link.close().await;
            out.line(format_args!("declared"))?;
            Ok(())
        })?,
    }
    out.finish()?;
    Ok(Exit::Done)
}
