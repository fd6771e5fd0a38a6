//! The architecture, checked in the sources: which room may import which, which crates are named where,
//! what no file may contain. Each violation is listed with its file and line.

mod circles;
mod context;
mod source;

use std::fmt::Write as _;

use source::{SourceFile, contains_word, numbered, paths, room_of, source_files};

/// Which rooms a room may import beside itself. The longest matching path counts, so
/// `settings::rules_file` has a row of its own.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("clock", &[]),
    ("retry", &[]),
    ("tls", &[]),
    ("json_schema", &[]),
    ("formats", &["domain", "json_schema"]),
    ("telemetry", &["clock", "domain", "formats", "pipeline"]),
    ("pipeline", &["domain", "formats", "clock", "retry"]),
    ("reload", &["cases", "domain", "pipeline", "settings"]),
    ("cleaner", &["pipeline", "store", "clock", "retry"]),
    ("broker", &["domain", "formats", "pipeline", "json_schema", "clock", "retry", "tls"]),
    ("files", &["domain", "formats", "pipeline", "clock", "retry"]),
    ("store", &["domain", "formats", "pipeline", "clock", "retry", "tls"]),
    ("http", &["domain", "formats", "pipeline", "clock", "retry"]),
    ("gate", &["domain", "pipeline"]),
    ("settings::rules_file", &["domain", "formats", "json_schema"]),
    (
        "settings",
        &[
            "domain",
            "formats",
            "pipeline",
            "broker",
            "files",
            "store",
            "http",
            "gate",
            "telemetry",
            "json_schema",
            "clock",
            "retry",
        ],
    ),
    ("cases", &["domain", "formats", "pipeline", "settings", "json_schema"]),
    (
        "app",
        &[
            "domain",
            "formats",
            "pipeline",
            "broker",
            "files",
            "store",
            "http",
            "gate",
            "settings",
            "telemetry",
            "cases",
            "cleaner",
            "reload",
            "clock",
            "retry",
        ],
    ),
    (
        "cli",
        &[
            "domain",
            "formats",
            "pipeline",
            "broker",
            "files",
            "store",
            "http",
            "gate",
            "settings",
            "telemetry",
            "cases",
            "reload",
            "app",
            "clock",
            "retry",
        ],
    ),
];

/// Words that only one place may contain: a word, the place (the beginning of a path), and why.
const RESERVED: &[(&str, &str, &str)] = &[
    ("lapin", "broker", "only the broker names the AMQP client"),
    ("async_rs", "broker", "only the broker names the AMQP client's runtime"),
    ("sqlx", "store", "only the store names the database client"),
    ("backoff::", "retry.rs", "backoff is unmaintained and stays in one file"),
    ("axum", "http", "only http names the web framework"),
    ("hyper", "http", "only http speaks HTTP, and traces are sent by it"),
    ("prometheus_client", "telemetry", "only telemetry renders metrics"),
    ("reqwest", "gate", "only the gate names the HTTP client"),
    ("SystemTime", "clock.rs", "time is a parameter"),
];

/// Words that the domain may not contain: it is pure.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net",
    "std::io",
    "std::env",
    "std::thread",
    "std::process",
    "std::time",
    "tokio",
    "tracing",
    "async ",
    ".await",
    "println!",
    "getrandom",
];

/// Words that no file may contain outside its tests, and why.
const BANNED: &[(&str, &str)] = &[
    ("#[allow", "use #[expect(…, reason)]"),
    ("#![allow", "use #[expect(…, reason)]"),
    ("todo!", "finish it"),
    ("unimplemented!", "finish it"),
    ("dbg!", "log it, or leave it out"),
    (".unwrap()", "handle it, or say why it cannot happen with expect"),
    ("let _ =", "handle the result"),
    ("unbounded_channel", "every queue is bounded"),
    ("process::exit", "return an exit code to main"),
];

/// Lines of a file, at most; a file that must be longer says so in its head.
const MAX_LINES: usize = 400;
const LONG_BECAUSE: &str = "This file is long because";

#[derive(Default)]
struct Violations(String);

impl Violations {
    fn add(&mut self, file: &SourceFile, line: usize, what: impl std::fmt::Display) {
        writeln!(self.0, "  src/{}:{line}: {what}", file.path).expect("a String takes it");
    }

    fn assert_none(&self) {
        assert!(self.0.is_empty(), "\n{}", self.0);
    }
}

/// Runs a check on every source file, and fails with all that it finds.
fn check_files(check: impl Fn(&SourceFile, &mut Violations)) {
    let mut violations = Violations::default();
    source_files().iter().for_each(|file| check(file, &mut violations));
    violations.assert_none();
}

/// Checks that no file has a forbidden word in its code: a word, and why it is forbidden in this file.
fn check_words(words_of: impl Fn(&SourceFile) -> Vec<(&'static str, &'static str)>) {
    check_files(|file, violations| {
        for (word, why) in words_of(file) {
            for (line, _) in numbered(&file.code).filter(|(_, code)| contains_word(code, word)) {
                violations.add(file, line, format_args!("`{word}`: {why}"));
            }
        }
    });
}

#[test]
fn rooms_import_only_permitted_rooms() {
    check_files(|file, violations| {
        let Some(room) = room_of(&file.path) else { return };
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == room) else {
            let what = format_args!("the table of rooms does not have `{room}`").to_string();
            return violations.add(file, 1, what);
        };
        let own = room.split("::").next().unwrap_or_default();
        for (line, path) in paths(&file.code) {
            let [start, name, ..] = path.as_slice() else { continue };
            if start == "crate" && name != own && !allowed.contains(&name.as_str()) {
                violations.add(file, line, format_args!("`{room}` may not import `{name}`"));
            }
        }
    });
}

#[test]
fn rules_file_does_not_import_other_settings() {
    check_files(|file, violations| {
        if !file.path.starts_with("settings/rules_file/") {
            return;
        }
        for (line, code) in numbered(&file.code) {
            let reaches_out = code.contains("crate::settings::")
                && !code.contains("crate::settings::rules_file")
                || code.contains("super::super::");
            if reaches_out {
                violations.add(file, line, "the rules file does not depend on the settings");
            }
        }
    });
}

#[test]
fn reserved_crates_are_named_in_their_room_only() {
    check_words(|file| {
        let is_reserved = |(word, place, _): &&(&str, &str, &str)| {
            let sends_traces = *word == "hyper" && file.path == "telemetry/traces.rs";
            !file.path.starts_with(place) && !sends_traces
        };
        RESERVED.iter().filter(is_reserved).map(|(word, _, why)| (*word, *why)).collect()
    });
}

#[test]
fn domain_is_pure() {
    let impure = || IMPURE.iter().map(|word| (*word, "the domain is pure")).collect();
    check_words(|file| if file.path.starts_with("domain/") { impure() } else { Vec::new() });
}

#[test]
fn files_have_a_head_and_at_most_400_lines() {
    check_files(|file, violations| {
        if !file.text.starts_with("//!") {
            violations.add(file, 1, "begins without //!");
        }
        let lines = file.text.lines().count();
        let head = file.text.lines().take_while(|line| line.starts_with("//!"));
        let reason = head.collect::<Vec<_>>().join(" ").contains(LONG_BECAUSE);
        if lines > MAX_LINES && !reason {
            let what = format!("has {lines} lines; at most {MAX_LINES}, or say in its head why");
            violations.add(file, MAX_LINES, what);
        }
    });
}

#[test]
fn no_file_is_unfinished_or_silences_a_lint() {
    check_words(|_| BANNED.to_vec());
}
