//! `throughline dead-letters`: messages that were set aside.
//!
//! Invariants: a body is printed only with `--show-body` (K8). A command that changes the queue needs a
//! selector or `--all`. Each dead letter is printed as soon as it is done, so that what is printed is
//! done even if the command ends early.

mod print;

use std::io::ErrorKind;
use std::num::NonZeroU32;
use std::sync::Arc;

use clap::{ArgGroup, Args, Subcommand};
use tokio::sync::watch;

use super::failure::{Exit, Failure};
use super::{block_on, shutdown_signal};
use crate::app;
use crate::broker::{self, DeadLetters, Health, Link, Selection};
use crate::clock::Clock;
use crate::settings::Settings;
use crate::telemetry::stderr::write_line;
use print::{LetterFormat, Printer};

/// Lists, shows, replays or discards messages that were set aside
///
/// Works on what lies in the dead-letter queue when it begins; what comes later is left alone. Exits
/// with 1 if nothing matches. The dead letters it has read are hidden from other consumers until it
/// ends; however it ends, those it has not removed are in the queue again. The order is the queue's:
/// oldest first, until a command that stopped early has moved those it had read behind the others.
#[derive(Debug, Subcommand)]
pub(super) enum DeadLettersCommand {
    List(List),
    Show(Show),
    Replay(Replay),
    Discard(Discard),
}

/// Lists dead letters, never their bodies
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  throughline dead-letters list
  throughline dead-letters list --reason unroutable --younger-than 3600
  throughline dead-letters list --json | jq -r .reason | sort | uniq -c")]
pub(super) struct List {
    #[command(flatten)]
    select: Select,
    /// List N at most.
    #[arg(long, value_name = "N", default_value = "1000")]
    limit: NonZeroU32,
    /// For programs: an object per line.
    #[arg(long)]
    json: bool,
}

/// Shows the properties and headers of the first dead letter that matches
///
/// Headers are shown as they were received: what a sender wrote there is shown, too.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  throughline dead-letters show --id evt-0001
  throughline dead-letters show --id evt-0001 --show-body --json | jq -r .body")]
pub(super) struct Show {
    #[command(flatten)]
    select: Select,
    /// Show N at most.
    #[arg(long, value_name = "N", default_value = "1")]
    limit: NonZeroU32,
    /// Show the body, which is user data; unpacked, too, where it came compressed or as AMQP 1.0 sections.
    #[arg(long)]
    show_body: bool,
    /// For programs: an object per line.
    #[arg(long)]
    json: bool,
}

/// Sends dead letters back to the work queue
///
/// To the work queue it came by only, with id, body and properties as received. Each is confirmed by
/// the broker before it is removed here. One whose event was saved already is finished, not applied
/// twice. One that fails again comes back here, counts one replay more, and is not replayed again by
/// the same command.
#[derive(Debug, Args)]
#[command(group = selector_group())]
#[command(after_help = "Examples:
  throughline dead-letters replay --reason unroutable --dry-run
  throughline dead-letters replay --reason unroutable
  throughline dead-letters replay --id evt-0001 --id evt-0002
  throughline dead-letters replay --all --limit 10")]
pub(super) struct Replay {
    #[command(flatten)]
    change: Change,
}

/// Removes dead letters for good
#[derive(Debug, Args)]
#[command(group = selector_group())]
#[command(after_help = "Examples:
  throughline dead-letters discard --reason not_json --older-than 604800 --dry-run
  throughline dead-letters discard --id evt-0001")]
pub(super) struct Discard {
    #[command(flatten)]
    change: Change,
}

/// The selectors of dead letters.
#[derive(Debug, Args)]
struct Select {
    /// Those with this AMQP message id; repeat it for several.
    #[arg(long, value_name = "MESSAGE_ID")]
    id: Vec<String>,
    /// Those with this reason; repeat it for several.
    #[arg(long)]
    reason: Vec<String>,
    /// Those first seen more than so many seconds ago, by a worker, or else by the broker when it
    /// set them aside itself.
    #[arg(long, value_name = "SECS")]
    older_than: Option<u32>,
    /// Those first seen at most so many seconds ago.
    #[arg(long, value_name = "SECS")]
    younger_than: Option<u32>,
}

/// The options that the commands that change the queue share.
#[derive(Debug, Args)]
struct Change {
    #[command(flatten)]
    select: Select,
    /// All of them.
    #[arg(long, conflicts_with_all = ["id", "reason", "older_than", "younger_than"])]
    all: bool,
    /// N at most.
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroU32>,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// For programs: an object per line.
    #[arg(long)]
    json: bool,
}

/// A command that changes the queue needs a selector or `--all`.
fn selector_group() -> ArgGroup {
    let selectors = ["id", "reason", "older_than", "younger_than", "all"];
    ArgGroup::new("which").required(true).multiple(true).args(selectors)
}

pub(super) fn run(command: &DeadLettersCommand, settings: &Settings) -> Result<Exit, Failure> {
    let body_max_bytes = settings.limits.body_max_bytes;
    let pass = DeadLetterPass::new(command, Clock::System.now_ms(), body_max_bytes);
    block_on(async {
        let shutdown_signal = shutdown_signal()?;
        let of_broker = Arc::new(app::broker_settings(settings));
        let link = Link::open(of_broker, watch::Sender::new(Health::Down)).await?;
        let mut letters = link.dead_letters().await?;
        let mut found = 0;
        let result = tokio::select! {
            result = pass.run(&mut letters, &mut found) => result,
            () = shutdown_signal => {
                // Dropping the link gives back the dead letters that it holds.
                return Err(Failure::new(Exit::WorkLeft, "interrupted; what is printed is done"));
            }
        };
        let left = letters.left();
        let finished = letters.finish().await;
        link.close().await;
        pass.print_summary(found, left);
        result?;
        finished?;
        match found {
            0 => Err(Failure::new(Exit::DoesNotHold, "no dead letter matches")),
            _ => Ok(Exit::Done),
        }
    })
}

/// One pass over the queue: the action, and the dead letters it applies to.
struct DeadLetterPass {
    action: Action,
    selection: Selection,
    limit: u32,
    format: LetterFormat,
    /// The largest body that is unpacked.
    body_max_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    List,
    Show,
    Replay,
    Discard,
    /// `--dry-run`: prints what would be done; the word is the action's participle.
    DryRun(&'static str),
}

impl DeadLetterPass {
    fn new(command: &DeadLettersCommand, now_ms: i64, body_max_bytes: usize) -> DeadLetterPass {
        let pass = |change: &Change, action, word| DeadLetterPass {
            action: if change.dry_run { Action::DryRun(word) } else { action },
            selection: change.select.at(now_ms),
            limit: change.limit.map_or(u32::MAX, NonZeroU32::get),
            format: LetterFormat::line(change.json),
            body_max_bytes,
        };
        match command {
            DeadLettersCommand::List(list) => DeadLetterPass {
                action: Action::List,
                selection: list.select.at(now_ms),
                limit: list.limit.get(),
                format: LetterFormat::line(list.json),
                body_max_bytes,
            },
            DeadLettersCommand::Show(show) => DeadLetterPass {
                action: Action::Show,
                selection: show.select.at(now_ms),
                limit: show.limit.get(),
                format: LetterFormat::Whole { json: show.json, body: show.show_body },
                body_max_bytes,
            },
            DeadLettersCommand::Replay(args) => pass(&args.change, Action::Replay, "replayed"),
            DeadLettersCommand::Discard(args) => pass(&args.change, Action::Discard, "discarded"),
        }
    }

    /// Goes through the dead letters; `found` counts those that are done.
    async fn run(&self, letters: &mut DeadLetters, found: &mut u32) -> Result<(), Failure> {
        let mut printer = Printer::new(self.format, self.body_max_bytes);
        let (mut skipped, mut first_skipped) = (0, None);
        while *found < self.limit {
            let letter = match letters.next().await {
                Ok(Some(letter)) => letter,
                Ok(None) => break,
                Err(error @ broker::Error::Undeliverable(_)) => {
                    write_line(format_args!("failed to {error}; going on behind it"));
                    if !self.selection.matches_undeliverable() {
                        continue;
                    }
                    match self.action {
                        Action::Replay => {
                            skipped += 1;
                            first_skipped.get_or_insert(error);
                            continue;
                        }
                        Action::Discard => letters.discard_undeliverable().await?,
                        Action::List | Action::Show | Action::DryRun(_) => {}
                    }
                    *found += 1;
                    if !self.print(&printer.undeliverable())? {
                        break;
                    }
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if !self.selection.matches(&letter) {
                continue;
            }
            let text = printer.text(&letter);
            match self.action {
                Action::Replay => match letters.replay(letter).await {
                    Err(error @ broker::Error::NoSource(_)) => {
                        // The dead letters behind it may have one.
                        skipped += 1;
                        first_skipped.get_or_insert(error);
                        continue;
                    }
                    replayed => replayed?,
                },
                Action::Discard => letters.discard(letter).await?,
                Action::List | Action::Show | Action::DryRun(_) => {}
            }
            *found += 1;
            if !self.print(&text)? {
                break;
            }
        }
        match first_skipped {
            None => Ok(()),
            Some(first) => {
                let why = format_args!("{skipped} stay where they are: failed to {first}");
                Err(Failure::new(Exit::WorkLeft, why))
            }
        }
    }

    /// Prints a dead letter that is done; whether the reader of stdout still reads.
    fn print(&self, text: &str) -> Result<bool, Failure> {
        match print::print(text) {
            Ok(()) => Ok(true),
            // The reader, such as `head`, has closed the pipe because it needs no more.
            Err(error) if error.kind() == ErrorKind::BrokenPipe && !self.changes() => Ok(false),
            Err(error) => {
                let why = format_args!("failed to write the output: {error}");
                Err(Failure::new(Exit::WorkLeft, why))
            }
        }
    }

    fn changes(&self) -> bool {
        matches!(self.action, Action::Replay | Action::Discard)
    }

    /// Prints on stderr how many dead letters are done, and whether the limit left others unread.
    fn print_summary(&self, found: u32, left: u32) {
        if found == 0 {
            return;
        }
        match self.action {
            Action::Replay => write_line(format_args!("{found} replayed")),
            Action::Discard => write_line(format_args!("{found} discarded")),
            Action::DryRun(word) => {
                write_line(format_args!("{found} would be {word}; nothing was done"));
            }
            Action::List | Action::Show => {}
        }
        if found == self.limit && left > 0 && self.action != Action::Show {
            write_line(format_args!("stopped at --limit {found}; not looked at: {left}"));
        }
    }
}

impl Select {
    /// The selection at a time: ages become times.
    fn at(&self, now_ms: i64) -> Selection {
        let ago = |secs: u32| now_ms - i64::from(secs) * 1000;
        Selection {
            ids: self.id.clone(),
            reasons: self.reason.clone(),
            seen_before_ms: self.older_than.map(ago),
            seen_from_ms: self.younger_than.map(ago),
        }
    }
}
