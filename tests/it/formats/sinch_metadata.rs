//! Sinch's metadata: strings that should hold JSON, and may hold anything.

use pretty_assertions::assert_eq;

use super::describe;
use super::payloads::{decode, pairs};

#[test]
fn the_start_of_a_sinch_conversation_has_its_metadata_as_text_or_as_an_object() {
    let start = |members: &str| {
        format!(
            r#"{{"app_id":"a","conversation_start_notification":{{"conversation":{{"id":"c-1","active_channel":"MESSENGER",{members}}}}}}}"#
        )
    };
    for (members, expected) in [
        (r#""metadata":"{\"k\":1.10}""#, Some("k=1.10")),
        (r#""metadata":"{\"k\":1}","metadata_json":{"k":2}"#, Some("k=2")),
        (r#""metadata":"","metadata_json":{"k":2}"#, Some("k=2")),
        (r#""metadata":"{\"k\":1}","metadata_json":null"#, Some("k=1")),
        (r#""metadata":"{\"k\":1}","metadata_json":"""#, Some("k=1")),
        (r#""metadata":"12345""#, None),
    ] {
        let body = start(members);
        let decoded = decode(&body);
        assert_eq!(describe(&decoded), "interaction.opened c-1 channel=messenger");
        assert_eq!(pairs(&decoded).first().map(String::as_str), expected, "{members}");
        assert_eq!(decoded.message.warnings.is_empty(), expected.is_some(), "{members}");
        let (_, upstream) = &decoded.carried[0];
        assert!(!upstream.as_json().contains("metadata"), "{members}");
    }
}

#[test]
fn metadata_that_is_no_map_is_a_warning_and_never_a_failure() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for metadata in [
        r#""order_confirmation_12345""#.to_owned(),
        r#""[1]""#.to_owned(),
        r#""null""#.to_owned(),
        r#""{\"k\":1""#.to_owned(),
        r#""{\"k\":\"\ud800\"}""#.to_owned(),
        r#""{\"k\":\"a\nb\"}""#.to_owned(),
        format!("\"{{\\\"k\\\":{deep}}}\""),
        "17".to_owned(),
        "[]".to_owned(),
    ] {
        let body = format!(r#"{{"app_id":"a","message":{{"id":"m","metadata":{metadata}}}}}"#);
        let decoded = decode(&body);
        let codes: Vec<_> = decoded.message.warnings.iter().map(|w| w.code.as_str()).collect();
        assert_eq!(codes, ["metadata_not_a_map"], "{metadata}");
        assert!(decoded.message.own.is_empty(), "{metadata}");
    }
    for none in [
        r#"{"app_id":"a","message":{"id":"m"}}"#,
        r#"{"app_id":"a","message":{"id":"m","metadata":null}}"#,
        r#"{"app_id":"a","message":{"id":"m","metadata":""},"message_metadata":""}"#,
    ] {
        assert!(decode(none).message.warnings.is_empty(), "{none}");
    }
}

#[test]
fn line_breaks_inside_packed_metadata_do_not_break_what_is_published() {
    let body = r#"{"app_id":"a","message":{"id":"m","metadata":"{\r\n \"k\": {\n\"a\":\n1}}"}}"#;
    assert_eq!(pairs(&decode(body)), [r#"k={ "a": 1}"#]);
}
