//! The gate against a scripted endpoint, under a paused clock.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::oneshot;

use super::breaker::{FAILURES_TO_OPEN, OPEN};
use super::*;
use crate::domain::RoutingTarget;

const TIMEOUT: Duration = Duration::from_millis(1500);
const CACHE: Duration = Duration::from_secs(5);

/// The result of a request.
enum ScriptedReply {
    State(&'static str),
    Error(EndpointError),
    /// No result until the other end sends.
    Held(oneshot::Receiver<()>),
    Never,
    Panic,
}

/// Answers the requests in their order; once the script is at its end, never.
#[derive(Default)]
struct Script {
    replies: Mutex<VecDeque<ScriptedReply>>,
    requests: AtomicUsize,
}

impl StatusClient for Arc<Script> {
    async fn fetch_state(&self, _widget: &str) -> Result<String, EndpointError> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let reply = self.replies.lock().expect("no test panics here").pop_front();
        match reply.unwrap_or(ScriptedReply::Never) {
            ScriptedReply::State(state) => Ok(state.to_owned()),
            ScriptedReply::Error(error) => Err(error),
            ScriptedReply::Held(free) => {
                free.await.expect("the test lets it go");
                Ok("offer_callback".to_owned())
            }
            ScriptedReply::Never => std::future::pending().await,
            ScriptedReply::Panic => panic!("a scripted panic"),
        }
    }
}

fn scripted(
    replies: impl IntoIterator<Item = ScriptedReply>,
) -> (InFlightRequests<Arc<Script>>, Arc<Script>) {
    let script = Script { replies: Mutex::new(replies.into_iter().collect()), ..Script::default() };
    let script = Arc::new(script);
    (InFlightRequests::new(Arc::clone(&script), TIMEOUT, CACHE), script)
}

async fn verdict(
    requests: &InFlightRequests<Arc<Script>>,
    widget: &str,
) -> (RoutingTarget, GateReason) {
    let verdict = match requests.ask(widget) {
        GateReply::Now(verdict) => verdict,
        GateReply::Later(answer) => answer.await,
    };
    (verdict.routing.target, verdict.why)
}

#[tokio::test(start_paused = true)]
async fn caches_answer_while_fresh() {
    let (requests, script) =
        scripted([ScriptedReply::State("offer_callback"), ScriptedReply::State("closed")]);
    assert_eq!(verdict(&requests, "w").await, (RoutingTarget::Callback, GateReason::Answered));
    tokio::time::advance(CACHE - Duration::from_millis(1)).await;
    assert_eq!(verdict(&requests, "w").await, (RoutingTarget::Callback, GateReason::Cached));
    assert_eq!(script.requests.load(Ordering::SeqCst), 1);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(verdict(&requests, "w").await, (RoutingTarget::AgentQueue, GateReason::Answered));
}

#[tokio::test(start_paused = true)]
async fn sends_each_request_when_cache_is_off() {
    let (mut requests, script) =
        scripted([ScriptedReply::State("closed"), ScriptedReply::State("offer_callback")]);
    requests.cache = Duration::ZERO;
    assert_eq!(verdict(&requests, "w").await, (RoutingTarget::AgentQueue, GateReason::Answered));
    assert_eq!(verdict(&requests, "w").await, (RoutingTarget::Callback, GateReason::Answered));
    assert_eq!(script.requests.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn concurrent_callers_share_one_request_per_widget() {
    let (free, held) = oneshot::channel();
    let (requests, script) = scripted([ScriptedReply::Held(held), ScriptedReply::State("closed")]);
    let waiting: Vec<_> = (0..100).map(|_| requests.ask("w")).collect();
    assert_eq!(
        verdict(&requests, "other").await,
        (RoutingTarget::AgentQueue, GateReason::Answered)
    );
    free.send(()).expect("the request is under way");
    for asked in waiting {
        let GateReply::Later(answer) = asked else { panic!("nothing is known yet") };
        assert_eq!(answer.await.routing.target, RoutingTarget::Callback);
    }
    assert_eq!(script.requests.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn answers_within_the_timeout() {
    let (requests, _script) = scripted([]);
    let began = Instant::now();
    assert_eq!(verdict(&requests, "w").await, (RoutingTarget::AgentQueue, GateReason::Timeout));
    assert_eq!(began.elapsed(), TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn request_completes_after_its_caller_is_dropped() {
    let (requests, _script) = scripted([ScriptedReply::State("offer_callback")]);
    drop(requests.ask("w"));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(verdict(&requests, "w").await, (RoutingTarget::Callback, GateReason::Cached));
}

#[tokio::test(start_paused = true)]
async fn skips_failing_endpoint_until_a_probe_succeeds() {
    let (requests, script) = scripted([]);
    for _ in 0..FAILURES_TO_OPEN {
        assert_eq!(verdict(&requests, "w").await.1, GateReason::Timeout);
    }
    let asked = script.requests.load(Ordering::SeqCst);
    for widget in ["w", "other"] {
        assert_eq!(
            verdict(&requests, widget).await,
            (RoutingTarget::AgentQueue, GateReason::Skipped)
        );
    }
    assert_eq!(script.requests.load(Ordering::SeqCst), asked, "no request is sent");
    tokio::time::advance(OPEN).await;
    script
        .replies
        .lock()
        .expect("no test panics here")
        .push_back(ScriptedReply::State("offer_callback"));
    let probe = requests.ask("w");
    assert_eq!(verdict(&requests, "other").await.1, GateReason::Skipped, "one probe is enough");
    let GateReply::Later(probe) = probe else { panic!("the probe asks") };
    assert_eq!(probe.await.routing.target, RoutingTarget::Callback);
    script.replies.lock().expect("no test panics here").push_back(ScriptedReply::State("closed"));
    assert_eq!(verdict(&requests, "other").await.1, GateReason::Answered);
}

#[tokio::test(start_paused = true)]
async fn panic_counts_as_failure_and_is_not_cached() {
    let (requests, _script) =
        scripted([ScriptedReply::Panic, ScriptedReply::State("offer_callback")]);
    assert_eq!(verdict(&requests, "w").await, (RoutingTarget::AgentQueue, GateReason::Unreachable));
    assert_eq!(verdict(&requests, "w").await, (RoutingTarget::Callback, GateReason::Answered));
}

#[tokio::test(start_paused = true)]
async fn unknown_widget_does_not_open_the_breaker() {
    let unknown = || ScriptedReply::Error(EndpointError::Status(404));
    let (requests, script) = scripted((0..FAILURES_TO_OPEN).map(|_| unknown()));
    for widget in ["a", "b", "c", "d", "e"] {
        assert_eq!(
            verdict(&requests, widget).await,
            (RoutingTarget::AgentQueue, GateReason::Status)
        );
    }
    assert!(!requests.breaker.is_open());
    assert_eq!(verdict(&requests, "a").await, (RoutingTarget::AgentQueue, GateReason::Cached));
    assert_eq!(script.requests.load(Ordering::SeqCst), 5);
}

#[tokio::test(start_paused = true)]
async fn bounds_concurrent_requests() {
    let (requests, script) = scripted([]);
    let asked: Vec<_> = (0..REQUESTS_MAX).map(|n| requests.ask(&n.to_string())).collect();
    assert_eq!(
        verdict(&requests, "one more").await,
        (RoutingTarget::AgentQueue, GateReason::Crowded)
    );
    for asked in asked {
        let GateReply::Later(answer) = asked else { panic!("there was room") };
        assert_eq!(answer.await.why, GateReason::Timeout);
    }
    assert_eq!(script.requests.load(Ordering::SeqCst), REQUESTS_MAX);
}

#[tokio::test(start_paused = true)]
async fn bounds_cached_answers() {
    let (requests, _script) = scripted((0..=WIDGETS_MAX).map(|_| ScriptedReply::State("closed")));
    for n in 0..=WIDGETS_MAX {
        assert_eq!(verdict(&requests, &n.to_string()).await.1, GateReason::Answered);
        let kept = requests.by_widget.lock().expect("no test panics here").len();
        assert!(kept <= WIDGETS_MAX);
    }
}
