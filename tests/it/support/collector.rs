//! A collector of traces: takes OTLP/HTTP in JSON, and reads it with OpenTelemetry's own types.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;

use super::monitored_worker::poll_until_some;

/// A collector, on a thread of its own: a worker may be waited for meanwhile. It listens for as long as
/// the tests run.
pub(crate) struct Collector {
    /// The value for `traces.endpoint`.
    pub(crate) endpoint: String,
    bodies: Arc<Mutex<Vec<String>>>,
}

impl Collector {
    pub(crate) fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let bodies = Arc::<Mutex<Vec<String>>>::default();
        let taken = Arc::clone(&bodies);
        std::thread::spawn(move || {
            // One after the other: there is one worker.
            for stream in listener.incoming() {
                take(stream.expect("a connection"), &taken);
            }
        });
        Collector { endpoint: format!("http://{address}"), bodies }
    }

    /// The bodies of all requests so far.
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.bodies.lock().expect("no request has panicked").clone()
    }

    /// All spans so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let requests = self.bodies().into_iter().map(|body| {
            serde_json::from_str::<ExportTraceServiceRequest>(&body).expect("a request of OTLP")
        });
        let resources = requests.flat_map(|request| request.resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    /// The spans of a trace, by their names, once there are so many.
    pub(crate) async fn trace(&self, trace_id: &str, count: usize) -> Vec<Span> {
        let mut spans = poll_until_some(async || {
            let mut spans = self.spans();
            spans.retain(|span| hex(&span.trace_id) == trace_id);
            (spans.len() >= count).then_some(spans)
        })
        .await;
        assert_eq!(spans.len(), count, "{spans:#?}");
        spans.sort_by(|a, b| a.name.cmp(&b.name));
        spans
    }
}

fn take(stream: TcpStream, bodies: &Mutex<Vec<String>>) {
    let mut stream = BufReader::new(stream);
    let mut length = 0;
    let mut line = String::new();
    while stream.read_line(&mut line).expect("a line") > 2 {
        let header = line.to_ascii_lowercase();
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        line.clear();
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("the body");
    let body = String::from_utf8(body).expect("JSON is UTF-8");
    bodies.lock().expect("no request has panicked").push(body);
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    stream.get_mut().write_all(answer.as_bytes()).expect("it waits for the answer");
}

/// Bytes as `traceparent` has them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An attribute of a span, as text.
pub(crate) fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|pair| pair.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key} is neither text nor a number: {other:?}"),
    }
}
