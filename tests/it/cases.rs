//! Every case file under `tests/cases` passes.

mod workers;

use std::path::{Path, PathBuf};

use throughline::cases::{CaseFile, CaseResult, run};

/// All of them, by name.
fn all_files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let entries = std::fs::read_dir(&folder).expect("the folder of case files");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no case files in {}", folder.display());
    files
}

#[test]
fn all_cases_pass() {
    let mut failed = Vec::new();
    for path in all_files() {
        let file = CaseFile::load(&path).expect("a case file");
        for case in &file.cases {
            if let CaseResult::Failed(lines) = run(&file, case) {
                failed.push(format!("{}: {}\n  {}", path.display(), case.name, lines.join("\n  ")));
            }
        }
    }
    assert!(failed.is_empty(), "{} cases failed:\n{}", failed.len(), failed.join("\n"));
}
