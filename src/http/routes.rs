//! The handlers of the routes. `http` has the table.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use axum::routing::get;
use serde::Serialize;

use super::Monitor;

type Worker = State<Arc<dyn Monitor>>;
type Response = (StatusCode, [(HeaderName, &'static str); 1], String);

/// All routes, about this worker. They answer GET; every other method is refused.
pub(super) fn routes(monitor: Arc<dyn Monitor>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route("/version", get(version))
        .with_state(monitor)
}

async fn livez(State(worker): Worker) -> Response {
    let liveness = worker.liveness();
    json(liveness.dead.is_empty(), &liveness)
}

async fn readyz(State(worker): Worker) -> Response {
    let readiness = worker.readiness();
    json(readiness.missing.is_empty(), &readiness)
}

async fn metrics(State(worker): Worker) -> Response {
    match worker.metrics() {
        Ok((media_type, text)) => (StatusCode::OK, [(CONTENT_TYPE, media_type)], text),
        Err(_) => internal_error(),
    }
}

async fn status(State(worker): Worker) -> Response {
    json(true, &worker.status())
}

async fn version(State(worker): Worker) -> Response {
    json(true, &worker.version())
}

fn json(is_ok: bool, document: &impl Serialize) -> Response {
    let status = if is_ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match serde_json::to_string(document) {
        Ok(text) => (status, [(CONTENT_TYPE, "application/json")], text + "\n"),
        Err(_) => internal_error(),
    }
}

/// The response where serialising the answer fails.
fn internal_error() -> Response {
    let text = "failed to write the answer\n".to_owned();
    (StatusCode::INTERNAL_SERVER_ERROR, [(CONTENT_TYPE, "text/plain")], text)
}
