//! The figures of the pure part: those that `benches/pure.rs` prints, and those that valgrind counts
//! while it runs. All are of one message.

use std::collections::BTreeMap;
use std::process::Command;

/// Messages of a batch of `benches/pure.rs`.
const BATCH: f64 = 200.0;

/// All figures by name: the nanoseconds of `pure`, of `keys/500`, and so on, the allocations of
/// `pure allocations`, and the `instructions`. What needs valgrind is missing where there is none.
pub(crate) fn figures(program: &str) -> BTreeMap<String, f64> {
    let output = Command::new(program).args(["--bench", "--color", "never"]).output();
    let output = output.expect("benches/pure.rs was built");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut figures = read(&String::from_utf8_lossy(&output.stdout));
    assert!(figures.contains_key("pure"), "divan writes its table in another way now");
    if let Some((ten, twenty)) = counted(program, 10).zip(counted(program, 20)) {
        figures.insert("instructions".to_owned(), (twenty - ten) / 10.0 / BATCH);
    }
    figures
}

/// Reads divan's table, whose lines are these (only the first column counts, the fastest batch):
///
/// ```text
/// │  ╰─ keys                  │               │
/// │     ├─ 500  2.518 ms      │ 6.067 ms      │
/// │     │       alloc:        │               │
/// │     │         4000        │ 4000          │
/// ```
fn read(table: &str) -> BTreeMap<String, f64> {
    let mut figures = BTreeMap::new();
    let (mut group, mut name, mut counts) = (String::new(), String::new(), false);
    for line in table.lines() {
        let cell = line.trim_start_matches(['│', '├', '╰', '─', ' ']);
        let cell = cell.split('│').next().unwrap_or_default();
        let words: Vec<_> = cell.split_whitespace().collect();
        match words[..] {
            [named, time, unit] => {
                let time = time.parse::<f64>().ok().zip(unit_ns(unit));
                let Some((time, unit)) = time else { continue };
                // A figure named by a number is one of several of its group.
                let is_argument = named.parse::<u32>().is_ok();
                name = if is_argument { format!("{group}/{named}") } else { named.to_owned() };
                figures.insert(name.clone(), time * unit / BATCH);
            }
            // Growing is asking the allocator, too.
            ["alloc:" | "grow:"] => counts = true,
            [count] if counts => {
                counts = false;
                let count = count.parse().unwrap_or(f64::NAN);
                *figures.entry(format!("{name} allocations")).or_default() += count / BATCH;
            }
            [word] if word.starts_with(char::is_alphabetic) && !word.ends_with(':') => {
                word.clone_into(&mut group);
            }
            _ => {}
        }
    }
    figures
}

/// A unit of divan's, in nanoseconds.
fn unit_ns(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1.0,
        "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return None,
    })
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
