//! `throughline erase`, as a data protection officer runs it, and the results of later messages.

use std::path::Path;
use std::process::Output;

use pretty_assertions::assert_eq;
use tempfile::TempDir;

use crate::support::interactive_process::{run, throughline};

const RULES: &str = "[history]\nchat = ['customer', 'plan']\nwebengagement = 'customer'\n";

/// A folder with rules and a store in which two interactions have something saved.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("rules.toml"), RULES).expect("written");
    let output = pipe(
        folder.path(),
        &[
            message("created", "1", "a", r#""customer":"C-1","plan":"gold","note":"unsaved""#),
            message("created", "1", "b", r#""customer":"C-2""#),
            message("created", "1", "c", r#""customer":"C-1""#),
            message("ended", "2", "c", ""),
        ],
    );
    assert_eq!(output.lines().count(), 4, "{output}");
    folder
}

fn message(what: &str, event: &str, id: &str, pairs: &str) -> String {
    format!(
        r#"{{"type":"interaction.{what}","id":"{event}","interaction":{{"id":"{id}","channel":"chat","userData":{{{pairs}}}}}}}"#
    )
}

/// What `pipe` publishes of these messages.
fn pipe(folder: &Path, messages: &[String]) -> String {
    let command =
        throughline(folder, &["pipe", "--rules", "rules.toml", "--store", "sqlite:store.db"]);
    let output = run(command, &messages.join("\n"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn erase(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let all = [&["erase", "--store", "sqlite:store.db"], arguments].concat();
    run(throughline(folder, &all), input)
}

/// Exit code, and the counts as JSON.
fn counts(output: &Output) -> (i32, serde_json::Value) {
    let json = serde_json::from_slice(&output.stdout).expect("JSON on stdout");
    (output.status.code().expect("it ended by itself"), json)
}

fn history(folder: &Path) -> String {
    let output =
        run(throughline(folder, &["history", "--format", "csv", "--store", "sqlite:store.db"]), "");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn no_later_message_brings_erased_data_back() {
    let folder = folder();
    let folder = folder.path();
    let (code, counts) = counts(&erase(folder, &["a", "--json"], ""));
    assert_eq!((code, &counts["values"], &counts["ended"]), (0, &2.into(), &1.into()));
    let before = history(folder);
    assert!(before.contains("customer,{Anonymized by DPO}"), "{before}");
    let later = [
        message("updated", "3", "a", r#""customer":"C-1""#),
        message("opened", "4", "a", r#""customer":"C-1""#),
        message("created", "5", "a", r#""customer":"C-1""#),
        message("created", "1", "a", r#""customer":"C-1","plan":"gold""#),
    ];
    assert_eq!(pipe(folder, &later), "", "they come after the end");
    assert_eq!(history(folder), before);
    let child = r#"{"type":"interaction.created","interaction":{"id":"d","channel":"chat","parentId":"a"}}"#;
    let child = pipe(folder, &[child.to_owned()]);
    assert!(child.contains(r#""parent":"ended""#), "{child}");
    let end = pipe(folder, &[message("ended", "6", "a", "")]);
    assert!(end.contains("{Anonymized by DPO}") && !end.contains("C-1"), "{end}");
}

#[test]
fn erase_by_value_never_shows_the_value() {
    let folder = folder();
    let folder = folder.path();
    let dry = erase(folder, &["--where", "customer=C-1", "--dry-run", "--json"], "");
    let (code, expected) = counts(&dry);
    assert_eq!(
        (code, &expected),
        (
            0,
            &serde_json::json!({
                "dryRun": true, "found": 2, "erased": 2, "values": 3, "ended": 1, "missing": []
            })
        )
    );
    let output = erase(folder, &["--where-stdin", "customer", "-vv"], "C-1\n");
    let text = String::from_utf8_lossy(&output.stdout);
    let expected = "2 interactions match; 2 erased (3 saved values; 1 of them active, ended), 0 had \
                    nothing left to erase\n";
    assert_eq!((output.status.code(), text.as_ref()), (Some(0), expected));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("C-1"));
    assert!(!history(folder).contains("C-1") && history(folder).contains("C-2"));
    let again = erase(folder, &["--where", "customer=C-1"], "");
    assert_eq!(again.status.code(), Some(1), "nothing matches");
}

#[test]
fn unknown_interactions_are_named() {
    let folder = folder();
    let output = erase(folder.path(), &["a", "unknown", "--tenant", ""], "");
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("throughline: no such interaction: unknown\n"), "{said}");
    assert_eq!(erase(folder.path(), &["unknown"], "").status.code(), Some(1));
    assert_eq!(erase(folder.path(), &["a", "--tenant", "t"], "").status.code(), Some(1));
}

#[test]
fn a_wrong_command_line_is_refused_without_repeating_a_value() {
    let folder = folder();
    for (arguments, input) in [
        (&["--where", "planted"][..], ""),
        (&["--where", "customer="], ""),
        (&["--where", "customer=planted", "a"], ""),
        (&["--where", "customer=planted", "--where-stdin", "customer"], "planted"),
        (&["--where-stdin", "customer"], "\n"),
        (&[], ""),
    ] {
        let output = erase(folder.path(), arguments, input);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = [output.stdout, output.stderr].concat();
        assert!(!String::from_utf8_lossy(&said).contains("planted"), "{arguments:?}");
    }
}
