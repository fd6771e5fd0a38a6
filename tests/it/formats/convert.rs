//! `throughline convert`, as an operator types it.

use pretty_assertions::assert_eq;
use serde_json::Value;

use super::payloads::payloads;
use crate::support::program::{folder, run, stderr, stdout, write};

#[test]
fn every_payload_becomes_one_canonical_line() {
    let folder = folder();
    let input: Vec<_> = payloads().into_iter().map(|payload| payload.body).collect();
    write(folder.path(), "in.ndjson", &input.join("\n"));
    let output = run(folder.path(), &["convert", "in.ndjson"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let lines = stdout(&output);
    assert_eq!(lines.lines().count(), input.len());
    // What is canonical already stays as it is, to the byte.
    write(folder.path(), "again.ndjson", &lines);
    assert_eq!(stdout(&run(folder.path(), &["convert", "again.ndjson"])), lines);
}

#[test]
fn unconvertible_lines_are_reported_with_number_and_reason() {
    let folder = folder();
    let input = "{\"contact_number\":\"1\"}\n\n{\"secret\":\n[\"secret\"]\n{\"app_id\":\"a\",\"message\":{\"id\":\"m\",\"metadata\":\"secret\"}}\n";
    write(folder.path(), "in.ndjson", input);
    let output = run(folder.path(), &["convert", "in.ndjson"]);
    assert_eq!(output.status.code(), Some(1));
    let types: Vec<Value> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["type"].clone())
        .collect();
    assert_eq!(types, ["interaction.created", "interaction.opened"]);
    let told = stderr(&output);
    for line in
        ["line 3: not_json", "line 4: not_an_interaction", "line 5: warning: metadata_not_a_map"]
    {
        assert!(told.contains(line), "{line} in {told}");
    }
    assert!(!told.contains("secret"), "{told}");
}

#[test]
fn named_format_disables_recognition_of_others() {
    let folder = folder();
    write(folder.path(), "in.ndjson", "{\"user_data\":{\"k\":\"v\"}}\n");
    let output = run(folder.path(), &["convert", "--format", "mindful-scheduler", "in.ndjson"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let line: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(line["interaction"]["userData"]["k"], "v");
    let unknown = run(folder.path(), &["convert", "--format", "fax", "in.ndjson"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", stderr(&unknown));
}
