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
    for (name, tool, unit) in
        [("instructions", "callgrind", "Collected :"), ("allocations", "memcheck", "usage:")]
    {
        let counted = counted(program, tool, unit, 10).zip(counted(program, tool, unit, 20));
        if let Some((ten, twenty)) = counted {
            figures.insert(name.to_owned(), (twenty - ten) / 10.0 / BATCH);
        }
    }
    figures
}

/// What a tool of valgrind's counts over so many batches: the number behind `unit` in what it says.
fn counted(program: &str, tool: &str, unit: &str, batches: u32) -> Option<f64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.arg(format!("--tool={tool}"));
    if tool == "callgrind" {
        valgrind.arg("--callgrind-out-file=/dev/null");
    }
    let output = valgrind.arg(program).args(["--count", &batches.to_string()]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let (_, rest) = text.split_once(unit)?;
    let number: String = rest
        .trim_start()
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == ',')
        .filter(char::is_ascii_digit)
        .collect();
    number.parse().ok()
}
