//! The commands, as an operator types them: what they print, and their exit codes.

mod pipe;

use std::process::Output;

use serde_json::Value;

use crate::support::program::{folder, program, run, stderr, stdout, write};

const PARENT: &str = r#"{"type":"interaction.created","id":"1","interaction":{"id":"P","channel":"webengagement","userData":{"rule":"r"}}}"#;
const CHILD: &str = r#"{"type":"interaction.created","id":"2","interaction":{"id":"C","channel":"chat","parentId":"P","userData":{"plan":"gold"}}}"#;
const RULES: &str = "[copy_user_data]\nvalue = \"rule\"\n[history]\nchat = \"plan\"\n";

fn lines(output: &Output) -> Vec<Value> {
    let text = stdout(output);
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

fn ids(output: &Output) -> Vec<String> {
    lines(output).iter().map(|line| line["cause"]["id"].as_str().expect("an id").into()).collect()
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it was not killed")
}

#[test]
fn no_cell_of_history_is_a_formula_unless_it_is_asked_for() {
    let folder = folder();
    let message = r#"{"type":"interaction.created","id":"1","interaction":{"id":"=1+1","channel":"@chat","tenant":"+2","queue":"=2+2","userData":{"plan":"+1-330-555-0123","=k":"-12.50"}}}"#;
    write(folder.path(), "rules.toml", "[history]\n\"@chat\" = [\"plan\", \"=k\"]\n");
    write(folder.path(), "in.ndjson", message);
    let store = ["--store", "sqlite:kept.db"];
    let history =
        |arguments: &[&str]| run(folder.path(), &[&["history"][..], arguments, &store].concat());
    let piped =
        run(folder.path(), &[&["pipe", "in.ndjson", "--rules", "rules.toml"][..], &store].concat());
    assert_eq!(code(&piped), 0, "{}", stderr(&piped));
    let rows = |output: &Output| -> Vec<Vec<String>> {
        let text = stdout(output);
        let rows = text.lines().skip(1);
        rows.map(|row| {
            let cells: Vec<_> = row.split(',').map(str::to_owned).collect();
            [&cells[..4], &cells[8..]].concat()
        })
        .collect()
    };
    let safe = history(&["--format", "csv"]);
    let common = ["\"'+2\"", "\"'=1+1\"", "\"'@chat\"", "\"'=2+2\""];
    let expected = [["plan", "\"'+1-330-555-0123\""], ["\"'=k\"", "-12.50"]];
    assert_eq!(rows(&safe), expected.map(|pair| [&common[..], &pair].concat()));
    let raw = history(&["--format", "csv", "--raw"]);
    let common = ["+2", "=1+1", "@chat", "=2+2"];
    let expected = [["plan", "+1-330-555-0123"], ["=k", "-12.50"]];
    assert_eq!(rows(&raw), expected.map(|pair| [&common[..], &pair].concat()));
    let usage = history(&["--raw"]);
    assert_eq!(code(&usage), 2);
    assert!(stderr(&usage).contains("--format csv"), "{}", stderr(&usage));
}

#[test]
fn a_message_over_several_lines_is_told_once() {
    let folder = folder();
    let pretty =
        "{\n  \"type\": \"interaction.created\",\n  \"interaction\": {\n  }\n}\n".repeat(2);
    write(folder.path(), "pretty.json", &pretty);
    write(folder.path(), "rules.toml", RULES);
    for command in ["pipe", "explain", "convert"] {
        let output = run(folder.path(), &[command, "pretty.json"]);
        let hints = stderr(&output).matches("one message per line").count();
        assert_eq!(hints, 1, "{command}: {}", stderr(&output));
    }
    write(folder.path(), "lines.ndjson", &format!("{PARENT}\n{CHILD}\n"));
    for command in ["pipe", "explain", "convert"] {
        let output = run(folder.path(), &[command, "lines.ndjson"]);
        assert!(!stderr(&output).contains("one message per line"), "{command}");
    }
}

#[test]
fn a_byte_order_mark_is_passed_over_wherever_a_file_is_read() {
    let folder = folder();
    let marked = |name: &str, text: &str| write(folder.path(), name, &format!("\u{feff}{text}"));
    marked("in.ndjson", &format!("{PARENT}\n\u{feff}{CHILD}\n"));
    marked("rules.toml", RULES);
    marked("rules.json", r#"{"history":{"chat":"plan"}}"#);
    marked("rules", r#"{"history":{"chat":"plan"}}"#);
    marked("settings.toml", "[log]\nlevel = \"warn\"\n");
    marked("url", "sqlite:kept.db\n");
    marked("live-key", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n");
    marked(
        "cases.json",
        r#"{"cases":[{"name":"n","given":"\ufeff{}","expect":{"reason":"not_an_interaction"}}]}"#,
    );
    for rules in ["rules.toml", "rules.json", "rules"] {
        for command in ["pipe", "explain", "convert"] {
            let output = run(
                folder.path(),
                &[command, "in.ndjson", "--rules", rules, "--config", "settings.toml"],
            );
            assert_eq!(code(&output), 0, "{command} {rules}: {}", stderr(&output));
            assert_eq!(stdout(&output).matches("interaction.created").count(), 2, "{command}");
        }
        assert_eq!(code(&run(folder.path(), &["test", "cases.json", "--rules", rules])), 0);
    }
    let output = program(folder.path())
        .args(["check", "--rules", "rules.toml"])
        .env("THROUGHLINE_STORE__URL_FILE", "url")
        .env("THROUGHLINE_STORE__LIVE_KEY_FILE", "live-key")
        .output()
        .expect("it runs");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
}

#[test]
fn what_cannot_be_parsed_names_its_file() {
    let folder = folder();
    write(folder.path(), "cases.toml", "[[cases]]\nname = \"n\"\nexpect.outcome = \"enriched\"\n");
    write(folder.path(), "good.toml", RULES);
    for (name, text) in [
        ("odd.toml", "a = = 1"),
        ("odd.json", "{"),
        ("utf-16.json", "\u{fffe}"),
        ("refused.toml", "[histroy]\nchat = \"plan\"\n"),
        ("live-key", "not base64"),
    ] {
        write(folder.path(), name, text);
        let arguments: &[&[&str]] = match name {
            "live-key" => &[&["check", "--rules", "good.toml"]],
            "refused.toml" => &[&["check", "--rules", name], &["rules", "diff", name, name]],
            _ => &[
                &["check", "--rules", name],
                &["rules", "diff", name, name],
                &["test", name],
                &["check", "--rules", "good.toml", "--config", name],
            ],
        };
        for arguments in arguments {
            let output = program(folder.path())
                .args(*arguments)
                .env("THROUGHLINE_STORE__LIVE_KEY_FILE", "live-key")
                .output()
                .expect("it runs");
            assert_ne!(code(&output), 0, "{arguments:?}");
            assert!(stderr(&output).contains(name), "{arguments:?}: {}", stderr(&output));
        }
    }
}

// ----------------------------------------------------------------------------------------- explain

#[test]
fn explain_says_where_each_pair_comes_from_and_shows_no_value_unasked() {
    let folder = folder();
    write(folder.path(), "rules.toml", RULES);
    write(folder.path(), "in.ndjson", &[PARENT, CHILD].join("\n"));
    let arguments = ["explain", "--rules", "rules.toml", "in.ndjson"];
    let table = stdout(&run(folder.path(), &arguments));
    for expected in ["enriched (channel chat, parent found)", "copied", "received", "6 bytes"] {
        assert!(table.contains(expected), "no {expected:?} in\n{table}");
    }
    assert!(!table.contains("gold"), "{table}");
    let shown = stdout(&run(folder.path(), &[&arguments[..], &["--show-values"]].concat()));
    assert!(shown.contains("\"gold\""), "{shown}");
    let json = run(folder.path(), &[&arguments[..], &["--json"]].concat());
    assert_eq!(lines(&json)[1]["outcome"], "enriched");
    assert_eq!(lines(&json)[1]["origins"]["rule"], "copied");
}

// -------------------------------------------------------------------------------------------- test

#[test]
fn a_wrong_expectation_fails_and_shows_the_difference() {
    let folder = folder();
    let case = |expected: &str| {
        format!(
            r#"{{"cases":[{{"name":"n","given":{CHILD},"last_attempt":true,"expect":{{"userData":{{"plan":{expected}}}}}}}]}}"#
        )
    };
    write(folder.path(), "right.json", &case("\"gold\""));
    write(folder.path(), "wrong.json", &case("1.10"));
    assert_eq!(code(&run(folder.path(), &["test", "right.json"])), 0);
    let wrong = run(folder.path(), &["test", "right.json", "wrong.json"]);
    assert_eq!(code(&wrong), 1);
    let told = stdout(&wrong);
    assert!(told.contains("userData.plan: expected 1.10, found \"gold\""), "{told}");
    assert!(told.contains("1 passed, 1 failed"), "{told}");
}

#[test]
fn a_case_file_in_toml_keeps_its_numbers() {
    let folder = folder();
    let case = "[[cases]]\nname = \"n\"\n[cases.given]\ntype = \"interaction.created\"\n\
                [cases.given.interaction]\nid = \"A\"\nchannel = \"chat\"\nuserData = { f = 1.10 }\n\
                [cases.expect]\nuserData = { f = 1.10 }\n";
    write(folder.path(), "case.toml", case);
    assert_eq!(code(&run(folder.path(), &["test", "case.toml"])), 0);
    write(
        folder.path(),
        "case.toml",
        &case.replace("{ f = 1.10 }\n[cases.exp", "{ f = 1.1 }\n[cases.exp"),
    );
    assert_eq!(code(&run(folder.path(), &["test", "case.toml"])), 1);
}

#[test]
fn a_case_that_expects_nothing_and_an_unknown_key_are_errors() {
    let folder = folder();
    for case in [
        r#"{"cases":[{"name":"n","given":{},"expect":{}}]}"#,
        r#"{"cases":[{"name":"n","given":{}}]}"#,
        r#"{"cases":[{"name":"n","given":{},"expect":{"outcome":"waiting","extra":1}}]}"#,
        r#"{"cases":[{"name":"n","given":{},"expect":{"outcome":"lost"}}]}"#,
        r#"{"cases":[]}"#,
    ] {
        write(folder.path(), "case.json", case);
        assert_eq!(code(&run(folder.path(), &["test", "case.json"])), 64, "{case}");
    }
    assert_eq!(code(&run(folder.path(), &["test", "absent.json"])), 2);
}

// ---------------------------------------------------------------------------- settings and services

#[test]
fn all_settings_problems_are_reported_together() {
    let folder = folder();
    write(folder.path(), "bad.toml", "lanes = 0\n[amqp]\nqueu = \"x\"\n");
    let output = run(folder.path(), &["check", "--config", "bad.toml"]);
    assert_eq!(code(&output), 64);
    let told = stderr(&output);
    assert!(told.contains("lanes") && told.contains("amqp.queu"), "{told}");
}

#[test]
fn all_rules_problems_are_reported_together() {
    let folder = folder();
    let rules = "colour = 1\n[[widget]]\nid = \"w\"\nuser_data_set = \"nope\"\n";
    write(folder.path(), "rules.toml", rules);
    for command in ["check", "pipe", "run", "explain"] {
        let output = run(folder.path(), &[command, "--rules", "rules.toml"]);
        assert_eq!(code(&output), 64, "{command}");
        let told = stderr(&output);
        assert!(told.contains("colour") && told.contains("widget[0].user_data_set"), "{told}");
    }
}

#[test]
fn missing_named_file_is_an_error() {
    let folder = folder();
    for arguments in [["check", "--rules", "absent.toml"], ["check", "--config", "absent.toml"]] {
        let output = run(folder.path(), &arguments);
        assert_eq!(code(&output), 64);
        assert!(stderr(&output).contains("absent.toml"), "{}", stderr(&output));
    }
    let output = run(folder.path(), &["pipe", "absent.ndjson"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("absent.ndjson"), "{}", stderr(&output));
}

#[test]
fn without_rules_nothing_is_saved_and_a_warning_says_so() {
    let folder = folder();
    let output = run(folder.path(), &["check"]);
    assert_eq!(code(&output), 0);
    assert!(stdout(&output).contains("there are no rules"), "{}", stdout(&output));
}

#[test]
fn unreachable_broker_or_store_is_reported_with_its_exit_code_and_no_password() {
    let folder = folder();
    // No server listens on port 1.
    let away = |arguments: &[&str], name: &str, value: &str| {
        let output = program(folder.path()).args(arguments).env(name, value).output();
        let output = output.expect("the program can be run");
        assert_eq!(code(&output), 69, "{arguments:?}: {}", stderr(&output));
        assert!(!stderr(&output).contains("s3cret"), "{}", stderr(&output));
    };
    let broker = "amqp://user:s3cret@127.0.0.1:1/%2f";
    away(&["topology", "declare"], "THROUGHLINE_AMQP__URL", broker);
    away(&["check", "--connect"], "THROUGHLINE_AMQP__URL", broker);
    write(folder.path(), "key", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n");
    let store = "postgres://user:s3cret@127.0.0.1:1/db";
    let key = ["migrate", "--config", "store.toml"];
    write(folder.path(), "store.toml", "[store]\nlive_key_file = \"key\"\n");
    away(&key, "THROUGHLINE_STORE__URL", store);
}

#[test]
fn postgres_without_a_live_key_is_refused() {
    let folder = folder();
    let output = run(folder.path(), &["migrate", "--store", "postgres://127.0.0.1:1/db"]);
    assert_eq!(code(&output), 64);
    assert!(stderr(&output).contains("live_key"), "{}", stderr(&output));
}

#[test]
fn invalid_command_line_is_a_usage_error() {
    let folder = folder();
    for arguments in [&["frobnicate"][..], &["pipe", "--nope"], &[], &["test"]] {
        assert_eq!(code(&run(folder.path(), arguments)), 2, "{arguments:?}");
    }
    for arguments in [&["--help"][..], &["--version"], &["pipe", "--help"]] {
        assert_eq!(code(&run(folder.path(), arguments)), 0, "{arguments:?}");
    }
}

#[test]
fn config_show_masks_secrets_and_says_where_each_value_is_from() {
    let folder = folder();
    let output = program(folder.path())
        .args(["config", "show", "--store", "sqlite:mine.db"])
        .env("THROUGHLINE_AMQP__URL", "amqp://user:s3cret@broker/%2f")
        .env("THROUGHLINE_AMQP__QUEU", "x")
        .output()
        .expect("the program can be run");
    let shown = stdout(&output);
    assert!(!shown.contains("s3cret"), "{shown}");
    for expected in ["THROUGHLINE_AMQP__URL", "sqlite:mine.db", "--store", "default"] {
        assert!(shown.contains(expected), "no {expected:?} in\n{shown}");
    }
    assert!(stderr(&output).contains("THROUGHLINE_AMQP__QUEU"), "{}", stderr(&output));
}

#[test]
fn the_topology_can_be_read_without_a_broker() {
    let folder = folder();
    let shown = stdout(&run(folder.path(), &["topology", "show"]));
    for expected in ["throughline.interactions", "throughline.wait.250ms", "at-least-once"] {
        assert!(shown.contains(expected), "no {expected:?} in\n{shown}");
    }
}

#[test]
fn migrate_brings_the_schema_up_to_date_once() {
    let folder = folder();
    let first = stdout(&run(folder.path(), &["migrate", "--store", "sqlite:a.db"]));
    assert!(first.contains("schema version 0 ->"), "{first}");
    let second = stdout(&run(folder.path(), &["migrate", "--store", "sqlite:a.db"]));
    assert!(second.contains("up to date"), "{second}");
}

#[test]
fn completions_name_the_commands() {
    let folder = folder();
    assert!(stdout(&run(folder.path(), &["completions", "bash"])).contains("explain"));
}

#[test]
fn closed_output_pipe_is_no_failure() {
    let folder = folder();
    let mut child = program(folder.path())
        .args(["topology", "show"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program can be run");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((code(&output), stderr(&output)), (0, String::new()));
}
