//! The command `pipe`: what becomes of its lines, and its exit codes.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use super::{CHILD, PARENT, RULES, code, ids, lines};
use crate::support::program::{folder, run, stderr, stdout, write};

fn pipe(folder: &Path, input: &str, arguments: &[&str]) -> Output {
    write(folder, "rules.toml", RULES);
    write(folder, "in.ndjson", input);
    run(folder, &[&["pipe", "--rules", "rules.toml", "in.ndjson"], arguments].concat())
}

#[test]
fn pipe_retries_a_child_when_its_parent_arrives() {
    let folder = folder();
    let output = pipe(folder.path(), &[CHILD, PARENT].join("\n"), &[]);
    assert_eq!((code(&output), ids(&output)), (0, vec!["1".to_owned(), "2".to_owned()]));
    assert_eq!(lines(&output)[1]["interaction"]["userData"]["rule"], "r");
    assert!(stderr(&output).contains("2 messages in"), "{}", stderr(&output));
}

#[test]
fn pipe_retries_a_child_before_its_parent_ends() {
    let folder = folder();
    let end = r#"{"type":"interaction.ended","id":"9","interaction":{"id":"P"}}"#;
    let update =
        r#"{"type":"interaction.updated","id":"3","interaction":{"id":"C","userData":{"u":1}}}"#;
    let output = pipe(folder.path(), &[update, CHILD, PARENT, end].join("\n"), &[]);
    assert_eq!(ids(&output), ["1", "2", "3", "9"], "parent, child, the child's update, end");
    let data = lines(&output)[2]["interaction"]["userData"].clone();
    assert_eq!(data, serde_json::json!({ "plan": "gold", "u": 1, "rule": "r" }));
}

#[test]
fn pipe_decides_waiting_messages_at_end_of_input() {
    let folder = folder();
    let grandchild = CHILD.replace(r#""C""#, r#""G""#).replace(r#""P""#, r#""C""#);
    let grandchild = grandchild.replace(r#""id":"2""#, r#""id":"3""#);
    let output = pipe(folder.path(), &[&grandchild, CHILD].join("\n"), &[]);
    assert_eq!(ids(&output), ["2", "3"], "a child before its own child");
    let parents: Vec<_> = lines(&output).iter().map(|line| line["parent"].clone()).collect();
    assert_eq!(parents, ["unknown", "found"]);
}

#[test]
fn pipe_dead_letters_bad_lines_and_continues() {
    let folder = folder();
    let bad = [r#"{"type":"#, "[1,2]", "\u{feff}{}"];
    let input =
        format!("{}\n{}\n\n{}\n{PARENT}\n{}\n", bad[0], bad[1], bad[2], "[".repeat(100_000));
    let output = pipe(folder.path(), &input, &["--dead-letters", "dead.ndjson"]);
    assert_eq!((code(&output), ids(&output)), (0, vec!["1".to_owned()]));
    let letters = std::fs::read_to_string(folder.path().join("dead.ndjson")).expect("dead letters");
    let letters: Vec<Value> =
        letters.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let told: Vec<_> = letters
        .iter()
        .map(|letter| {
            let headers = &letter["headers"];
            (
                headers["x-throughline-line"].as_u64(),
                headers["x-throughline-reason"].as_str(),
                headers["x-throughline-detail"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (Some(1), Some("not_json"), Some("the body is not JSON at line 1, column 8"),),
            (Some(2), Some("not_an_interaction"), Some("the body is an array, no object")),
            (
                Some(4),
                Some("not_an_interaction"),
                Some("the shape is that of no known format: it has no members, not even type"),
            ),
            (Some(6), Some("not_json"), Some("the body is nested deeper than 128 levels")),
        ]
    );
    let logged = stderr(&output);
    for (_, _, detail) in told {
        let detail = detail.expect("each letter has a detail");
        assert!(logged.contains(&format!("detail={detail:?}")), "{detail} in {logged}");
    }
    assert_eq!(letters[0]["body"], bad[0], "as it was received");
    let strict = pipe(folder.path(), &input, &["--strict"]);
    assert_eq!(code(&strict), 1);
}

#[test]
fn pipe_keeps_existing_rows_of_a_named_store() {
    let folder = folder();
    let store = ["--store", "sqlite:kept.db"];
    assert_eq!(ids(&pipe(folder.path(), PARENT, &store)), ["1"]);
    let child = pipe(folder.path(), CHILD, &store);
    assert_eq!(lines(&child)[0]["parent"], "found");
    let history =
        run(folder.path(), &["history", "C", "--format", "csv", "--store", "sqlite:kept.db"]);
    let csv = stdout(&history);
    let fields: Vec<_> = csv.lines().nth(1).expect("a row").split(',').collect();
    assert_eq!((fields[1], fields[2], fields[8], fields[9]), ("C", "chat", "plan", "gold"));
    let unknown = run(folder.path(), &["history", "unknown", "--store", "sqlite:kept.db"]);
    assert_eq!(code(&unknown), 1);
}
