//! The rules file: from TOML or JSON to compiled [`Rules`], or to every problem at once.
//!
//! | part | does |
//! |---|---|
//! | `document` | TOML or JSON text → one JSON document, and its canonical form |
//! | `reader` | walks the document, knows each value's path, collects problems |
//! | `sections` | what each section means |
//! | `schema` | what a document may hold, as JSON Schema |
//! | `difference` | what changes for whom between two compiled ones |
//!
//! Nothing of a rules file is guessed: an unknown key is an error, and so is a value of the wrong
//! type (docs/rules.md, *Loading rules*).

mod difference;
mod document;
pub(crate) mod reader;
mod schema;
mod sections;

use std::fmt;
use std::path::Path;

use crate::domain::Rules;

pub use difference::{Change, changes};
pub(super) use document::place_of;
pub use document::{Document, Syntax};
pub use schema::schema;

/// Rules that were loaded, and what is odd about them.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The rules.
    pub rules: Rules,
    /// Warnings: legal but probably not intended, each at its path.
    pub warnings: Vec<Problem>,
}

/// One thing that is wrong or odd, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The path within the document, as in `user_data_set[2].key[0].default`; empty for the
    /// document as a whole.
    pub path: String,
    /// The reason.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.message),
            path => write!(f, "{path}: {}", self.message),
        }
    }
}

/// Why rules cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The file cannot be read.
    #[error("read the rules file {path}: {error}")]
    Unreadable {
        /// The file.
        path: String,
        /// The system's error.
        error: std::io::Error,
    },
    /// The text is neither TOML nor JSON.
    #[error("parse the rules file {path}: {what}")]
    Syntax {
        /// The file.
        path: String,
        /// The reason, with line and column.
        what: String,
    },
    /// The document holds something that rules may not hold. All of it.
    #[error("accept the rules file {path}:{}", listed(.problems))]
    Refused {
        /// The file.
        path: String,
        /// The problems.
        problems: Vec<Problem>,
    },
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// Loads a rules file; its ending says whether it is TOML or JSON, else its first character.
///
/// # Errors
/// [`RulesError`] when the file cannot be read, parsed or accepted.
pub fn load(path: &Path) -> Result<Loaded, RulesError> {
    accept(path, &read(path)?)
}

/// Compiles the document of a rules file.
///
/// # Errors
/// [`RulesError::Refused`] with every problem of the document.
pub fn accept(path: &Path, document: &Document) -> Result<Loaded, RulesError> {
    let path = || path.display().to_string();
    compile(document).map_err(|problems| RulesError::Refused { path: path(), problems })
}

/// Reads the document of a rules file without compiling its rules.
///
/// # Errors
/// [`RulesError`] when the file cannot be read or parsed.
pub fn read(path: &Path) -> Result<Document, RulesError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| RulesError::Unreadable { path: name.clone(), error })?;
    Document::parse(&text, Syntax::of(path, &text))
        .map_err(|what| RulesError::Syntax { path: name, what })
}

/// Deeper than this is refused before anything walks it: the limit that messages have, since
/// constants become part of them.
const MAX_DEPTH: usize = 128;

/// Compiles a document.
///
/// # Errors
/// Every problem of the document.
pub fn compile(document: &Document) -> Result<Loaded, Vec<Problem>> {
    let mut reader = reader::Reader::default();
    if document.nests_deeper_than(MAX_DEPTH) {
        reader.problem("", "is nested deeper than 128 levels");
        return Err(reader.finish().0);
    }
    let rules = sections::rules(document, &mut reader);
    let (problems, warnings) = reader.finish();
    match problems.is_empty() {
        true => Ok(Loaded { rules, warnings }),
        false => Err(problems),
    }
}
