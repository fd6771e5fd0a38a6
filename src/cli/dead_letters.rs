//! `throughline dead-letters`: what was set aside.
//!
//! Invariants: a body is shown to whoever asks for it with `--show-body` and to nobody else (K8).
//! What changes the queue names what it means, or says `--all`. Each dead letter is told as it is
//! done, so that whatever ends the command early, what is printed is done.

mod print;

use std::io::ErrorKind;
use std::num::NonZeroU32;
use std::sync::Arc;

use clap::{ArgGroup, Args, Subcommand};
use tokio::sync::watch;

use super::failure::{Exit, Failure};
use super::{block_on, told_to_stop};
use crate::app;
use crate::broker::{self, DeadLetters, Health, Link, Selection};
use crate::clock::Clock;
use crate::settings::Settings;
use crate::telemetry::stderr::say;
use print::{Printer, Shape};

/// Lists, shows, replays or discards messages that were set aside
///
/// Works on what lies in the dead-letter queue when it begins; what comes later is left alone. Exits
/// with 1 if nothing matches. Nobody else sees what it has looked at until it ends; however it ends,
/// what it has not removed is in the queue again. The order is the queue's: oldest
/// first, until a command that stopped early has moved what it looked at behind the others.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
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
struct List {
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
struct Show {
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
#[command(group = means_something())]
#[command(after_help = "Examples:
  throughline dead-letters replay --reason unroutable --dry-run
  throughline dead-letters replay --reason unroutable
  throughline dead-letters replay --id evt-0001 --id evt-0002
  throughline dead-letters replay --all --limit 10")]
struct Replay {
    #[command(flatten)]
    change: Change,
}

/// Removes dead letters for good
#[derive(Debug, Args)]
#[command(group = means_something())]
#[command(after_help = "Examples:
  throughline dead-letters discard --reason not_json --older-than 604800 --dry-run
  throughline dead-letters discard --id evt-0001")]
struct Discard {
    #[command(flatten)]
    change: Change,
}

/// Which dead letters are meant.
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

/// What commands that change the queue have in common.
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

/// A command that changes the queue must say what it means.
fn means_something() -> ArgGroup {
    let selectors = ["id", "reason", "older_than", "younger_than", "all"];
    ArgGroup::new("which").required(true).multiple(true).args(selectors)
}

pub(super) fn run(arguments: &Arguments, settings: &Settings) -> Result<Exit, Failure> {
    let body_max_bytes = settings.limits.body_max_bytes;
    let job = Job::of(&arguments.what, Clock::System.now_ms(), body_max_bytes);
    block_on(async {
        let told_to_stop = told_to_stop()?;
        let of_broker = Arc::new(app::broker_settings(settings));
        let link = Link::open(of_broker, watch::Sender::new(Health::Down)).await?;
        let mut pass = link.dead_letters().await?;
        let mut found = 0;
        let worked = tokio::select! {
            worked = job.work(&mut pass, &mut found) => worked,
            () = told_to_stop => {
                // Dropping the link gives back what the pass holds.
                return Err(Failure::new(Exit::WorkLeft, "interrupted; what is printed is done"));
            }
        };
        let left = pass.left();
        let finished = pass.finish().await;
        link.close().await;
        job.sum_up(found, left);
        worked?;
        finished?;
        match found {
            0 => Err(Failure::new(Exit::DoesNotHold, "no dead letter matches")),
            _ => Ok(Exit::Done),
        }
    })
}

/// What is to be done, and to which dead letters.
struct Job {
    action: Action,
    selection: Selection,
    limit: u32,
    shape: Shape,
    /// The largest body that is unpacked.
    body_max_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    List,
    Show,
    Replay,
    Discard,
    /// Says that it would do what the word says.
    Pretend(&'static str),
}

impl Job {
    fn of(what: &What, now_ms: i64, body_max_bytes: usize) -> Job {
        let change = |change: &Change, action, word| Job {
            action: if change.dry_run { Action::Pretend(word) } else { action },
            selection: change.select.at(now_ms),
            limit: change.limit.map_or(u32::MAX, NonZeroU32::get),
            shape: Shape::line(change.json),
            body_max_bytes,
        };
        match what {
            What::List(list) => Job {
                action: Action::List,
                selection: list.select.at(now_ms),
                limit: list.limit.get(),
                shape: Shape::line(list.json),
                body_max_bytes,
            },
            What::Show(show) => Job {
                action: Action::Show,
                selection: show.select.at(now_ms),
                limit: show.limit.get(),
                shape: Shape::Whole { json: show.json, body: show.show_body },
                body_max_bytes,
            },
            What::Replay(replay) => change(&replay.change, Action::Replay, "replayed"),
            What::Discard(discard) => change(&discard.change, Action::Discard, "discarded"),
        }
    }

    /// Goes through the pass; `found` counts those that are done.
    async fn work(&self, pass: &mut DeadLetters, found: &mut u32) -> Result<(), Failure> {
        let mut printer = Printer::new(self.shape, self.body_max_bytes);
        let (mut strays, mut first_stray) = (0, None);
        while *found < self.limit {
            let letter = match pass.next().await {
                Ok(Some(letter)) => letter,
                Ok(None) => break,
                Err(error @ broker::Error::Undeliverable(_)) => {
                    say(format_args!("failed to {error}; going on behind it"));
                    if !self.selection.matches_undeliverable() {
                        continue;
                    }
                    match self.action {
                        Action::Replay => {
                            strays += 1;
                            first_stray.get_or_insert(error);
                            continue;
                        }
                        Action::Discard => pass.discard_undeliverable().await?,
                        Action::List | Action::Show | Action::Pretend(_) => {}
                    }
                    *found += 1;
                    if !self.tell(&printer.undeliverable())? {
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
                Action::Replay => match pass.replay(letter).await {
                    Err(error @ broker::Error::NoSource(_)) => {
                        // Those behind it may have one.
                        strays += 1;
                        first_stray.get_or_insert(error);
                        continue;
                    }
                    replayed => replayed?,
                },
                Action::Discard => pass.discard(letter).await?,
                Action::List | Action::Show | Action::Pretend(_) => {}
            }
            *found += 1;
            if !self.tell(&text)? {
                break;
            }
        }
        match first_stray {
            None => Ok(()),
            Some(first) => {
                let why = format_args!("{strays} stay where they are: failed to {first}");
                Err(Failure::new(Exit::WorkLeft, why))
            }
        }
    }

    /// Prints what is done; whether there is somebody who reads on.
    fn tell(&self, text: &str) -> Result<bool, Failure> {
        match print::print(text) {
            Ok(()) => Ok(true),
            // Whoever read, like `head`, has seen enough.
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

    /// Says on stderr what stdout does not: how many, and whether that is all.
    fn sum_up(&self, found: u32, left: u32) {
        if found == 0 {
            return;
        }
        match self.action {
            Action::Replay => say(format_args!("{found} replayed")),
            Action::Discard => say(format_args!("{found} discarded")),
            Action::Pretend(word) => say(format_args!("{found} would be {word}; nothing was done")),
            Action::List | Action::Show => {}
        }
        if found == self.limit && left > 0 && self.action != Action::Show {
            say(format_args!("stopped at --limit {found}; not looked at: {left}"));
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
