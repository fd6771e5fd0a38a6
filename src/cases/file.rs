//! Parses case files, and reports every problem of a file at once.

use std::path::{Path, PathBuf};

use crate::domain::value::{Kind, kind};
use crate::domain::{DropReason, Origin, ParentStatus, RejectReason, WarningCode};
use crate::settings::rules_file::reader::{Node, Reader, Table};
use crate::settings::rules_file::{Document, Problem, Syntax};

/// A case file.
#[derive(Clone, Debug)]
pub struct CaseFile {
    /// The file's path; paths of rules files are relative to it.
    pub path: PathBuf,
    /// The rules for cases that have none of their own.
    pub rules: Option<CaseRules>,
    /// Its cases.
    pub cases: Vec<Case>,
}

/// Why a case file cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum CaseFileError {
    /// It cannot be read.
    #[error("read the case file {path}: {error}")]
    Unreadable {
        /// The file.
        path: String,
        /// The operating system's error.
        error: std::io::Error,
    },
    /// It is neither TOML nor JSON.
    #[error("parse the case file {path}: {error}")]
    Syntax {
        /// The file.
        path: String,
        /// The parser's error.
        error: String,
    },
    /// Its content is not acceptable; every problem is listed.
    #[error("accept the case file {path}:{}", listed(.problems))]
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

/// The rules of a file or of a case.
#[derive(Clone, Debug)]
pub enum CaseRules {
    /// In the file itself.
    Inline(Document),
    /// In a file of their own, relative to the case file.
    File(PathBuf),
}

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// What the case shows.
    pub name: String,
    /// Its own rules; they replace the file's.
    pub rules: Option<CaseRules>,
    /// The format of its messages; `None`: it is recognised by the shape.
    pub format: Option<String>,
    /// Bodies that are played first.
    pub before: Vec<String>,
    /// The body whose outcome is compared.
    pub given: Option<String>,
    /// Whether `given` is decided as on its last attempt.
    pub last_attempt: bool,
    /// The expected result.
    pub expect: Expectation,
}

/// The expected result of a case; members that are `None` or empty are not compared.
#[derive(Clone, Debug, Default)]
pub struct Expectation {
    /// The outcome's word.
    pub outcome: Option<String>,
    /// JSON objects that must be equal, values as written: `userData`, `metadata`, `extraData`.
    pub maps: [Option<String>; 3],
    /// The parent's status.
    pub parent: Option<String>,
    /// Origins of the keys named.
    pub origins: Vec<(String, String)>,
    /// Reasons for which the keys named are dropped.
    pub dropped: Vec<(String, String)>,
    /// Warnings that must occur.
    pub warnings: Vec<String>,
    /// The reason of a rejection.
    pub reason: Option<String>,
    /// What exactly is wrong with a message that is rejected.
    pub detail: Option<String>,
    /// The path of a problem for which the rules are refused.
    pub rules_error: Option<String>,
    /// Paths of warnings about the rules that must occur.
    pub rules_warnings: Vec<String>,
}

/// The names of [`Expectation::maps`].
pub(super) const MAPS: [&str; 3] = ["userData", "metadata", "extraData"];

/// The words of [`Expectation::outcome`].
pub(super) const OUTCOMES: [&str; 6] =
    ["enriched", "ended", "ignored", "duplicate", "waiting", "rejected"];

impl CaseFile {
    /// Loads a case file.
    ///
    /// # Errors
    /// When it cannot be read, parsed or accepted.
    pub fn load(path: &Path) -> Result<CaseFile, CaseFileError> {
        let name = || path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| CaseFileError::Unreadable { path: name(), error })?;
        let document = Document::parse(&text, Syntax::of(path, &text))
            .map_err(|error| CaseFileError::Syntax { path: name(), error })?;
        let mut reader = Reader::default();
        let (rules, cases) = read(&document, &mut reader);
        let (problems, _) = reader.finish();
        match problems.is_empty() {
            true => Ok(CaseFile { path: path.to_owned(), rules, cases }),
            false => Err(CaseFileError::Refused { path: name(), problems }),
        }
    }
}

impl CaseFile {
    /// The rules that a case is played against: its own, else those of the file, else none.
    ///
    /// # Errors
    /// When they are in a file that cannot be read or parsed; a sentence that says so.
    pub fn rules_of(&self, case: &Case) -> Result<Document, String> {
        match case.rules.as_ref().or(self.rules.as_ref()) {
            Some(rules) => rules.document(&self.path),
            None => Ok(Document::empty()),
        }
    }

    /// The same cases with other rules for those that have none of their own.
    #[must_use]
    pub fn with_rules(self, document: &Document) -> CaseFile {
        CaseFile { rules: Some(CaseRules::Inline(document.clone())), ..self }
    }
}

impl CaseRules {
    /// The document, read from its file if it is in one.
    fn document(&self, case_file: &Path) -> Result<Document, String> {
        match self {
            CaseRules::Inline(document) => Ok(document.clone()),
            CaseRules::File(relative) => {
                let path = case_file.parent().unwrap_or(Path::new("")).join(relative);
                let name = path.display();
                let text = std::fs::read_to_string(&path)
                    .map_err(|error| format!("the rules file {name} cannot be read: {error}"))?;
                Document::parse(&text, Syntax::of(&path, &text))
                    .map_err(|error| format!("the rules file {name} cannot be parsed: {error}"))
            }
        }
    }
}

fn read(document: &Document, reader: &mut Reader) -> (Option<CaseRules>, Vec<Case>) {
    let root = Node { json: document.as_json(), path: String::new() };
    let Some(mut root) = reader.table(&root) else { return (None, Vec::new()) };
    let rules = rules(reader, &mut root);
    let cases = reader.tables(root.take("cases"), case);
    if cases.is_empty() {
        reader.problem("cases", "holds no case");
    }
    reader.done(root);
    (rules, cases)
}

fn rules(reader: &mut Reader, table: &mut Table<'_>) -> Option<CaseRules> {
    let node = table.take("rules")?;
    match kind(node.json) {
        Kind::String => reader.text(&node).map(|path| CaseRules::File(PathBuf::from(path))),
        _ => match Document::parse(node.json, Syntax::Json) {
            Ok(document) => Some(CaseRules::Inline(document)),
            Err(error) => {
                reader.problem(node.path, error);
                None
            }
        },
    }
}

fn case(reader: &mut Reader, table: &mut Table<'_>) -> Option<Case> {
    let path = table.path().to_owned();
    let name = reader.name(table.take("name")).unwrap_or(path);
    let rules = rules(reader, table);
    let format = reader.name(table.take("format"));
    let before = table.take("before");
    let before = reader.elements(before).iter().map(|node| body(reader, node)).collect();
    let given = table.take("given").map(|node| body(reader, &node));
    let last_attempt = reader.flag(table.take("last_attempt"));
    let expect_path = table.path_of("expect");
    let expect = table.take("expect").and_then(|node| reader.table(&node));
    let expect = match expect {
        Some(mut table) => {
            let expect = expect_of(reader, &mut table);
            reader.done(table);
            expect
        }
        None => Expectation::default(),
    };
    if expect.is_empty() {
        reader.problem(expect_path, "expects nothing");
    }
    Some(Case { name, rules, format, before, given, last_attempt, expect })
}

/// A message: JSON as it stands, or a string that holds the raw body.
fn body(reader: &mut Reader, node: &Node<'_>) -> String {
    match kind(node.json) {
        Kind::String => reader.text(node).unwrap_or_default(),
        _ => node.json.to_owned(),
    }
}

fn expect_of(reader: &mut Reader, table: &mut Table<'_>) -> Expectation {
    let origins: Vec<_> = Origin::ALL.iter().map(|word| word.as_str()).collect();
    let reasons: Vec<_> = DropReason::ALL.iter().map(|word| word.as_str()).collect();
    let parents = ParentStatus::ALL.map(ParentStatus::as_str);
    let rejections: Vec<_> = RejectReason::ALL.iter().map(|word| word.as_str()).collect();
    Expectation {
        outcome: parse_word(reader, table.take("outcome"), &OUTCOMES),
        maps: MAPS.map(|name| map(reader, table.take(name))),
        parent: parse_word(reader, table.take("parent"), &parents),
        origins: words_by_key(reader, table.take("origins"), &origins),
        dropped: words_by_key(reader, table.take("dropped"), &reasons),
        warnings: warnings(reader, table.take("warnings")),
        reason: parse_word(reader, table.take("reason"), &rejections),
        detail: table.take("detail").and_then(|node| reader.text(&node)),
        rules_error: table.take("rulesError").and_then(|node| reader.text(&node)),
        rules_warnings: reader.texts(table.take("rulesWarnings")),
    }
}

fn parse_word(reader: &mut Reader, node: Option<Node<'_>>, words: &[&str]) -> Option<String> {
    let choices: Vec<_> = words.iter().map(|word| (*word, *word)).collect();
    reader.choice(node, &choices).map(str::to_owned)
}

fn map(reader: &mut Reader, node: Option<Node<'_>>) -> Option<String> {
    let node = node?;
    reader.table(&node).map(|_| node.json.to_owned())
}

fn words_by_key(
    reader: &mut Reader,
    node: Option<Node<'_>>,
    words: &[&str],
) -> Vec<(String, String)> {
    let Some(mut table) = node.and_then(|node| reader.table(&node)) else { return Vec::new() };
    let entries = table.take_rest().into_iter();
    entries.filter_map(|(key, node)| Some((key, parse_word(reader, Some(node), words)?))).collect()
}

fn warnings(reader: &mut Reader, node: Option<Node<'_>>) -> Vec<String> {
    let words: Vec<_> = WarningCode::ALL.iter().map(|word| word.as_str()).collect();
    let nodes = reader.elements(node).into_iter();
    nodes.filter_map(|node| parse_word(reader, Some(node), &words)).collect()
}

impl Expectation {
    fn is_empty(&self) -> bool {
        let Expectation {
            outcome,
            maps,
            parent,
            origins,
            dropped,
            warnings,
            reason,
            detail,
            rules_error,
            rules_warnings,
        } = self;
        [outcome, parent, reason, detail, rules_error].iter().all(|word| word.is_none())
            && maps.iter().all(Option::is_none)
            && origins.is_empty()
            && dropped.is_empty()
            && warnings.is_empty()
            && rules_warnings.is_empty()
    }
}
