//! The order of a widget's events: the documented paths are silent, everything else is taken with a
//! warning, and nothing is refused.

use pretty_assertions::assert_eq;
use throughline::domain::{Attempt, Rules};
use throughline::pipeline::save::table::InteractionTable;

use super::payloads::{decode, payloads};

/// Plays bodies in order; each comes to its outcome, with `!` where its order is warned about.
fn play(bodies: &[String]) -> Vec<String> {
    let rules = Rules::empty();
    let mut table = InteractionTable::default();
    let decoded: Vec<_> = bodies.iter().map(|body| decode(body)).collect();
    let last = Attempt { last_for_interaction: true, ..Attempt::default() };
    let outcomes = decoded.iter().map(|decoded| {
        let step = table.take(&rules, &decoded.message, last);
        let disorder =
            step.report.warnings().filter(|w| w.code.as_str() == "lifecycle_order").count();
        format!("{}{}", step.outcome.as_str(), "!".repeat(disorder))
    });
    outcomes.collect()
}

/// Events as a widget sends them: each is set in the block from then on, a second after the one
/// before. `plugin` ends in a dot, or is empty.
fn path(plugin: &str, events: &str) -> Vec<String> {
    let mut block = serde_json::Map::new();
    let mut bodies = Vec::new();
    for (n, event) in events.split_whitespace().enumerate() {
        if matches!(event, "opened" | "started" | "cancelled" | "completed" | "closed") {
            block.insert(event.to_owned(), (1_763_716_500_000 + 1000 * n).into());
        }
        let event = format!("{plugin}{event}");
        let body = serde_json::json!({ "event": event, "interactionId": "cb", "metadata": block });
        bodies.push(body.to_string());
    }
    bodies
}

#[test]
fn documented_paths_give_no_warning_and_others_warn() {
    for (events, expected) in [
        ("ready opened cancelled closed", "enriched enriched enriched ended"),
        ("ready opened started cancelled closed", "enriched enriched enriched enriched ended"),
        (
            "ready opened started submitted completed closed",
            "enriched enriched enriched enriched enriched ended",
        ),
        ("opened started", "enriched! enriched"),
        ("ready started opened submitted", "enriched enriched! enriched! enriched!"),
        (
            "ready opened started submitted cancelled",
            "enriched enriched enriched enriched enriched!",
        ),
        ("ready opened completed", "enriched enriched enriched!"),
        ("ready opened closed", "enriched enriched ended!"),
        (
            "ready opened started submitted rejected closed",
            "enriched enriched enriched enriched enriched! ended!",
        ),
        ("closed ready", "ignored enriched"),
        ("ready opened cancelled closed ready", "enriched enriched enriched ended ignored"),
    ] {
        for plugin in ["Callback.", ""] {
            assert_eq!(play(&path(plugin, events)).join(" "), expected, "{plugin} {events}");
        }
    }
}

#[test]
fn web_chat_warns_only_about_timestamps() {
    let chat = path("WebChat.", "opened completed started closed");
    assert_eq!(play(&chat).join(" "), "enriched enriched enriched! ended!");
    let chat = path("WebChat.", "opened submitted started completed closed");
    assert_eq!(play(&chat).join(" "), "enriched enriched enriched enriched ended");
}

#[test]
fn repeated_event_gives_no_order_warning() {
    let mut bodies = path("Callback.", "ready opened started");
    bodies.insert(2, bodies[1].clone());
    assert_eq!(play(&bodies).join(" "), "enriched enriched duplicate enriched");
}

#[test]
fn swapped_events_are_both_accepted() {
    let mut bodies = path("Callback.", "ready opened started submitted");
    bodies.swap(1, 2);
    assert_eq!(play(&bodies).join(" "), "enriched enriched! enriched! enriched!");
}

#[test]
fn decreasing_time_warns_once() {
    let body = |event: &str, block: &str| {
        format!(r#"{{"event":"{event}","interactionId":"cb","metadata":{{{block}}}}}"#)
    };
    for (block, expected) in [
        (r#""opened":1000,"started":1000"#, "enriched"),
        (r#""opened":1000,"started":999"#, "enriched!"),
        (r#""started":999"#, "enriched!"),
        (r#""opened":false,"started":false"#, "enriched"),
        (r#""opened":"yesterday","started":9e99"#, "enriched"),
    ] {
        let bodies =
            [body("ready", ""), body("opened", r#""opened":1000"#), body("started", block)];
        assert_eq!(play(&bodies)[2], expected, "{block}");
    }
}

#[test]
fn the_payloads_of_a_whole_life_are_in_order() {
    let life = payloads().into_iter().filter(|payload| payload.name.starts_with("genesys-widgets"));
    let bodies: Vec<_> = life.map(|payload| payload.body).collect();
    let expected = "enriched enriched enriched enriched enriched ended";
    assert_eq!(play(&bodies).join(" "), expected);
}
