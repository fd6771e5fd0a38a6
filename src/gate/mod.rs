//! The status gate: asks a widget's *Retrieve Widget Status* endpoint whether a callback may be
//! offered (G1 to G3). The only module that names `reqwest`.
//!
//! | module | what |
//! |---|---|
//! | `settings` | where the endpoint is, and how long it may take |
//! | `endpoint` | one exchange with it |
//! | `breaker` | skips it while it keeps failing |
//!
//! A widget has one entry: a request in flight, shared by all lanes that ask for the widget, and, once
//! completed, its answer for as long as the answer is fresh. So there is one request for each widget at a
//! time, and no state in which there is neither.
//!
//! Invariants: an answer comes within the timeout; every failure is an answer, too (`agent_queue`),
//! so nothing here returns an error; requests and cached answers are bounded in number.

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
use breaker::{Breaker, ProbePermit};
use endpoint::{Endpoint, EndpointError};

pub use settings::{BaseUrl, BaseUrlError, Settings};

/// Requests under way at the same time, at most: a sender that invents widget ids does not cause a
/// flood of requests. A contact centre has tens of widgets.
const REQUESTS_MAX: usize = 64;

/// Widgets whose answers are kept, at most: many more than a contact centre has, and little memory.
const WIDGETS_MAX: usize = 1024;

/// Why there can be no gate. No text holds the token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file with the token cannot be used.
    #[error("read gate.token_file ({}): {what}", .path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// The problem.
        what: String,
    },
    /// The file with the authorities cannot be used.
    #[error("read gate.ca_file ({}): {what}", .path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// The problem.
        what: String,
    },
    /// TLS cannot be set up.
    #[error("set up the status gate: {0}")]
    Client(String),
}

/// The gate before one endpoint.
pub struct StatusGate(InFlightRequests<Endpoint>);

impl StatusGate {
    /// A gate as the settings have it. Reads the files they name; sends no request yet.
    ///
    /// # Errors
    /// [`Error`] when a file cannot be read or does not hold what it should.
    pub fn open(settings: &Settings) -> Result<StatusGate, Error> {
        let endpoint = Endpoint::open(settings)?;
        Ok(StatusGate(InFlightRequests::new(endpoint, settings.timeout, settings.cache)))
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

/// A source of widget states.
trait StatusClient: Send + Sync + 'static {
    /// Requests the widget's current state.
    fn fetch_state(
        &self,
        widget: &str,
    ) -> impl Future<Output = Result<String, EndpointError>> + Send;
}

/// The requests in flight and the cached answers, by widget.
struct InFlightRequests<A> {
    endpoint: Arc<A>,
    breaker: Breaker,
    permits: Arc<Semaphore>,
    by_widget: Mutex<HashMap<String, InFlightRequest>>,
    timeout: Duration,
    cache: Duration,
}

/// A request in flight, or its answer. Dropping it aborts its task.
type InFlightRequest = Shared<BoxFuture<'static, CompletedRequest>>;

/// The result of a request.
#[derive(Clone)]
struct CompletedRequest {
    verdict: GateVerdict,
    /// Until when the answer may be used again; `None`: it may not.
    fresh_until: Option<Instant>,
}

impl<A: StatusClient> InFlightRequests<A> {
    fn new(endpoint: A, timeout: Duration, cache: Duration) -> InFlightRequests<A> {
        InFlightRequests {
            endpoint: Arc::new(endpoint),
            breaker: Breaker::default(),
            permits: Arc::new(Semaphore::new(REQUESTS_MAX)),
            by_widget: Mutex::default(),
            timeout,
            cache,
        }
    }

    fn ask(&self, widget: &str) -> GateReply {
        let now = Instant::now();
        // A panic while it is locked leaves it consistent: each change is one call.
        let mut requests = self.by_widget.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(request) = requests.get(widget) {
            match completed(request) {
                None => return reply_later(request.clone()),
                Some(CompletedRequest { verdict, fresh_until: Some(until) }) if now < until => {
                    return GateReply::Now(GateVerdict { why: GateReason::Cached, ..verdict });
                }
                Some(_) => {}
            }
        }
        let Ok(slot) = Arc::clone(&self.permits).try_acquire_owned() else {
            return GateReply::Now(GateVerdict::without_answer(GateReason::Crowded));
        };
        let Some(permit) = self.breaker.admit(now) else {
            return GateReply::Now(GateVerdict::without_answer(GateReason::Skipped));
        };
        if requests.len() >= WIDGETS_MAX {
            // A widget that is evicted here is requested again.
            requests.retain(|_, request| completed(request).is_none());
        }
        let request = self.start(widget.to_owned(), permit, slot);
        requests.insert(widget.to_owned(), request.clone());
        reply_later(request)
    }

    /// Starts a request in a task of its own, so that it proceeds while the lanes that wait for it do
    /// something else.
    fn start(
        &self,
        widget: String,
        permit: ProbePermit,
        slot: OwnedSemaphorePermit,
    ) -> InFlightRequest {
        let (endpoint, timeout, cache) = (Arc::clone(&self.endpoint), self.timeout, self.cache);
        let task = tokio::spawn(async move {
            let state = tokio::time::timeout(timeout, endpoint.fetch_state(&widget)).await;
            drop(slot);
            let state = state.unwrap_or(Err(EndpointError::Timeout(timeout.as_millis())));
            complete(state, &widget, permit, cache)
        });
        AbortOnDropHandle::new(task)
            .map(|joined| {
                // It panicked: dropping its permit has informed the breaker, and the panic hook has logged
                // the place.
                let verdict = GateVerdict::without_answer(GateReason::Unreachable);
                joined.unwrap_or(CompletedRequest { verdict, fresh_until: None })
            })
            .boxed()
            .shared()
    }
}

fn complete(
    state: Result<String, EndpointError>,
    widget: &str,
    permit: ProbePermit,
    cache: Duration,
) -> CompletedRequest {
    let fresh_until = (!cache.is_zero()).then(|| Instant::now() + cache);
    let error = match state {
        Ok(state) => {
            permit.answered();
            let verdict =
                GateVerdict { routing: Routing::from_state(state), why: GateReason::Answered };
            return CompletedRequest { verdict, fresh_until };
        }
        Err(error) => error,
    };
    // The log is not flooded: answers about one widget are cached, and the breaker stops the others.
    tracing::warn!(widget, "failed to {error}; the caller goes to an agent");
    let why = match &error {
        EndpointError::Timeout(_) => GateReason::Timeout,
        EndpointError::Unreachable(_) => GateReason::Unreachable,
        EndpointError::Status(_) => GateReason::Status,
        EndpointError::Unreadable(_) => GateReason::Unreadable,
    };
    let verdict = GateVerdict::without_answer(why);
    if error.concerns_widget() {
        permit.answered();
        return CompletedRequest { verdict, fresh_until };
    }
    CompletedRequest { verdict, fresh_until: None }
}

/// The result of a request, if it has completed.
fn completed(request: &InFlightRequest) -> Option<CompletedRequest> {
    request.clone().now_or_never()
}

fn reply_later(request: InFlightRequest) -> GateReply {
    GateReply::Later(request.map(|completed| completed.verdict).boxed())
}

#[cfg(test)]
mod tests;
