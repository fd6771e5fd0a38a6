//! The Genesys Widgets' events: which id names the interaction, which plugin says the channel, and what
//! becomes of their values.

use pretty_assertions::assert_eq;
use throughline::domain::{Attached, RejectReason};

use super::payloads::{decode, refusal};

#[test]
fn a_widgets_interaction_is_named_by_the_first_of_three_ids() {
    for (ids, expected) in [
        (r#""id":"c","sessionId":"b","interactionId":"a""#, "a"),
        (r#""id":"c","sessionId":"b""#, "b"),
        (r#""id":7,"sessionId":"""#, "7"),
    ] {
        let body = format!(r#"{{"event":"opened","metadata":{{}},{ids}}}"#);
        assert_eq!(decode(&body).message.identity.id, expected);
    }
}

#[test]
fn a_widgets_plugin_says_which_channel() {
    for (event, channel) in [
        ("opened", "webcallback"),
        ("Callback.opened", "webcallback"),
        ("WebChat.opened", "webchat-widget"),
        ("webchat.opened", "webchat-widget"),
        ("cx.WebChat.opened", "webchat-widget"),
        ("Acme.opened", "webcallback"),
    ] {
        let body = format!(r#"{{"event":"{event}","id":"a","metadata":{{}}}}"#);
        assert_eq!(decode(&body).message.facts.channel, channel, "{event}");
    }
    for event in ["Opened", "opened.", "opened.twice", "", ".", "Callbackopened"] {
        let body = format!(r#"{{"event":"{event}","id":"a","metadata":{{}}}}"#);
        assert_eq!(refusal(&body), RejectReason::NotAnInteraction, "{event}");
    }
}

#[test]
fn widget_value_false_is_omitted() {
    let body = r#"{"event":"opened","id":"a","metadata":{"proactive":false,"opened":false,"elapsed":false,"errors":false,"form":false,"started":0,"count":1.50}}"#;
    let decoded = decode(body);
    let [(_, Attached::Pairs(pairs))] = &decoded.message.own[..] else { panic!("{decoded:?}") };
    let flat: Vec<_> =
        pairs.iter().skip(1).map(|(key, value)| format!("{key}={}", value.as_json())).collect();
    // A zero that is one stays one, as it was written.
    assert_eq!(flat, ["callback.started=0", "callback.count=1.50", "callback.state=\"opened\""]);
}
