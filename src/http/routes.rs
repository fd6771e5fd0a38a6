//! From a route to an answer. `http` has the table.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use axum::routing::get;
use serde::Serialize;

use super::Observed;

type Worker = State<Arc<dyn Observed>>;
type Answer = (StatusCode, [(HeaderName, &'static str); 1], String);

/// All routes, about this worker. They read and nothing else: every other method is refused.
pub(super) fn routes(observed: Arc<dyn Observed>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route("/version", get(version))
        .with_state(observed)
}

async fn livez(State(worker): Worker) -> Answer {
    let liveness = worker.liveness();
    json(liveness.dead.is_empty(), &liveness)
}

async fn readyz(State(worker): Worker) -> Answer {
    let readiness = worker.readiness();
    json(readiness.missing.is_empty(), &readiness)
}

async fn metrics(State(worker): Worker) -> Answer {
    match worker.metrics() {
        Ok((media_type, text)) => (StatusCode::OK, [(CONTENT_TYPE, media_type)], text),
        Err(_) => failed(),
    }
}

async fn status(State(worker): Worker) -> Answer {
    json(true, &worker.status())
}

async fn version(State(worker): Worker) -> Answer {
    json(true, &worker.version())
}

fn json(is_well: bool, what: &impl Serialize) -> Answer {
    let status = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match serde_json::to_string(what) {
        Ok(text) => (status, [(CONTENT_TYPE, "application/json")], text + "\n"),
        Err(_) => failed(),
    }
}

/// What cannot be written down.
fn failed() -> Answer {
    let text = "failed to write the answer\n".to_owned();
    (StatusCode::INTERNAL_SERVER_ERROR, [(CONTENT_TYPE, "text/plain")], text)
}
