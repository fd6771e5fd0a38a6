//! How commands end when they receive a signal, when their output is closed, or when their input or
//! store is missing: with the documented exit code, and with no files left behind.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use pretty_assertions::assert_eq;

use crate::support::interactive_process::throughline;
use crate::support::program::{ProcessGuard, folder, run, signal, stderr, stdout, write};

const CREATED: &str = r#"{"type":"interaction.created","id":"1","interaction":{"id":"A","channel":"chat","userData":{"plan":"gold"}}}"#;

/// A device on which every write fails, as on a full disk.
fn full_device() -> Stdio {
    File::options().write(true).open("/dev/full").expect("Linux has it").into()
}

fn exit_code(command: &mut Command) -> Option<i32> {
    command.status().expect("the program can be run").code()
}

/// Sends a signal to a `pipe` that has published a message and waits for more.
fn run_pipe_and_signal(folder: &Path, name: &str) -> ExitStatus {
    let mut pipe = throughline(folder, &["pipe"]);
    let pipe = pipe.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut pipe = ProcessGuard(pipe.spawn().expect("the program can be run"));
    let mut stdin = pipe.0.stdin.take().expect("piped");
    writeln!(stdin, "{CREATED}").expect("it listens");
    let mut stdout = BufReader::new(pipe.0.stdout.take().expect("piped"));
    assert_ne!(stdout.read_line(&mut String::new()).expect("UTF-8"), 0, "it has published");
    assert!(signal(pipe.0.id(), name));
    let status = pipe.0.wait().expect("it can be waited for");
    drop(stdin);
    status
}

#[test]
fn pipe_stopped_by_signal_leaves_no_temporary_files() {
    for signal in ["INT", "TERM", "HUP"] {
        let folder = folder();
        assert_eq!(run_pipe_and_signal(folder.path(), signal).code(), Some(75), "{signal}");
        let left: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").collect();
        assert!(left.is_empty(), "{signal}: {left:?}");
    }
}

#[test]
fn unwritable_stderr_does_not_change_the_exit_code() {
    let folder = folder();
    write(folder.path(), "good.ndjson", CREATED);
    write(folder.path(), "bad.ndjson", "no JSON\n");
    for (arguments, expected) in [
        (&["pipe", "good.ndjson"][..], 0),
        (&["convert", "bad.ndjson"], 1),
        (&["check", "--rules", "missing.toml"], 64),
        (&["pipe", "--no-such-option"], 2),
        (&["pipe", "."], 2),
    ] {
        let mut command = throughline(folder.path(), arguments);
        let code = exit_code(command.stdout(Stdio::null()).stderr(full_device()));
        assert_eq!(code, Some(expected), "{arguments:?}");
    }
}

#[test]
fn failed_output_is_an_error_and_a_closed_pipe_is_not() {
    let folder = folder();
    // More than a pipe holds.
    write(folder.path(), "many.ndjson", &format!("{CREATED}\n").repeat(2_000));
    for arguments in [
        &["convert", "many.ndjson"][..],
        &["explain", "--json", "many.ndjson"],
        &["completions", "bash"],
        &["config", "show"],
    ] {
        let mut command = throughline(folder.path(), arguments);
        let code = exit_code(command.stdout(full_device()).stderr(Stdio::null()));
        assert_eq!(code, Some(70), "{arguments:?}");

        let mut command = throughline(folder.path(), arguments);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program can be run");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it can be waited for");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
        assert!(!stderr(&output).contains("failed"), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn pipe_refuses_dead_letters_over_its_input_file() {
    let folder = folder();
    write(folder.path(), "in.ndjson", "no JSON\n");
    let output = run(folder.path(), &["pipe", "in.ndjson", "--dead-letters", "./in.ndjson"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let input = std::fs::read_to_string(folder.path().join("in.ndjson")).expect("it is there");
    assert_eq!(input, "no JSON\n");
}

/// Customers choose keys and ids, and the operator's terminal interprets control characters.
#[test]
fn tables_hold_no_control_characters() {
    let folder = folder();
    let message = CREATED.replace(r#""plan""#, r#""pl\n2. fake\u001b[31m""#);
    let message = message.replace(r#""id":"A""#, r#""id":"A\u001b[2J""#);
    write(folder.path(), "in.ndjson", &message);
    write(folder.path(), "rules.toml", "[history]\nchat = \"*\"\n");
    let rules_and_store = ["--rules", "rules.toml", "--store", "sqlite:store.db"];
    let piped = run(folder.path(), &[&["pipe", "in.ndjson"], &rules_and_store[..]].concat());
    assert_eq!(piped.status.code(), Some(0), "{}", stderr(&piped));
    for command in [
        &["explain", "--rules", "rules.toml", "in.ndjson"][..],
        &["history", "--store", "sqlite:store.db"],
    ] {
        let shown = stdout(&run(folder.path(), command));
        assert!(shown.contains(r"A\u{1b}[2J"), "{command:?}: {shown}");
        assert!(
            !shown.contains('\u{1b}') && !shown.contains("\n2. fake"),
            "{command:?}: {shown:?}"
        );
    }
}

#[test]
fn toml_errors_do_not_quote_the_line() {
    let folder = folder();
    let case = "[[cases]]\ngiven = '{}'\n[cases.expect]\noutcome = \"planted\" oops\n";
    write(folder.path(), "case.toml", case);
    write(folder.path(), "rules.toml", "[history]\nchat = planted\n");
    for (arguments, line) in
        [(&["test", "case.toml"][..], 4), (&["check", "--rules", "rules.toml"], 2)]
    {
        let output = run(folder.path(), arguments);
        let told = stderr(&output);
        assert!(told.contains(&format!(" at line {line} column ")), "{told}");
        assert!(!told.contains("planted"), "{told}");
    }
}

#[test]
fn read_only_commands_do_not_create_a_store() {
    let folder = folder();
    let store = ["--store", "sqlite:typo.db"];
    let input = write(folder.path(), "one.ndjson", CREATED);
    let input = input.to_str().expect("UTF-8");
    for arguments in [
        &["history"][..],
        &["explain", input],
        &["erase", "A"],
        &["erase", "--dry-run", "A"],
        &["check"],
        // The store is checked first: the broker's address is unusable.
        &["check", "--connect"],
    ] {
        let mut command = throughline(folder.path(), &[arguments, &store[..]].concat());
        let output = command.env("THROUGHLINE_AMQP__URL", "amqp://127.0.0.1:1").output();
        let output = output.expect("the program can be run");
        let told = stderr(&output);
        match arguments[0] {
            "check" => assert!(!told.contains("typo.db"), "it will be made at start: {told}"),
            _ => {
                assert_eq!(output.status.code(), Some(64), "{arguments:?}: {told}");
                assert!(told.contains("there is no file typo.db"), "{arguments:?}: {told}");
            }
        }
        let files = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(files, 1, "{arguments:?}: the input alone");
    }
}

/// A copy of a store without its key: what history says can be looked at, and no key is made up beside it.
#[test]
fn store_without_its_key_can_be_inspected() {
    let folder = folder();
    write(folder.path(), "in.ndjson", CREATED);
    write(folder.path(), "rules.toml", "[history]\nchat = \"plan\"\n");
    let store = ["--store", "sqlite:store.db"];
    let pipe = ["pipe", "in.ndjson", "--rules", "rules.toml"];
    assert!(run(folder.path(), &[&pipe, &store[..]].concat()).status.success());
    let key = folder.path().join("store.db.live-key");
    std::fs::remove_file(&key).expect("it was made beside the store");
    for command in [&["history"][..], &["check"]] {
        let output = run(folder.path(), &[command, &store[..]].concat());
        assert!(output.status.success(), "{command:?}: {}", stderr(&output));
        assert!(!key.exists(), "{command:?}");
    }
}

#[test]
fn check_reports_what_would_stop_a_worker_at_startup() {
    let folder = folder();
    let key = ("STORE__LIVE_KEY", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=");
    for (settings, expected) in [
        (&[("STORE__LIVE_KEY", "planted")][..], "not 32 bytes in base64"),
        (&[("STORE__LIVE_KEY_FILE", "nofile")], "nofile"),
        (&[("STORE__URL", "postgres://h/db")], "store.live_key_file"),
        (&[("STORE__URL", "postgres://u:planted@h/db?foo=bar"), key], "the store's url"),
        (&[("STORE__URL", "postgres://h/db?sslrootcert=nofile"), key], "nofile"),
        (&[("AMQP__URL", "amqp://u:planted@h:99999")], "amqp://u:***@h:99999"),
        (&[("AMQP__CA_FILE", "nofile")], "nofile"),
    ] {
        let with_settings = |arguments: &[&str]| {
            let mut command = throughline(folder.path(), arguments);
            for (name, value) in settings {
                command.env(format!("THROUGHLINE_{name}"), value);
            }
            let output = command.output().expect("the program can be run");
            (output.status.code(), stderr(&output))
        };
        let (code, told) = with_settings(&["check"]);
        assert_eq!(code, Some(64), "{settings:?}: {told}");
        assert!(told.contains(expected) && !told.contains("planted"), "{settings:?}: {told}");
        assert_eq!(with_settings(&["run"]).0, Some(64), "{settings:?}");
    }
}
