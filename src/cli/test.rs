//! `throughline test`: case files.

use std::path::{Path, PathBuf};

use clap::Args;

use super::failure::{Exit, Failure};
use super::output::Stdout;
use crate::cases::{self, CaseFile, CaseFileError, CaseResult};
use crate::reload::ReloadError;
use crate::settings::rules_file;

/// Runs case files: unit tests for rules
///
/// Each case plays messages against rules and compares what comes out with what it expects. Exits
/// with 1 if any case fails. With --rules, that file stands in for the `rules` of the case files, and
/// only cases that have rules of their own keep them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  throughline test tests/cases/*.json
  throughline test rules-cases.toml
  throughline test --rules new-rules.toml rules-cases.toml")]
pub(super) struct Arguments {
    /// Case files, JSON or TOML.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Name the cases that pass, too.
    #[arg(long)]
    all: bool,
}

pub(super) fn run(arguments: &Arguments, rules: Option<&Path>) -> Result<Exit, Failure> {
    // All files are read before any case runs, so that a wrong one is not overlooked.
    let files: Vec<_> = arguments.files.iter().map(|path| CaseFile::load(path)).collect();
    let wrong: Vec<_> = files.iter().filter_map(|file| file.as_ref().err()).collect();
    if let Some(first) = wrong.first() {
        let exit = match first {
            CaseFileError::Unreadable { .. } => Exit::Usage,
            CaseFileError::Syntax { .. } | CaseFileError::Refused { .. } => Exit::BadSettings,
        };
        let texts: Vec<_> = wrong.iter().map(|error| format!("failed to {error}")).collect();
        return Err(Failure::new(exit, texts.join("\n")));
    }
    let rules = rules.map(rules_file::read).transpose().map_err(ReloadError::from)?;
    let mut out = Stdout::lock();
    let (mut passed, mut failed) = (0, 0);
    for file in files.into_iter().flatten() {
        let file = match &rules {
            Some(rules) => file.with_rules(rules),
            None => file,
        };
        for case in &file.cases {
            match cases::run(&file, case) {
                CaseResult::Passed => {
                    passed += 1;
                    if arguments.all {
                        out.line(format_args!("ok      {}: {}", file.path.display(), case.name))?;
                    }
                }
                CaseResult::Failed(differences) => {
                    failed += 1;
                    out.line(format_args!("FAILED  {}: {}", file.path.display(), case.name))?;
                    for difference in differences {
                        out.line(format_args!("        {difference}"))?;
                    }
                }
            }
        }
    }
    out.line(format_args!("{passed} passed, {failed} failed"))?;
    out.finish()?;
    Ok(if failed == 0 { Exit::Done } else { Exit::DoesNotHold })
}
