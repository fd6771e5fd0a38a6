//! Looking for a text in files, whatever kind of file they are.

use std::path::Path;
use std::process::Command;

/// Whether any file below `folder` holds the bytes of `text`. Files may come and go meanwhile, as a
/// running server's do: one that has gone holds nothing.
pub(crate) fn any_holds(folder: &Path, text: &str) -> bool {
    let grep = Command::new("grep").env("LC_ALL", "C").args(["-rqaF", text]).arg(folder).output();
    let output = grep.expect("grep can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => true,
        Some(1) => false,
        Some(2) if said.lines().all(|line| line.ends_with(": No such file or directory")) => false,
        other => panic!("grep fails: {other:?}: {said}"),
    }
}
