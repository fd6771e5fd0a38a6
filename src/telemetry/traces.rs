//! Traces: finished spans on their way to a collector, over OTLP/HTTP in JSON.
//!
//! Invariants: no lane waits for the export. Spans are put into a bounded queue; a span that finds it
//! full, or cannot be delivered, is dropped and counted. No span is sent twice. At the end the queued
//! spans are sent, within the time for draining.
//!
//! Deliberately absent: TLS and credentials. The collector is an agent of the machine or pod, and
//! encrypts what leaves these; OpenTelemetry's SDK, for which docs/design.md has the reason.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::otlp;
use crate::pipeline::observe::spans::{Span, SpanSink};

/// Spans that may be queued: some seconds of a busy lane, at about half a kilobyte each.
const QUEUE_SPANS: usize = 8_192;

/// Spans in a request: OpenTelemetry's default, well below the 4 MB that collectors take.
const REQUEST_SPANS: usize = 512;

/// How long spans may be queued before they are sent: short, for an operator who watches a trace live.
const LINGER: Duration = Duration::from_secs(1);

/// How long the collector may take to answer: OpenTelemetry's default is ten seconds, but this
/// exporter does not retry, and the queue is bounded meanwhile.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// The pause after a failed request. A busy worker fills the queue before it ends; an idle one has few
/// spans to lose.
const RETRY_DELAY: Duration = Duration::from_secs(5);

/// Where traces go, and under which service name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The collector; none: there are no traces.
    pub endpoint: Option<Endpoint>,
    /// `service.name`.
    pub service_name: String,
    /// Of a thousand messages whose sender has not decided, how many are recorded.
    pub sample_per_thousand: u16,
}

/// A collector's URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host and port.
    authority: String,
    path: String,
}

/// Why a text is no URL of a collector; the text continues "traces.endpoint". It does not quote the text,
/// which may hold a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be http://HOST:PORT, with or without a path; there is no TLS, login or query")]
pub struct EndpointError;

/// The path of OTLP/HTTP's traces, unless the URL has one.
const DEFAULT_PATH: &str = "/v1/traces";

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Endpoint, EndpointError> {
        let uri: Uri = text.parse().map_err(|_| EndpointError)?;
        let authority = uri.authority().ok_or(EndpointError)?;
        let is_plain = uri.scheme_str() == Some("http") && !authority.as_str().contains('@');
        if !is_plain || authority.port().is_none() || uri.query().is_some() {
            return Err(EndpointError);
        }
        let path = match uri.path() {
            "" | "/" => DEFAULT_PATH,
            path => path,
        };
        Ok(Endpoint { authority: authority.to_string(), path: path.to_owned() })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

/// Spans that wait for the exporter, and the counts of exported and dropped ones.
#[derive(Debug, Default)]
pub struct SpanQueue {
    queue: Mutex<VecDeque<Span>>,
    /// Notified when there are enough spans for a full request.
    request_is_full: Notify,
    exported: AtomicU64,
    dropped: AtomicU64,
}

impl SpanQueue {
    /// Spans that the collector took.
    pub fn exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// Spans that were dropped: the queue was full, or the collector away.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn dequeue(&self) -> Vec<Span> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let count = queue.len().min(REQUEST_SPANS);
        queue.drain(..count).collect()
    }
}

impl SpanSink for SpanQueue {
    fn take(&self, mut spans: Vec<Span>) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let room = QUEUE_SPANS - queue.len();
        if spans.len() > room {
            self.dropped.fetch_add((spans.len() - room) as u64, Ordering::Relaxed);
            spans.truncate(room);
        }
        queue.extend(spans);
        if queue.len() >= REQUEST_SPANS {
            self.request_is_full.notify_one();
        }
    }
}

/// Sends the spans of a [`SpanQueue`] until [`Exporter::finish`].
#[derive(Debug)]
pub struct Exporter {
    task: AbortOnDropHandle<()>,
    finish: CancellationToken,
}

impl Exporter {
    /// Starts to send to a collector, in a task of its own.
    pub fn start(queue: Arc<SpanQueue>, endpoint: Endpoint, service_name: String) -> Exporter {
        let finish = CancellationToken::new();
        let task = ExportTask { queue, endpoint, service_name, is_away: false };
        let task = AbortOnDropHandle::new(tokio::spawn(task.run(finish.clone())));
        Exporter { task, finish }
    }

    /// Sends the queued spans, and ends. To be called when no more spans come. Spans that the collector
    /// does not accept are dropped.
    pub async fn finish(self) {
        self.finish.cancel();
        if self.task.await.is_err() {
            tracing::error!("the exporter of traces has panicked");
        }
    }
}

struct ExportTask {
    queue: Arc<SpanQueue>,
    endpoint: Endpoint,
    service_name: String,
    /// The latest request failed.
    is_away: bool,
}

impl ExportTask {
    async fn run(mut self, finish: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LINGER) => {}
                () = self.queue.request_is_full.notified() => {}
                () = finish.cancelled() => {}
            }
            // Read before the queue: spans that were queued before the end must not be left there.
            let is_last = finish.is_cancelled();
            self.send_all(&finish).await;
            if is_last {
                break;
            }
        }
    }

    /// Sends until the queue is empty.
    async fn send_all(&mut self, finish: &CancellationToken) {
        loop {
            let spans = self.queue.dequeue();
            if spans.is_empty() {
                break;
            }
            if self.is_away && finish.is_cancelled() {
                // Draining does not wait for a collector that is away.
                self.queue.dropped.fetch_add(spans.len() as u64, Ordering::Relaxed);
                continue;
            }
            self.send(&spans).await;
            if self.is_away {
                tokio::select! {
                    () = tokio::time::sleep(RETRY_DELAY) => {}
                    () = finish.cancelled() => {}
                }
            }
        }
    }

    /// Sends spans once. Logs when the collector goes away, and when it is back.
    async fn send(&mut self, spans: &[Span]) {
        let sent = match tokio::time::timeout(ANSWER_TIME, self.post(spans)).await {
            Ok(sent) => sent,
            Err(_) => Err(format!("no answer in {} s", ANSWER_TIME.as_secs())),
        };
        let collector = &self.endpoint;
        match (&sent, self.is_away) {
            (Ok(()), true) => tracing::info!(%collector, "the collector takes traces again"),
            (Err(why), false) => {
                tracing::warn!(%collector, why, "the collector takes no traces; they are dropped");
            }
            (Ok(()), false) | (Err(_), true) => {}
        }
        self.is_away = sent.is_err();
        let counter = if self.is_away { &self.queue.dropped } else { &self.queue.exported };
        counter.fetch_add(spans.len() as u64, Ordering::Relaxed);
    }

    /// One request over a connection of its own: there is one in a second, or each is large.
    async fn post(&self, spans: &[Span]) -> Result<(), String> {
        let text = |error: &dyn fmt::Display| error.to_string();
        let body = otlp::request(&self.service_name, spans).map_err(|error| text(&error))?;
        let Endpoint { authority, path } = &self.endpoint;
        let stream = TcpStream::connect(authority).await.map_err(|error| text(&error))?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| text(&error))?;
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let request = Request::post(path)
            .header(HOST, authority)
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|error| text(&error))?;
        let response = sender.send_request(request).await.map_err(|error| text(&error))?;
        match response.status() {
            status if status.is_success() => Ok(()),
            // The response's body might quote the request's.
            status => Err(describe_refusal(status)),
        }
    }
}

fn describe_refusal(status: StatusCode) -> String {
    format!("it answers {}", status.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::trace_context::SpanContext;
    use crate::pipeline::observe::spans::SpanKind;

    #[test]
    fn full_queue_drops_and_counts_spans() {
        let context = SpanContext { trace_id: [1; 16], span_id: [1; 8], flags: 1 };
        let span = Span {
            name: "process".into(),
            kind: SpanKind::Consumer,
            context,
            parent: None,
            state: None,
            start_ns: 0,
            end_ns: 0,
            attributes: Vec::new(),
            links: Vec::new(),
            links_dropped: 0,
            error: None,
        };
        let queue = SpanQueue::default();
        queue.take(vec![span.clone(); QUEUE_SPANS - 1]);
        queue.take(vec![span.clone(); 3]);
        assert_eq!((queue.exported(), queue.dropped()), (0, 2));
        assert_eq!(queue.dequeue().len(), REQUEST_SPANS);
        queue.take(vec![span; 3]);
        assert_eq!(queue.dropped(), 2, "there is room again");
    }

    #[test]
    fn endpoint_must_be_an_http_url_with_a_port() {
        for (text, shown) in [
            ("http://localhost:4318", "http://localhost:4318/v1/traces"),
            ("http://[::1]:4318/", "http://[::1]:4318/v1/traces"),
            ("http://otel:80/in/v1/traces", "http://otel:80/in/v1/traces"),
        ] {
            let endpoint: Endpoint = text.parse().expect("a URL");
            assert_eq!(endpoint.to_string(), shown);
        }
        for text in [
            "",
            "localhost:4318",
            "https://otel:4318",
            "http://otel",
            "http://u:p@otel:4318",
            "http://otel:4318/?key=1",
            "http://otel:port",
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(EndpointError), "{text}");
        }
    }
}
