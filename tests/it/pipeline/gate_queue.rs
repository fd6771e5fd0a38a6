//! What waits for the status gate steps aside: order within an interaction, others past it, and what
//! happens when too many wait.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use throughline::domain::{Routing, RoutingTarget};
use throughline::pipeline::gate_policy::{GateOverflow, HELD_MAX};
use throughline::pipeline::ports::{Gate, GateReason, GateReply, GateVerdict};
use tokio::sync::watch;

use super::*;

/// Answers each widget when it is let go, by its name: `offer_callback` for all.
struct ControlledGate {
    release: watch::Receiver<Vec<&'static str>>,
    questions: AtomicUsize,
}

impl Gate for ControlledGate {
    fn ask(&self, widget: &str) -> GateReply {
        self.questions.fetch_add(1, Ordering::SeqCst);
        if widget == "known" {
            return GateReply::Now(verdict());
        }
        let (widget, mut release) = (widget.to_owned(), self.release.clone());
        let answer = async move {
            let free = release.wait_for(|free| free.contains(&widget.as_str())).await;
            free.expect("the test goes on");
            verdict()
        };
        GateReply::Later(answer.boxed())
    }

    fn is_skipping(&self) -> bool {
        false
    }
}

fn verdict() -> GateVerdict {
    GateVerdict {
        routing: Routing::from_state("offer_callback".to_owned()),
        why: GateReason::Answered,
    }
}

type WidgetRelease = watch::Sender<Vec<&'static str>>;

fn gated(when_full: GateOverflow) -> (LaneBench, WidgetRelease, Arc<ControlledGate>) {
    let mut bench = LaneBench::new();
    let (sender, release) = watch::channel(Vec::new());
    let gate = Arc::new(ControlledGate { release, questions: AtomicUsize::new(0) });
    let channels = ["voice".to_owned()].into();
    bench.gating =
        Some(GatePolicy { gate: Arc::clone(&gate) as Arc<dyn Gate>, channels, when_full });
    (bench, sender, gate)
}

/// What the gate decided, on which grounds, how often; what did not occur is left out.
fn decisions(bench: &LaneBench) -> Vec<(RoutingTarget, GateReason, u64)> {
    bench.tally.counts().gated().filter(|(_, _, count)| *count > 0).collect()
}

fn voice_call(name: &'static str, widget: &str) -> TestDelivery {
    let body = format!(
        r#"{{"type":"interaction.created","id":"{name}","interaction":{{"id":"{name}","channel":"voice","widget":"{widget}"}}}}"#
    );
    raw(name, &body)
}

fn later_event(name: &'static str, interaction: &str, kind: &str) -> TestDelivery {
    let body = format!(
        r#"{{"type":"interaction.{kind}","id":"{name}","interaction":{{"id":"{interaction}"}}}}"#
    );
    raw(name, &body)
}

/// Runs, and lets widgets go one after the other, each when a line stands in the journal.
async fn run(
    bench: &mut LaneBench,
    batches: Vec<Vec<TestDelivery>>,
    release: &WidgetRelease,
    steps: &[(&str, &'static str)],
) {
    let journal = bench.journal.clone();
    let stepping = async {
        for (line, widget) in steps {
            while !journal.lines().iter().any(|noted| noted == line) {
                tokio::task::yield_now().await;
            }
            release.send_modify(|free| free.push(widget));
        }
    };
    tokio::join!(bench.run(batches), stepping).0.expect("the input ends");
}

#[tokio::test]
async fn gated_interaction_lets_others_pass_and_settles_after_publish() {
    let (mut bench, release, gate) = gated(GateOverflow::Decide);
    let batches = vec![
        vec![voice_call("v", "w"), created("a"), voice_call("k", "known")],
        vec![later_event("v-update", "v", "updated"), voice_call("v2", "w"), created("b")],
        vec![later_event("v-end", "v", "ended"), created("c")],
    ];
    run(&mut bench, batches, &release, &[("Acknowledge c", "w")]).await;
    let lines = bench.journal.lines();
    let published: Vec<_> = lines.iter().filter(|line| line.starts_with("interaction.")).collect();
    assert_eq!(
        published,
        [
            "interaction.enriched a",
            "interaction.enriched k",
            "interaction.enriched b",
            "interaction.enriched c",
            "interaction.enriched v",
            "interaction.enriched v-update",
            "interaction.ended v-end",
            "interaction.enriched v2",
        ]
    );
    for name in ["v", "v-update", "v2"] {
        let place = |line: String| lines.iter().position(|noted| *noted == line);
        let acknowledged = place(format!("Acknowledge {name}")).expect("it is settled");
        assert!(acknowledged > place(format!("interaction.enriched {name}")).expect("published"));
    }
    assert_eq!(gate.questions.load(Ordering::SeqCst), 2, "one for each widget");
    assert_eq!(decisions(&bench), [(RoutingTarget::Callback, GateReason::Answered, 4)]);
}

#[tokio::test]
async fn an_interaction_that_changes_its_widget_keeps_its_order() {
    let (mut bench, release, _gate) = gated(GateOverflow::Decide);
    let mut again = voice_call("v", "fast");
    again.name = "v-again";
    again.body = again.body.replace(r#""id":"v","interaction""#, r#""id":"v-again","interaction""#);
    let batches =
        vec![vec![voice_call("v", "slow"), again, voice_call("other", "fast"), created("a")]];
    let steps = [("Acknowledge a", "fast"), ("Acknowledge other", "slow")];
    run(&mut bench, batches, &release, &steps).await;
    let lines = bench.journal.lines();
    let published: Vec<_> = lines.iter().filter(|line| line.starts_with("interaction.")).collect();
    let expected = ["a", "other", "v", "v-again"].map(|id| format!("interaction.enriched {id}"));
    assert!(published.into_iter().eq(&expected), "{lines:?}");
}

#[tokio::test]
async fn stopping_lane_publishes_waiting_messages() {
    let (mut bench, release, _gate) = gated(GateOverflow::Decide);
    let stop = CancellationToken::new();
    let journal = bench.journal.clone();
    let stopping = async {
        while !journal.lines().contains(&"Acknowledge a".to_owned()) {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        release.send_modify(|free| free.push("w"));
    };
    let batches = vec![vec![voice_call("v", "w"), created("a")]];
    tokio::join!(bench.run_until(batches, &stop), stopping).0.expect("it drains");
    assert_eq!(bench.journal.lines().last().map(String::as_str), Some("Acknowledge v"));
}

/// One more call than may wait, each an interaction of its own, and an update of the first.
fn overflowing_batches() -> Vec<Vec<TestDelivery>> {
    let name = |n: u16| -> &'static str { Box::leak(format!("v{n}").into_boxed_str()) };
    let calls = (0..=HELD_MAX).map(|n| voice_call(name(n), "w"));
    let mut deliveries: Vec<_> =
        calls.chain([later_event("update", "v0", "updated"), created("a")]).collect();
    let mut batches = Vec::new();
    while !deliveries.is_empty() {
        let rest = deliveries.split_off(deliveries.len().min(100));
        batches.push(std::mem::replace(&mut deliveries, rest));
    }
    batches
}

#[tokio::test]
async fn full_gate_queue_does_not_block_a_stream() {
    let (mut bench, release, _gate) = gated(GateOverflow::Decide);
    run(&mut bench, overflowing_batches(), &release, &[("Acknowledge a", "w")]).await;
    let lines = bench.journal.lines();
    let place = |what: &str| lines.iter().position(|line| line == what).expect(what);
    // The last call does not wait; the first one's update does not either, and does not overtake it.
    assert!(place(&format!("interaction.enriched v{HELD_MAX}")) < place("interaction.enriched a"));
    assert!(place("interaction.enriched v0") < place("interaction.enriched update"));
    assert!(place("interaction.enriched update") < place("interaction.enriched a"));
    let gated = decisions(&bench);
    let waited = u64::from(HELD_MAX) - 1;
    let expected = [
        (RoutingTarget::Callback, GateReason::Answered, waited),
        (RoutingTarget::AgentQueue, GateReason::Crowded, 3),
    ];
    assert_eq!(gated, expected);
}

#[tokio::test]
async fn full_gate_queue_blocks_a_file() {
    let (mut bench, release, _gate) = gated(GateOverflow::Wait);
    let last_taken =
        format!("save {}", (900..1000).map(|n| format!("v{n}")).collect::<Vec<_>>().join(" "));
    let steps = [(last_taken.as_str(), "w")];
    run(&mut bench, overflowing_batches(), &release, &steps).await;
    let all = u64::from(HELD_MAX) + 2;
    assert_eq!(decisions(&bench), [(RoutingTarget::Callback, GateReason::Answered, all)]);
}
