//! The house rules of the source, read from the source: who may import whom, which crates are named
//! where, what no file may hold. Each violation is listed with its file and line.
//!
//! Rooms that are not built yet are known already, so that their first file finds its rules here.

mod context;
mod source;

use std::fmt::Write as _;

use source::{SourceFile, crate_paths, numbered, room_of, says, source_files};

/// Which rooms a room may import, itself aside. The most special path counts, so
/// `settings::rules_file` has a row of its own.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("clock", &[]),
    ("retry", &[]),
    ("shutdown", &[]),
    ("json_schema", &[]),
    ("formats", &["domain", "json_schema"]),
    ("telemetry", &["clock", "domain", "formats", "pipeline"]),
    ("pipeline", &["domain", "formats", "clock", "retry"]),
    ("reload", &["cases", "domain", "pipeline", "settings"]),
    ("cleaner", &["pipeline", "store", "clock", "retry"]),
    ("broker", &["domain", "formats", "pipeline", "json_schema", "clock", "retry", "shutdown"]),
    ("files", &["domain", "formats", "pipeline", "clock", "retry", "shutdown"]),
    ("store", &["domain", "formats", "pipeline", "clock", "retry", "shutdown"]),
    ("http", &["domain", "formats", "pipeline", "clock", "retry", "shutdown"]),
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
            "shutdown",
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
            "shutdown",
        ],
    ),
];

/// Words that only one place may say: a word, where (the beginning of a path), and why.
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

/// What the domain may not say: it is pure.
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

/// What no file may hold outside its tests, and why.
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

/// Above this a file is hard to hold in mind; one that must be longer says so in its head.
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

#[test]
fn rooms_import_only_what_they_may() {
    let mut violations = Violations::default();
    for file in source_files() {
        let Some(room) = room_of(&file.path) else { continue };
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == room) else {
            violations.add(&file, 1, format_args!("the table of rooms does not know `{room}`"));
            continue;
        };
        let own = room.split("::").next().unwrap_or_default();
        for (line, name) in crate_paths(&file.code) {
            if name != own && !allowed.contains(&name.as_str()) {
                violations.add(&file, line, format_args!("`{room}` may not import `{name}`"));
            }
        }
    }
    violations.assert_none();
}

#[test]
fn rules_are_read_without_the_rest_of_the_settings() {
    let mut violations = Violations::default();
    for file in source_files().iter().filter(|file| file.path.starts_with("settings/rules_file/")) {
        for (line, code) in numbered(&file.code) {
            let reaches_out = code.contains("crate::settings::")
                && !code.contains("crate::settings::rules_file")
                || code.contains("super::super::");
            if reaches_out {
                violations.add(file, line, "the rules file knows nothing of the settings");
            }
        }
    }
    violations.assert_none();
}

#[test]
fn reserved_crates_are_named_in_their_place_only() {
    let mut violations = Violations::default();
    for file in source_files() {
        for (word, place, why) in RESERVED {
            let sends_traces = *word == "hyper" && file.path == "telemetry/traces.rs";
            if file.path.starts_with(place) || sends_traces {
                continue;
            }
            for (line, _) in numbered(&file.code).filter(|(_, code)| says(code, word)) {
                violations.add(&file, line, format_args!("`{word}`: {why}"));
            }
        }
    }
    violations.assert_none();
}

#[test]
fn the_domain_is_pure() {
    let mut violations = Violations::default();
    for file in source_files().iter().filter(|file| file.path.starts_with("domain/")) {
        for word in IMPURE {
            for (line, _) in numbered(&file.code).filter(|(_, code)| says(code, word)) {
                violations.add(file, line, format_args!("`{word}` in the domain"));
            }
        }
    }
    violations.assert_none();
}

#[test]
fn every_file_says_what_it_is_for_and_is_no_longer_than_it_must() {
    let mut violations = Violations::default();
    for file in source_files() {
        if !file.text.starts_with("//!") {
            violations.add(&file, 1, "begins without //!");
        }
        let lines = file.text.lines().count();
        let head = file.text.lines().take_while(|line| line.starts_with("//!"));
        let reason = head.collect::<Vec<_>>().join(" ").contains(LONG_BECAUSE);
        if lines > MAX_LINES && !reason {
            let what = format!("has {lines} lines; at most {MAX_LINES}, or say in its head why");
            violations.add(&file, MAX_LINES, what);
        }
    }
    violations.assert_none();
}

#[test]
fn nothing_unfinished_or_silenced_is_left() {
    let mut violations = Violations::default();
    for file in source_files() {
        for (word, why) in BANNED {
            for (line, _) in numbered(&file.code).filter(|(_, code)| says(code, word)) {
                violations.add(&file, line, format_args!("`{word}`: {why}"));
            }
        }
    }
    violations.assert_none();
}
