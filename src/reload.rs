//! The rules file while the worker runs: looked at again and again, and taken when it has changed for
//! the better.
//!
//! New rules count from the next batch on. A file that cannot be read, parsed or accepted, or whose
//! rules fail the cases that `rules.cases` names, is not taken: the old rules stay in force, and
//! [`Standing`] says why until a good file is there. A file is looked at every `rules.watch_secs`, and
//! read once two looks in a row have found it the same, so one that is being written is not taken by
//! half; SIGHUP reads it at once.
//!
//! It looks, rather than having the system tell it, because that works on every file system, and with
//! the links that Kubernetes swaps under a mounted file.

use std::convert::Infallible;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::cases::{self, CaseFile, CaseFileError, Verdict};
use crate::domain::{Revision, Rules};
use crate::pipeline::save::rules_in_force::RulesInForce;
use crate::settings::rules_file::{self, Document, Loaded, RulesError};

/// Where rules come from, and what they must pass.
#[derive(Clone, Debug)]
pub struct RulesSource {
    /// `rules.file`.
    pub file: PathBuf,
    /// Whether somebody named it. The default may be absent: then there are no rules.
    pub is_named: bool,
    /// `rules.cases`: case files, all of whose cases must pass.
    pub cases: Vec<PathBuf>,
    /// `rules.watch_secs`: between two looks at the file; zero: it is only read when asked to.
    pub watch: Duration,
}

/// How the rules file stands to the rules in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The revision in force.
    pub revision: Revision,
    /// Which rules these are: 1 for those of the start.
    pub number: u64,
    /// How many times a file was not taken.
    pub refused: u64,
    /// Why the file as it is now was not taken; `None`: it is what is in force.
    pub problem: Option<String>,
}

/// Why rules are not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// The file is no rules file.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// A case file cannot be run.
    #[error(transparent)]
    CaseFile(#[from] CaseFileError),
    /// The rules do not do what the cases expect.
    #[error("pass the cases of rules.cases:{}", .0.iter().map(|case| format!("\n  {case}")).collect::<String>())]
    Cases(Vec<String>),
    /// Reading them came to no end.
    #[error("read the rules: a fault of our own; the log has its place")]
    Panicked,
}

impl RulesSource {
    /// Loads the rules, and tries them on the cases.
    ///
    /// # Errors
    /// [`NotTaken`], with all that is wrong.
    pub fn load(&self) -> Result<Loaded, NotTaken> {
        let document = rules_file::read(&self.file)?;
        let loaded = rules_file::accept(&self.file, &document)?;
        self.try_on_cases(&document)?;
        Ok(loaded)
    }

    /// Runs the case files with `document` for their rules.
    ///
    /// # Errors
    /// [`NotTaken`] when a file cannot be run, or any case fails; each that fails is named.
    pub fn try_on_cases(&self, document: &Document) -> Result<(), NotTaken> {
        let mut failed = Vec::new();
        for path in &self.cases {
            let file = CaseFile::load(path)?.with_rules(document);
            let runs = file.cases.iter().map(|case| (case, cases::run(&file, case)));
            failed.extend(runs.filter_map(|(case, verdict)| match verdict {
                Verdict::Passed => None,
                Verdict::Failed(_) => Some(format!("{}: {}", path.display(), case.name)),
            }));
        }
        if failed.is_empty() { Ok(()) } else { Err(NotTaken::Cases(failed)) }
    }
}

/// Keeps the rules in force up to date with their file.
pub struct Reloader {
    source: RulesSource,
    in_force: Arc<RulesInForce>,
    standing: watch::Sender<Standing>,
}

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device_and_inode: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Reloader {
    /// Watches over `in_force`, which was loaded from `source`.
    pub fn new(source: RulesSource, in_force: Arc<RulesInForce>) -> Reloader {
        let now = in_force.snapshot();
        let standing = watch::Sender::new(Standing {
            revision: now.rules.revision().clone(),
            number: now.number,
            refused: 0,
            problem: None,
        });
        Reloader { source, in_force, standing }
    }

    /// How the file stands, now and whenever that changes.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Looks at the file for ever, and reads it at once whenever it is `asked` to.
    pub async fn run(&self, asked: &Notify) -> Infallible {
        // What was read last; nothing yet, so a change since the start is not overlooked.
        let mut read = None;
        let mut seen = None;
        loop {
            let at_once = tokio::select! {
                () = asked.notified() => true,
                () = self.rest() => false,
            };
            let now = Some(self.stamp().await);
            let settled = seen == now;
            seen = now;
            if (at_once || (settled && read != now)) && !self.is_absent_as_ever(now) {
                read = now;
                self.take().await;
            }
        }
    }

    /// Whether there is no file, there need not be one, and there was none before. One that was there
    /// and is gone is another matter: its rules stay in force.
    fn is_absent_as_ever(&self, now: Option<Option<Stamp>>) -> bool {
        let no_rules = || self.in_force.snapshot().rules.revision() == Rules::empty().revision();
        now == Some(None) && !self.source.is_named && no_rules()
    }

    async fn rest(&self) {
        match self.source.watch {
            Duration::ZERO => std::future::pending().await,
            watch => tokio::time::sleep(watch).await,
        }
    }

    /// The state of the file; `None` where there is none that can be seen.
    async fn stamp(&self) -> Option<Stamp> {
        let about = tokio::fs::metadata(&self.source.file).await.ok()?;
        Some(Stamp {
            device_and_inode: (about.dev(), about.ino()),
            bytes: about.len(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        })
    }

    /// Reads the file, and puts its rules in force if they are good and others than those.
    async fn take(&self) {
        let source = self.source.clone();
        // Large rules take a moment, which no lane should have to wait.
        let loading = tokio::task::spawn_blocking(move || source.load());
        let loaded = loading.await.unwrap_or(Err(NotTaken::Panicked));
        let before = self.in_force.snapshot();
        let file = self.source.file.display();
        match loaded {
            Ok(Loaded { rules, .. }) if rules.revision() == before.rules.revision() => {
                self.standing.send_if_modified(|standing| standing.problem.take().is_some());
                tracing::info!(%file, revision = rules.revision().as_str(), "the rules are unchanged");
            }
            Ok(Loaded { rules, warnings }) => {
                for warning in warnings {
                    tracing::warn!("rules: {warning}");
                }
                let revision = rules.revision().clone();
                let number = self.in_force.replace(rules);
                let was = before.rules.revision().as_str();
                tracing::info!(%file, revision = revision.as_str(), was, number, "new rules are in force");
                self.standing.send_modify(|standing| {
                    let refused = standing.refused;
                    *standing = Standing { revision, number, refused, problem: None };
                });
            }
            Err(why) => {
                let problem = format!("failed to {why}");
                let in_force = before.rules.revision().as_str();
                tracing::warn!(%file, in_force, "the rules file is not taken: {problem}");
                self.standing.send_modify(|standing| {
                    standing.refused += 1;
                    standing.problem = Some(problem);
                });
            }
        }
    }
}
