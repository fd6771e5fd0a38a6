//! Exit codes, and the message of a command that fails.

use std::fmt;
use std::process::ExitCode;

use crate::broker;
use crate::gate;
use crate::http::ServerError;
use crate::pipeline::ports::StoreError;
use crate::reload::ReloadError;
use crate::settings::SettingsError;
use crate::store::OpenError;
use crate::telemetry::stderr::write_line;

/// The exit code of a command; `cli` has the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Done,
    DoesNotHold,
    Usage,
    BadSettings,
    Unavailable,
    Internal,
    WorkLeft,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::DoesNotHold => 1,
            Exit::Usage => 2,
            Exit::BadSettings => 64,
            Exit::Unavailable => 69,
            Exit::Internal => 70,
            Exit::WorkLeft => 75,
        })
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub(super) struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    /// A failure that is reported as `throughline: <message>`.
    pub(super) fn new(exit: Exit, message: impl fmt::Display) -> Failure {
        Failure { exit, message: message.to_string() }
    }

    /// A failure without a message.
    pub(super) fn quiet(exit: Exit) -> Failure {
        Failure { exit, message: String::new() }
    }

    /// The settings are wrong.
    pub(super) fn settings(error: &SettingsError) -> Failure {
        Failure::new(Exit::BadSettings, format_args!("failed to {error}"))
    }

    /// An unexpected error.
    pub(super) fn internal(error: impl fmt::Display) -> Failure {
        Failure::new(Exit::Internal, format_args!("failed to {error}"))
    }

    /// Writes the message to stderr and returns the exit code.
    pub(super) fn report(self) -> ExitCode {
        if !self.message.is_empty() {
            write_line(format_args!("throughline: {}", self.message));
        }
        self.exit.into()
    }
}

impl From<ReloadError> for Failure {
    fn from(error: ReloadError) -> Failure {
        Failure::new(Exit::BadSettings, format_args!("failed to {error}"))
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Failure {
        let exit = if error.is_transient() { Exit::Unavailable } else { Exit::BadSettings };
        Failure::new(exit, format_args!("failed to {error}"))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::new(Exit::Unavailable, format_args!("failed to {error}"))
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Failure {
        let exit = match error {
            ServerError::Bind { .. } => Exit::BadSettings,
            ServerError::Start(_) => Exit::Internal,
        };
        Failure::new(exit, format_args!("failed to {error}"))
    }
}

impl From<broker::Error> for Failure {
    fn from(error: broker::Error) -> Failure {
        let exit = match error {
            broker::Error::NotReplayed(_) | broker::Error::NoSource(_) => Exit::WorkLeft,
            ref error if error.is_final() => Exit::BadSettings,
            _ => Exit::Unavailable,
        };
        Failure::new(exit, format_args!("failed to {error}"))
    }
}

impl From<gate::Error> for Failure {
    fn from(error: gate::Error) -> Failure {
        Failure::new(Exit::BadSettings, format_args!("failed to {error}"))
    }
}
