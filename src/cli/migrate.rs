//! `throughline migrate`: the store's schema.

use clap::Args;

use super::block_on;
use super::failure::{Exit, Failure};
use super::output::Stdout;
use crate::app;
use crate::settings::Settings;
use crate::store;

/// Brings the store's schema up to date
///
/// Safe to run again, and while workers run. `run` does it at start unless store.migrate is off.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  throughline migrate --store postgres://owner@db/throughline")]
pub(super) struct Arguments {}

pub(super) fn run(_arguments: &Arguments, settings: &Settings) -> Result<Exit, Failure> {
    let mut out = Stdout::lock();
    block_on(async {
        let store = store::open(&app::store_settings(settings)).await?;
        let before = store.schema_version().await?;
        store.migrate().await?;
        let after = store.schema_version().await?;
        match before == after {
            true => out.line(format_args!("schema version {after}: up to date"))?,
            false => out.line(format_args!("schema version {before} -> {after}"))?,
        }
        store.close().await;
        out.finish()?;
        Ok(Exit::Done)
    })
}
