//! Clients of others, in Python: the packages of `tests/clients.txt`, which `scripts/test` installs.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Runs a script of this folder, and gives the objects that it prints, a line each.
pub(crate) async fn run(script: &str, arguments: &[&str]) -> Vec<Value> {
    let python = python();
    let path = format!("{}/tests/it/support/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(&python);
    command.arg(path).args(arguments).stdin(Stdio::null());
    let ran = tokio::task::spawn_blocking(move || command.output()).await;
    let ran = ran.expect("it does not panic").unwrap_or_else(|error| {
        panic!("{}: {error}; `scripts/test` installs tests/clients.txt there", python.display())
    });
    let told = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{script} failed; it needs tests/clients.txt: {told}");
    let text = String::from_utf8(ran.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

/// The Python of the folder that `scripts/test` makes.
fn python() -> PathBuf {
    let folder = std::env::var_os("THROUGHLINE_TEST_CLIENTS").map(PathBuf::from).or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
        Some(cache?.join("throughline/clients"))
    });
    let folder = folder.expect("HOME, or THROUGHLINE_TEST_CLIENTS, names where clients are");
    folder.join("bin/python")
}
