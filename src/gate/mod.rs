//! The status gate: asks a widget's *Retrieve Widget Status* endpoint whether a callback may be
//! offered (G1 to G3). The only module that names `reqwest`.
//!
//! | module | what |
//! |---|---|
//! | `settings` | where the endpoint is, and how long it may take |
//! | `endpoint` | one exchange with it |
//! | `breaker` | skips it while it keeps failing |
//!
//! A widget's entry is one *flight*: a request under way that everybody who asks shares, and, once it
//! has landed, its answer for as long as that is fresh. So there is one request for each widget at a
//! time, and no state in which there is neither.
//!
//! Invariants: an answer comes within the timeout; whatever goes wrong is an answer, too
//! (`agent_queue`), so nothing here is an error; flights and answers are bounded in number.

mod breaker;
mod endpoint;
mod settings;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::domain::Routing;
use crate::pipeline::ports::{self, GateReason, GateReply, GateVerdict};
use breaker::{Breaker, Pass};
use endpoint::{Endpoint, Miss};

pub use settings::{BaseUrl, NoBaseUrl, Settings};

/// Requests under way at the same time, at most: whoever invents widgets' ids does not make a flood
/// of requests of them. A contact centre has tens of widgets.
const FLIGHTS_MAX: usize = 64;

/// Widgets whose answers are kept, at most: many more than anybody has, and little memory.
const WIDGETS_MAX: usize = 1024;

/// Why there can be no gate. No text holds the token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file with the token cannot be used.
    #[error("read gate.token_file ({}): {what}", .path.display())]
    TokenFile {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The file with the authorities cannot be used.
    #[error("read gate.ca_file ({}): {what}", .path.display())]
    CaFile {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// TLS cannot be set up.
    #[error("set up the status gate: {0}")]
    Client(String),
}

/// The gate before one endpoint.
pub struct StatusGate(Flights<Endpoint>);

impl StatusGate {
    /// A gate as the settings have it. Reads the files they name; asks nobody yet.
    ///
    /// # Errors
    /// [`Error`] when a file cannot be read or does not hold what it should.
    pub fn open(settings: &Settings) -> Result<StatusGate, Error> {
        let endpoint = Endpoint::open(settings)?;
        Ok(StatusGate(Flights::new(endpoint, settings.timeout, settings.cache)))
    }
}

impl ports::Gate for StatusGate {
    fn ask(&self, widget: &str) -> GateReply {
        self.0.ask(widget)
    }

    fn is_skipping(&self) -> bool {
        self.0.breaker.is_open()
    }
}

/// Who knows a widget's state.
trait Ask: Send + Sync + 'static {
    /// The state as it is answered now.
    fn state(&self, widget: &str) -> impl Future<Output = Result<String, Miss>> + Send;
}

/// Flights by widget.
struct Flights<A> {
    endpoint: Arc<A>,
    breaker: Breaker,
    seats: Arc<Semaphore>,
    by_widget: Mutex<HashMap<String, Flight>>,
    timeout: Duration,
    cache: Duration,
}

/// A request under way, or its answer. Its task ends with it.
type Flight = Shared<BoxFuture<'static, Landed>>;

/// How a flight came to its end.
#[derive(Clone)]
struct Landed {
    verdict: GateVerdict,
    /// Until when the answer may be used again; `None`: it may not.
    fresh_until: Option<Instant>,
}

impl<A: Ask> Flights<A> {
    fn new(endpoint: A, timeout: Duration, cache: Duration) -> Flights<A> {
        Flights {
            endpoint: Arc::new(endpoint),
            breaker: Breaker::default(),
            seats: Arc::new(Semaphore::new(FLIGHTS_MAX)),
            by_widget: Mutex::default(),
            timeout,
            cache,
        }
    }

    fn ask(&self, widget: &str) -> GateReply {
        let now = Instant::now();
        // A panic with it in hand leaves it whole: each change is one call.
        let mut flights = self.by_widget.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(widget) {
            match landed(flight) {
                None => return later(flight.clone()),
                Some(Landed { verdict, fresh_until: Some(until) }) if now < until => {
                    return GateReply::Now(GateVerdict { why: GateReason::Cached, ..verdict });
                }
                Some(_) => {}
            }
        }
        let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() else {
            return GateReply::Now(GateVerdict::without_answer(GateReason::Crowded));
        };
        let Some(pass) = self.breaker.admit(now) else {
            return GateReply::Now(GateVerdict::without_answer(GateReason::Skipped));
        };
        if flights.len() >= WIDGETS_MAX {
            // What is forgotten is asked for again.
            flights.retain(|_, flight| landed(flight).is_none());
        }
        let flight = self.fly(widget.to_owned(), pass, seat);
        flights.insert(widget.to_owned(), flight.clone());
        later(flight)
    }

    /// Sends a request on its way. It is a task of its own, so that it goes on while those who wait
    /// for it do something else.
    fn fly(&self, widget: String, pass: Pass, seat: OwnedSemaphorePermit) -> Flight {
        let (endpoint, timeout, cache) = (Arc::clone(&self.endpoint), self.timeout, self.cache);
        let task = tokio::spawn(async move {
            let state = tokio::time::timeout(timeout, endpoint.state(&widget)).await;
            drop(seat);
            let state = state.unwrap_or(Err(Miss::Late(timeout.as_millis())));
            land(state, &widget, pass, cache)
        });
        AbortOnDropHandle::new(task)
            .map(|joined| {
                // It panicked: its pass has told the breaker, and the panic hook has told its place.
                let verdict = GateVerdict::without_answer(GateReason::Unreachable);
                joined.unwrap_or(Landed { verdict, fresh_until: None })
            })
            .boxed()
            .shared()
    }
}

fn land(state: Result<String, Miss>, widget: &str, pass: Pass, cache: Duration) -> Landed {
    let fresh_until = (!cache.is_zero()).then(|| Instant::now() + cache);
    let miss = match state {
        Ok(state) => {
            pass.answered();
            let verdict =
                GateVerdict { routing: Routing::of_state(state), why: GateReason::Answered };
            return Landed { verdict, fresh_until };
        }
        Err(miss) => miss,
    };
    // No flood: answers about one widget are cached, and the breaker ends the others.
    tracing::warn!(widget, "failed to {miss}; the caller goes to an agent");
    let why = match &miss {
        Miss::Late(_) => GateReason::Timeout,
        Miss::Unreachable(_) => GateReason::Unreachable,
        Miss::Status(_) => GateReason::Status,
        Miss::Unreadable(_) => GateReason::Unreadable,
    };
    let verdict = GateVerdict::without_answer(why);
    if miss.concerns_widget() {
        pass.answered();
        return Landed { verdict, fresh_until };
    }
    Landed { verdict, fresh_until: None }
}

/// How a flight came to its end, if it has.
fn landed(flight: &Flight) -> Option<Landed> {
    flight.clone().now_or_never()
}

fn later(flight: Flight) -> GateReply {
    GateReply::Later(flight.map(|landed| landed.verdict).boxed())
}

#[cfg(test)]
mod tests;
