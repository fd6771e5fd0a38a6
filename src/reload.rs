//! Reloads the rules file while the worker runs: polls it, and puts changed rules in force if they are
//! valid.
//!
//! New rules apply from the next batch on. A file that cannot be read, parsed or accepted, or whose
//! rules fail the cases that `rules.cases` names, is refused: the old rules stay in force, and
//! [`ReloadStatus`] has the reason until a valid file is there. The file is polled every
//! `rules.watch_secs`, and read once two polls in a row have found it the same, so that a half-written
//! file is not read; SIGHUP reads it at once.
//!
//! It polls instead of using inotify, because polling works on every file system, and with the links
//! that Kubernetes swaps under a mounted file.

use std::convert::Infallible;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::cases::{self, CaseFile, CaseFileError, CaseResult};
use crate::domain::{Revision, Rules};
use crate::pipeline::save::rules_in_force::RulesInForce;
use crate::settings::rules_file::{self, Document, Loaded, RulesError};

/// The rules file, and the case files that its rules must pass.
#[derive(Clone, Debug)]
pub struct RulesSource {
    /// `rules.file`.
    pub file: PathBuf,
    /// Whether the settings name it. The default file may be absent: then there are no rules.
    pub is_named: bool,
    /// `rules.cases`: case files, all of whose cases must pass.
    pub cases: Vec<PathBuf>,
    /// `rules.watch_secs`: between two polls of the file; zero: it is read on request only.
    pub watch: Duration,
}

/// The state of the rules in force, and of their file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadStatus {
    /// The revision in force.
    pub revision: Revision,
    /// The number of the rules: 1 for those of the start.
    pub number: u64,
    /// How many times a file was refused.
    pub refused: u64,
    /// Why the file as it is now was refused; `None`: its rules are in force.
    pub problem: Option<String>,
}

/// Why rules are refused.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file is no valid rules file.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// A case file cannot be run.
    #[error(transparent)]
    CaseFile(#[from] CaseFileError),
    /// The rules do not do what the cases expect.
    #[error("pass the cases of rules.cases:{}", .0.iter().map(|case| format!("\n  {case}")).collect::<String>())]
    Cases(Vec<String>),
    /// Reading them panicked.
    #[error("read the rules: an internal error; the log has its place")]
    Panicked,
}

impl RulesSource {
    /// Loads the rules, and runs the cases.
    ///
    /// # Errors
    /// [`ReloadError`], with every problem.
    pub fn load(&self) -> Result<Loaded, ReloadError> {
        let document = rules_file::read(&self.file)?;
        let loaded = rules_file::accept(&self.file, &document)?;
        self.check_cases(&document)?;
        Ok(loaded)
    }

    /// Runs the case files with `document` for their rules.
    ///
    /// # Errors
    /// [`ReloadError`] when a file cannot be run, or any case fails; each that fails is named.
    pub fn check_cases(&self, document: &Document) -> Result<(), ReloadError> {
        let mut failed = Vec::new();
        for path in &self.cases {
            let file = CaseFile::load(path)?.with_rules(document);
            let runs = file.cases.iter().map(|case| (case, cases::run(&file, case)));
            failed.extend(runs.filter_map(|(case, result)| match result {
                CaseResult::Passed => None,
                CaseResult::Failed(_) => Some(format!("{}: {}", path.display(), case.name)),
            }));
        }
        if failed.is_empty() { Ok(()) } else { Err(ReloadError::Cases(failed)) }
    }
}

/// Keeps the rules in force up to date with their file.
pub struct Reloader {
    source: RulesSource,
    in_force: Arc<RulesInForce>,
    status: watch::Sender<ReloadStatus>,
}

/// The metadata by which a changed file is recognised without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileStamp {
    device_and_inode: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Reloader {
    /// A reloader of `in_force`, which was loaded from `source`.
    pub fn new(source: RulesSource, in_force: Arc<RulesInForce>) -> Reloader {
        let now = in_force.snapshot();
        let status = watch::Sender::new(ReloadStatus {
            revision: now.rules.revision().clone(),
            number: now.number,
            refused: 0,
            problem: None,
        });
        Reloader { source, in_force, status }
    }

    /// The status, now and after each change.
    pub fn status(&self) -> watch::Receiver<ReloadStatus> {
        self.status.subscribe()
    }

    /// Polls the file for ever, and reads it at once when notified by `requested`.
    pub async fn run(&self, requested: &Notify) -> Infallible {
        // The file that was read last; `None` at first, so that a change since the start is noticed.
        let mut read = None;
        let mut seen = None;
        loop {
            let at_once = tokio::select! {
                () = requested.notified() => true,
                () = self.poll_interval() => false,
            };
            let now = Some(self.file_stamp().await);
            let settled = seen == now;
            seen = now;
            if (at_once || (settled && read != now)) && !self.is_still_absent(now) {
                read = now;
                self.reload().await;
            }
        }
    }

    /// Whether there is no file, it is optional, and there was none before. A file that is gone is
    /// another matter: its rules stay in force.
    fn is_still_absent(&self, now: Option<Option<FileStamp>>) -> bool {
        let no_rules = || self.in_force.snapshot().rules.revision() == Rules::empty().revision();
        now == Some(None) && !self.source.is_named && no_rules()
    }

    async fn poll_interval(&self) {
        match self.source.watch {
            Duration::ZERO => std::future::pending().await,
            watch => tokio::time::sleep(watch).await,
        }
    }

    /// The stamp of the file; `None` where its metadata cannot be read.
    async fn file_stamp(&self) -> Option<FileStamp> {
        let metadata = tokio::fs::metadata(&self.source.file).await.ok()?;
        Some(FileStamp {
            device_and_inode: (metadata.dev(), metadata.ino()),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// Reads the file, and puts its rules in force if they are valid and differ from these.
    async fn reload(&self) {
        let source = self.source.clone();
        // Large rules take a moment, for which no lane should wait.
        let loading = tokio::task::spawn_blocking(move || source.load());
        let loaded = loading.await.unwrap_or(Err(ReloadError::Panicked));
        let before = self.in_force.snapshot();
        let file = self.source.file.display();
        match loaded {
            Ok(Loaded { rules, .. }) if rules.revision() == before.rules.revision() => {
                self.status.send_if_modified(|status| status.problem.take().is_some());
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
                self.status.send_modify(|status| {
                    let refused = status.refused;
                    *status = ReloadStatus { revision, number, refused, problem: None };
                });
            }
            Err(error) => {
                let problem = format!("failed to {error}");
                let in_force = before.rules.revision().as_str();
                tracing::warn!(%file, in_force, "the rules file is refused: {problem}");
                self.status.send_modify(|status| {
                    status.refused += 1;
                    status.problem = Some(problem);
                });
            }
        }
    }
}
