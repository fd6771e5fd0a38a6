//! The fuzzers' corpus, replayed: every input that once led somewhere new, or broke something. The
//! laws are beside it, one file for each target; `scripts/fuzz` searches on from here.

mod live_data;
pub(crate) mod messages;
mod rules;
mod settings;

use std::path::Path;

/// Tries the laws of a target on each file of its corpus.
fn replay(target: &str, hold_for: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fuzz").join(target);
    let mut inputs = 0;
    for file in std::fs::read_dir(folder).expect("the target has a corpus") {
        let path = file.expect("it can be listed").path();
        let input = std::fs::read(&path).expect("it can be read");
        let held = std::panic::catch_unwind(|| hold_for(&input));
        assert!(held.is_ok(), "{} breaks a law, see above", path.display());
        inputs += 1;
    }
    assert!(inputs > 0, "an empty corpus shows nothing");
}

#[test]
fn the_laws_hold_for_all_messages_of_the_corpus() {
    replay("messages", messages::hold_for);
}

#[test]
fn the_laws_hold_for_all_rules_of_the_corpus() {
    replay("rules", rules::hold_for);
}

#[test]
fn the_laws_hold_for_all_settings_of_the_corpus() {
    replay("settings", settings::hold_for);
}

#[test]
fn the_laws_hold_for_all_live_data_of_the_corpus() {
    replay("live_data", live_data::hold_for);
}
