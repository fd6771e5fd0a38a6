//! The gate against an endpoint that answers as told, under a clock that stands still until it is moved.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::oneshot;

use super::breaker::{FAILURES_TO_OPEN, OPEN};
use super::*;
use crate::domain::Target;

const TIMEOUT: Duration = Duration::from_millis(1500);
const CACHE: Duration = Duration::from_secs(5);

/// What a request comes to.
enum Told {
    State(&'static str),
    Miss(Miss),
    /// Nothing, until the other end sends or is dropped.
    Held(oneshot::Receiver<()>),
    Never,
    Panic,
}

/// Answers the requests in their order; without more to tell, never.
#[derive(Default)]
struct Script {
    told: Mutex<VecDeque<Told>>,
    requests: AtomicUsize,
}

impl Ask for Arc<Script> {
    async fn state(&self, _widget: &str) -> Result<String, Miss> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let told = self.told.lock().expect("no test panics here").pop_front();
        match told.unwrap_or(Told::Never) {
            Told::State(state) => Ok(state.to_owned()),
            Told::Miss(miss) => Err(miss),
            Told::Held(free) => {
                free.await.expect("the test lets it go");
                Ok("offer_callback".to_owned())
            }
            Told::Never => std::future::pending().await,
            Told::Panic => panic!("a fault of our own, as told"),
        }
    }
}

fn flights(told: impl IntoIterator<Item = Told>) -> (Flights<Arc<Script>>, Arc<Script>) {
    let script = Script { told: Mutex::new(told.into_iter().collect()), ..Script::default() };
    let script = Arc::new(script);
    (Flights::new(Arc::clone(&script), TIMEOUT, CACHE), script)
}

async fn verdict(flights: &Flights<Arc<Script>>, widget: &str) -> (Target, GateReason) {
    let verdict = match flights.ask(widget) {
        GateReply::Now(verdict) => verdict,
        GateReply::Later(answer) => answer.await,
    };
    (verdict.routing.target, verdict.why)
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_used_again_while_it_is_fresh() {
    let (flights, script) = flights([Told::State("offer_callback"), Told::State("closed")]);
    assert_eq!(verdict(&flights, "w").await, (Target::Callback, GateReason::Answered));
    tokio::time::advance(CACHE - Duration::from_millis(1)).await;
    assert_eq!(verdict(&flights, "w").await, (Target::Callback, GateReason::Cached));
    assert_eq!(script.requests.load(Ordering::SeqCst), 1);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(verdict(&flights, "w").await, (Target::AgentQueue, GateReason::Answered));
}

#[tokio::test(start_paused = true)]
async fn without_a_cache_each_one_asks() {
    let (mut flights, script) = flights([Told::State("closed"), Told::State("offer_callback")]);
    flights.cache = Duration::ZERO;
    assert_eq!(verdict(&flights, "w").await, (Target::AgentQueue, GateReason::Answered));
    assert_eq!(verdict(&flights, "w").await, (Target::Callback, GateReason::Answered));
    assert_eq!(script.requests.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn one_request_for_each_widget_is_under_way() {
    let (free, held) = oneshot::channel();
    let (flights, script) = flights([Told::Held(held), Told::State("closed")]);
    let waiting: Vec<_> = (0..100).map(|_| flights.ask("w")).collect();
    assert_eq!(verdict(&flights, "other").await, (Target::AgentQueue, GateReason::Answered));
    free.send(()).expect("the request is under way");
    for asked in waiting {
        let GateReply::Later(answer) = asked else { panic!("nothing is known yet") };
        assert_eq!(answer.await.routing.target, Target::Callback);
    }
    assert_eq!(script.requests.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_the_timeout() {
    let (flights, _script) = flights([]);
    let began = Instant::now();
    assert_eq!(verdict(&flights, "w").await, (Target::AgentQueue, GateReason::Timeout));
    assert_eq!(began.elapsed(), TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_request_goes_on_though_nobody_looks_at_it() {
    let (flights, _script) = flights([Told::State("offer_callback")]);
    drop(flights.ask("w"));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(verdict(&flights, "w").await, (Target::Callback, GateReason::Cached));
}

#[tokio::test(start_paused = true)]
async fn a_failing_endpoint_is_skipped_until_a_probe_is_answered() {
    let (flights, script) = flights([]);
    for _ in 0..FAILURES_TO_OPEN {
        assert_eq!(verdict(&flights, "w").await.1, GateReason::Timeout);
    }
    let asked = script.requests.load(Ordering::SeqCst);
    for widget in ["w", "other"] {
        assert_eq!(verdict(&flights, widget).await, (Target::AgentQueue, GateReason::Skipped));
    }
    assert_eq!(script.requests.load(Ordering::SeqCst), asked, "nobody is asked");
    tokio::time::advance(OPEN).await;
    script.told.lock().expect("no test panics here").push_back(Told::State("offer_callback"));
    let probe = flights.ask("w");
    assert_eq!(verdict(&flights, "other").await.1, GateReason::Skipped, "one probe is enough");
    let GateReply::Later(probe) = probe else { panic!("the probe asks") };
    assert_eq!(probe.await.routing.target, Target::Callback);
    script.told.lock().expect("no test panics here").push_back(Told::State("closed"));
    assert_eq!(verdict(&flights, "other").await.1, GateReason::Answered);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_like_others_and_is_not_kept() {
    let (flights, _script) = flights([Told::Panic, Told::State("offer_callback")]);
    assert_eq!(verdict(&flights, "w").await, (Target::AgentQueue, GateReason::Unreachable));
    assert_eq!(verdict(&flights, "w").await, (Target::Callback, GateReason::Answered));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_widget_does_not_speak_against_the_endpoint() {
    let unknown = || Told::Miss(Miss::Status(404));
    let (flights, script) = flights((0..FAILURES_TO_OPEN).map(|_| unknown()));
    for widget in ["a", "b", "c", "d", "e"] {
        assert_eq!(verdict(&flights, widget).await, (Target::AgentQueue, GateReason::Status));
    }
    assert!(!flights.breaker.is_open());
    assert_eq!(verdict(&flights, "a").await, (Target::AgentQueue, GateReason::Cached));
    assert_eq!(script.requests.load(Ordering::SeqCst), 5);
}

#[tokio::test(start_paused = true)]
async fn invented_widgets_make_no_flood() {
    let (flights, script) = flights([]);
    let asked: Vec<_> = (0..FLIGHTS_MAX).map(|n| flights.ask(&n.to_string())).collect();
    assert_eq!(verdict(&flights, "one more").await, (Target::AgentQueue, GateReason::Crowded));
    for asked in asked {
        let GateReply::Later(answer) = asked else { panic!("there was room") };
        assert_eq!(answer.await.why, GateReason::Timeout);
    }
    assert_eq!(script.requests.load(Ordering::SeqCst), FLIGHTS_MAX);
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_bounded() {
    let (flights, _script) = flights((0..=WIDGETS_MAX).map(|_| Told::State("closed")));
    for n in 0..=WIDGETS_MAX {
        assert_eq!(verdict(&flights, &n.to_string()).await.1, GateReason::Answered);
        let kept = flights.by_widget.lock().expect("no test panics here").len();
        assert!(kept <= WIDGETS_MAX);
    }
}
