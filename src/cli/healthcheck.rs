//! `throughline healthcheck`: asks the running worker whether it is ready.
//!
//! For health checks of containers: two exit codes, one line, and no other program needed. Docker
//! reserves every code but 0 and 1, so a worker that does not answer is 1 here, too.

use std::net::SocketAddr;

use clap::Args;

use super::block_on;
use super::failure::{Exit, Failure};
use super::output::Stdout;
use crate::http::{self, Readiness};
use crate::settings::Settings;

/// Asks the running worker whether it is ready
///
/// Asks /readyz at http.listen. Exits with 0 when it is ready, else with 1, and prints what is missing.
/// Warnings are printed either way.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  THROUGHLINE_HTTP__LISTEN=127.0.0.1:9464 throughline healthcheck")]
pub(super) struct Arguments {}

pub(super) fn run(_arguments: &Arguments, settings: &Settings) -> Result<Exit, Failure> {
    let listen = listen(settings)?;
    let answer = match block_on(async { Ok(http::get(listen, "/readyz").await) })? {
        Ok(answer) => answer,
        Err(error) => {
            return Err(Failure::new(Exit::DoesNotHold, format_args!("failed to {error}")));
        }
    };
    let readiness: Readiness = serde_json::from_slice(&answer.body).map_err(|_| {
        let status = answer.status;
        let what = format_args!("what answers at {listen} is no worker (status {status})");
        Failure::new(Exit::DoesNotHold, what)
    })?;
    let mut out = Stdout::lock();
    let is_ready = answer.status == 200 && readiness.missing.is_empty();
    if is_ready {
        out.line("ready")?;
    }
    for problem in &readiness.missing {
        out.line(format_args!("missing  {problem}"))?;
    }
    for problem in &readiness.warnings {
        out.line(format_args!("warning  {problem}"))?;
    }
    out.finish()?;
    Ok(if is_ready { Exit::Done } else { Exit::DoesNotHold })
}

/// The address that the worker listens on, for the commands that query it.
pub(super) fn listen(settings: &Settings) -> Result<SocketAddr, Failure> {
    settings.http.listen.filter(|address| address.port() != 0).ok_or_else(|| {
        let what = "http.listen names no port: set it as the worker has it, as in \
                    THROUGHLINE_HTTP__LISTEN=127.0.0.1:9464";
        Failure::new(Exit::BadSettings, what)
    })
}
