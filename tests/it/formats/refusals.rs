//! What is refused, and why.

use throughline::domain::RejectReason;
use throughline::formats::Hints;

use super::payloads::{decode_as, refusal};

#[test]
fn invalid_ids_and_names_are_refused() {
    let long = "x".repeat(256);
    for (shape, names) in [
        (
            r#"{"mediaType":"chat","interactionType":"Inbound",@}"#,
            &["id", "queue", "tenantId", "parentInteractionId"][..],
        ),
        (r#"{"event":"opened","metadata":{},@}"#, &["interactionId", "sessionId", "id"]),
        (r#"{"serviceName":"s","phoneNumber":"1",@}"#, &["cbOriginationIxnId"]),
        (
            r#"{"topicName":"v2.detail.events.conversation.c.customer.start","eventBody":{"mediaType":"VOICE",@}}"#,
            &["conversationId"],
        ),
        (
            r#"{"detail":{"topicName":"v2.detail.events.conversation.c.attributes","eventBody":{@}}}"#,
            &["conversationId"],
        ),
        (r#"{"app_id":"a","message":{@}}"#, &["id", "conversation_id"]),
        (r#"{"app_id":"a","message":{"channel_identity":{@}}}"#, &["channel"]),
        (r#"{"channel_type":"chat","attached_data":{},@}"#, &["id"]),
        (r#"{"channel_type":"chat","attached_data":{},"from_queue":{@}}"#, &["name"]),
        (r#"{"data":{"item":{@},"values":{"KV":[]}}}"#, &["queue"]),
        (r#"{"contact_number":"1",@}"#, &["widget_id"]),
        (r#"{"event":"e","data":{"call":{"id":"1",@}}}"#, &["callTargetId"]),
        (r#"{"data":{"event":"e","call":{"id":"1"},@}}"#, &["id"]),
        (r#"{"data":{"event":"e","call":{"id":"1"}},@}"#, &["id"]),
        (r#"{"contact":{"channel_type":"chat","attached_data":{},@}}"#, &["id"]),
        (r#"{"app_id":"a","conversation_stop_notification":{"conversation":{@}}}"#, &["id"]),
        (
            r#"{"topicName":"v2.detail.events.conversation.c.customer.end","eventBody":{"conversationId":"c",@}}"#,
            &["sessionId"],
        ),
        (r#"{"event":"e","data":{"call":{@}}}"#, &["id"]),
    ] {
        for name in names {
            for value in [
                format!("\"{long}\""),
                r#""a\u0000b""#.into(),
                r#""\ud800""#.into(),
                "true".into(),
                "[]".into(),
                "{}".into(),
            ] {
                let body = shape.replace('@', &format!("\"{name}\":{value}"));
                assert_eq!(refusal(&body), RejectReason::NotAnInteraction, "{name} in {shape}");
            }
            let twice = shape.replace('@', &format!("\"{name}\":\"a\",\"{name}\":\"b\""));
            assert_eq!(refusal(&twice), RejectReason::NotAnInteraction, "{name} twice");
        }
    }
}

#[test]
fn missing_required_vendor_members_are_refused() {
    for body in [
        r#"{"mediaType":"","interactionType":"Inbound","id":"a"}"#,
        r#"{"topicName":"v2.detail.events.conversation.c.customer.start","eventBody":{"conversationId":"c"}}"#,
        r#"{"topicName":"v2.detail.events.conversation.c.attributes","eventBody":{}}"#,
        r#"{"topicName":"v2.detail.events.conversation.c.attributes"}"#,
        r#"{"channel_type":null,"attached_data":{}}"#,
        r#"{"event":"e","data":{"call":{}}}"#,
        r#"{"conversation_start_notification":{}}"#,
        r#"{"conversation_stop_notification":{"conversation":{}}}"#,
        r#"{"data":{"event":"e","call":{}}}"#,
        r#"{"contact":{"channel_type":"","attached_data":{}}}"#,
    ] {
        assert_eq!(refusal(body), RejectReason::NotAnInteraction, "{body}");
    }
}

#[test]
fn a_topic_of_genesys_cloud_that_is_none_of_the_three_is_not_supported() {
    for topic in ["c.agent.start", "c.acd.end", "c", "c.customer.start.more", "customer.start"] {
        let body = format!(
            r#"{{"topicName":"v2.detail.events.conversation.{topic}","eventBody":{{"conversationId":"c"}}}}"#
        );
        assert_eq!(refusal(&body), RejectReason::UnsupportedType, "{topic}");
    }
}

/// Every trigger that the vendor lists, and one that it may add.
#[test]
fn a_trigger_of_sinch_that_is_none_of_the_three_is_not_supported() {
    let triggers = include_str!("../../fixtures/unsupported/sinch-conversation-triggers.ndjson");
    for body in triggers.lines() {
        let refused = decode_as(body, Hints::default()).expect_err("not supported");
        assert_eq!(refused.reason, RejectReason::UnsupportedType, "{body}");
        let json: serde_json::Value = serde_json::from_str(body).expect("JSON");
        let members = json.as_object().expect("an object");
        let named =
            members.keys().any(|name| refused.detail.starts_with(&format!("{name} is none")));
        assert!(named, "{refused}");
    }
    assert_eq!(triggers.lines().count(), 19);
}
