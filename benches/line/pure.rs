//! The figures of the pure part: those that `benches/pure.rs` prints, and those that valgrind counts
//! while it runs.

use std::collections::BTreeMap;
use std::process::Command;

/// Messages of a batch of `benches/pure.rs`.
const BATCH: f64 = 200.0;

/// All figures by name. What needs valgrind is missing where there is none.
pub(crate) fn figures(program: &str) -> BTreeMap<String, f64> {
    let output = Command::new(program).arg("--bench").output().expect("benches/pure.rs was built");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let figure = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    let mut figures: BTreeMap<_, _> = text.lines().filter_map(figure).collect();
    if let Some((ten, twenty)) = counted(program, 10).zip(counted(program, 20)) {
        figures.insert("instructions".to_owned(), (twenty - ten) / 10.0 / BATCH);
    }
    figures
}

/// The instructions of so many batches, as callgrind counts them.
fn counted(program: &str, batches: u32) -> Option<f64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", program]);
    let output = valgrind.args(["--count", &batches.to_string()]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let (_, rest) = text.split_once("Collected :")?;
    let number: String = rest
        .trim_start()
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == ',')
        .filter(char::is_ascii_digit)
        .collect();
    number.parse().ok()
}
