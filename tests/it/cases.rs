//! Every case file under `tests/cases` passes.

use std::path::{Path, PathBuf};

use throughline::cases::{CaseFile, Verdict, run};

fn case_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder of case files");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no case files in {}", folder.display());
    files
}

#[test]
fn all_cases_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut failed = Vec::new();
    for path in case_files(&folder) {
        let file = CaseFile::load(&path).expect("a case file");
        for case in &file.cases {
            if let Verdict::Failed(lines) = run(&file, case) {
                failed.push(format!("{}: {}\n  {}", path.display(), case.name, lines.join("\n  ")));
            }
        }
    }
    assert!(failed.is_empty(), "{} cases failed:\n{}", failed.len(), failed.join("\n"));
}
