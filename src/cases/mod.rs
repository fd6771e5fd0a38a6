//! Case files: unit tests for rules (docs/messages.md, *Case files*).
//!
//! A case plays messages against rules and an empty table of interactions, the same type that batches
//! use, and compares the last message's result with its expectation. Nothing is stored or published.

mod compare;
mod file;
mod schema;

pub use compare::{ActualResult, PairMap, pairs_as_written};
pub use file::{Case, CaseFile, CaseFileError, Expectation};
pub use schema::schema;

use crate::domain::{Attempt, Rules};
use crate::formats::{self, Hints};
use crate::pipeline::save::table::InteractionTable;
use crate::settings::rules_file::{self, Problem};

/// The result of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaseResult {
    /// Every expectation holds.
    Passed,
    /// The expectations that do not hold, a line each.
    Failed(Vec<String>),
}

/// The largest body that a case may play, in bytes: the default of `limits.body_max_bytes`.
const MAX_BODY_BYTES: usize = 1_048_576;

/// Runs one case of a file.
pub fn run(file: &CaseFile, case: &Case) -> CaseResult {
    let document = match file.rules_of(case) {
        Ok(document) => document,
        Err(problem) => return CaseResult::Failed(vec![problem]),
    };
    let loaded = match rules_file::compile(&document) {
        Ok(loaded) => loaded,
        Err(problems) => return judge_refused_rules(&case.expect, &problems),
    };
    let mut actual = ActualResult::default();
    play_messages(&loaded.rules, case, &mut actual);
    let differences = case.expect.differences(&actual, &loaded.warnings);
    match differences.is_empty() {
        true => CaseResult::Passed,
        false => CaseResult::Failed(differences),
    }
}

/// The rules were refused: a case passes only if it expects that.
fn judge_refused_rules(expect: &Expectation, problems: &[Problem]) -> CaseResult {
    let expected = expect.rules_error.as_deref();
    if problems.iter().any(|problem| Some(problem.path.as_str()) == expected) {
        return CaseResult::Passed;
    }
    let found = problems.iter().map(|problem| format!("found {problem}"));
    let headline = match expected {
        Some(path) => format!("rulesError: expected a problem at {path}"),
        None => "the rules are refused".to_owned(),
    };
    CaseResult::Failed(std::iter::once(headline).chain(found).collect())
}

/// Plays the messages in order; the result of the last one is compared.
fn play_messages(rules: &Rules, case: &Case, actual: &mut ActualResult) {
    let bodies: Vec<_> = case.before.iter().chain(&case.given).collect();
    let texts: Vec<_> =
        bodies.iter().map(|body| formats::body::check(body.as_bytes(), MAX_BODY_BYTES)).collect();
    let mut table = InteractionTable::default();
    for (n, (body, text)) in bodies.iter().zip(&texts).enumerate() {
        let is_compared = n + 1 == bodies.len();
        let last = is_compared && case.last_attempt;
        let attempt =
            Attempt { may_be_unfinished: false, last_for_parent: last, last_for_interaction: last };
        let hints = Hints { format: case.format.as_deref(), ..Hints::default() };
        let decoded = match text {
            Ok(text) => formats::decode(text, body.as_bytes(), hints),
            Err(refusal) => Err(refusal.clone()),
        };
        match decoded {
            Ok(decoded) => {
                let step = table.take(rules, &decoded.message, attempt);
                if is_compared {
                    actual.record_step(&step);
                }
            }
            Err(refusal) if is_compared => actual.record_refusal(&refusal),
            // A message of `before` that is rejected has no effect.
            Err(_) => {}
        }
    }
}
