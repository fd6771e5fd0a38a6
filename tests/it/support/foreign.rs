//! What other clients put on the wire: AMQP 0-9-1 with strings that are no UTF-8, and AMQP 1.0.
//!
//! Written byte by byte, as no client of ours would write it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use lapin::uri::AMQPUri;

/// "Müller" in Latin-1: no UTF-8.
pub(crate) const LATIN: &[u8] = b"M\xfcller";

/// A content header's property that is not UTF-8, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Odd {
    ContentType,
    CorrelationId,
    ReplyTo,
    MessageId,
    Type,
    AppId,
    HeaderName,
    RoutingKey,
    /// Arrays within arrays, forty levels deep.
    Nesting,
}

impl Odd {
    pub(crate) const ALL: [Odd; 9] = [
        Odd::ContentType,
        Odd::CorrelationId,
        Odd::ReplyTo,
        Odd::MessageId,
        Odd::Type,
        Odd::AppId,
        Odd::HeaderName,
        Odd::RoutingKey,
        Odd::Nesting,
    ];

    /// How `x-throughline-undecodable` names it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Odd::ContentType => "content_type",
            Odd::CorrelationId => "correlation_id",
            Odd::ReplyTo => "reply_to",
            Odd::MessageId => "message_id",
            Odd::Type => "type",
            Odd::AppId => "app_id",
            Odd::HeaderName => "header_name",
            Odd::RoutingKey => "routing_key",
            Odd::Nesting => "header_nesting",
        }
    }

    /// Flags and properties of a content header.
    fn properties(self) -> Vec<u8> {
        let with = |flag: u16, property: &[u8]| {
            [&(0x8000_u16 >> flag).to_be_bytes()[..], property].concat()
        };
        let headers = |table: &[u8]| with(2, &[&long(table)[..], table].concat());
        match self {
            Odd::ContentType => with(0, &short(LATIN)),
            Odd::CorrelationId => with(5, &short(LATIN)),
            Odd::ReplyTo => with(6, &short(LATIN)),
            Odd::MessageId => with(8, &short(LATIN)),
            Odd::Type => with(10, &short(LATIN)),
            Odd::AppId => with(12, &short(LATIN)),
            Odd::HeaderName => headers(&[short(LATIN), b"S\0\0\0\x04kept".to_vec()].concat()),
            Odd::Nesting => {
                let nested = (0..40)
                    .fold(b"V".to_vec(), |inner, _| [&b"A"[..], &long(&inner), &inner].concat());
                headers(&[short(b"deep"), nested].concat())
            }
            Odd::RoutingKey => vec![0, 0],
        }
    }
}

/// A connection of AMQP 0-9-1 with one channel that confirms.
pub(crate) struct Foreign(TcpStream);

impl Foreign {
    pub(crate) fn connect(url: &str) -> Foreign {
        let (mut stream, login, vhost) = dial(url);
        stream.write_all(b"AMQP\0\0\x09\x01").expect("written");
        let mut foreign = Foreign(stream);
        foreign.await_method(10, 10);
        let start_ok =
            [&[0; 4][..], &short(b"PLAIN"), &long(&login), &login, &short(b"en_US")].concat();
        foreign.method(0, 10, 11, &start_ok);
        let tune = foreign.await_method(10, 30);
        foreign.method(0, 10, 31, &[&tune[..6], &[0, 0]].concat());
        foreign.method(0, 10, 40, &[short(vhost.as_bytes()), vec![0, 0]].concat());
        foreign.await_method(10, 41);
        foreign.method(1, 20, 10, &[0]);
        foreign.await_method(20, 11);
        foreign.method(1, 85, 10, &[0]);
        foreign.await_method(85, 11);
        foreign
    }

    /// Publishes a message with one odd property, and waits until it is confirmed.
    pub(crate) fn publish(&mut self, exchange: &str, key: &str, odd: Odd, body: &str) {
        let key = if matches!(odd, Odd::RoutingKey) { LATIN } else { key.as_bytes() };
        let publish = [&[0, 0][..], &short(exchange.as_bytes()), &short(key), &[1]].concat();
        self.method(1, 60, 40, &publish);
        let size = u64::try_from(body.len()).expect("a short body").to_be_bytes();
        self.frame(2, 1, &[&[0, 60, 0, 0][..], &size, &odd.properties()].concat());
        self.frame(3, 1, body.as_bytes());
        self.await_method(60, 80);
    }

    fn method(&mut self, channel: u16, class: u16, method: u16, arguments: &[u8]) {
        let payload = [&class.to_be_bytes()[..], &method.to_be_bytes(), arguments].concat();
        self.frame(1, channel, &payload);
    }

    fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let frame = [&[kind][..], &channel.to_be_bytes(), &long(payload), payload, &[0xce]];
        self.0.write_all(&frame.concat()).expect("written");
    }

    /// The arguments of the method that comes next; another one is a failure.
    fn await_method(&mut self, class: u16, method: u16) -> Vec<u8> {
        let mut head = [0; 7];
        self.0.read_exact(&mut head).expect("a frame");
        let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        let mut payload = vec![0; usize::try_from(size).expect("short") + 1];
        self.0.read_exact(&mut payload).expect("a frame");
        let expected = [class.to_be_bytes(), method.to_be_bytes()].concat();
        assert_eq!(payload[..4], expected, "{}", String::from_utf8_lossy(&payload));
        payload.split_off(4)
    }
}

/// Sends messages over AMQP 1.0 to a queue of RabbitMQ 4. Each has a body, and whether an application
/// property is a UUID, which AMQP 0-9-1 knows nothing like.
pub(crate) fn send_by_amqp_1(url: &str, queue: &str, messages: &[(&str, bool)]) {
    let (mut stream, login, _) = dial(url);
    let frame = |kind: u8, descriptor: u8, fields: &[Vec<u8>], payload: &[u8]| {
        let body = [&[0, 0x53, descriptor][..], &list(fields), payload].concat();
        let size = u32::try_from(body.len() + 8).expect("short").to_be_bytes();
        [&size[..], &[2, kind, 0, 0], &body].concat()
    };
    let mut say = |bytes: &[u8]| stream.write_all(bytes).expect("written");
    let null = || vec![0x40];
    let text =
        |text: &str| [&[0xa1, u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    let binary =
        |bytes: &[u8]| [&[0xa0, u8::try_from(bytes.len()).expect("short")], bytes].concat();
    let number = |number: u32| [&[0x70][..], &number.to_be_bytes()].concat();
    say(b"AMQP\x03\x01\0\0");
    say(&frame(1, 0x41, &[b"\xa3\x05PLAIN".to_vec(), binary(&login)], &[]));
    let mut header = [0; 8];
    stream.read_exact(&mut header).expect("SASL");
    await_frame(&mut stream, 0x44);
    stream.write_all(b"AMQP\0\x01\0\0").expect("written");
    let address = text(&format!("/queues/{queue}"));
    let target = [&[0, 0x53, 0x29][..], &list(&[address])].concat();
    let source = [&[0, 0x53, 0x28][..], &list(&[])].concat();
    let opening = [
        frame(0, 0x10, &[text("foreign")], &[]),
        frame(0, 0x11, &[null(), number(0), number(100), number(100)], &[]),
        frame(
            0,
            0x12,
            &[
                text("link"),
                number(0),
                vec![0x42],
                null(),
                null(),
                source,
                target,
                null(),
                null(),
                number(0),
            ],
            &[],
        ),
    ];
    stream.write_all(&opening.concat()).expect("written");
    stream.read_exact(&mut header).expect("AMQP 1.0: only RabbitMQ 4 speaks it without a plugin");
    await_frame(&mut stream, 0x13);
    for (id, (body, odd)) in (0_u32..).zip(messages) {
        let properties = match odd {
            true => {
                let pairs = [text("p"), [&[0x98][..], &[7; 16]].concat()].concat();
                let size = u32::try_from(pairs.len() + 4).expect("short").to_be_bytes();
                [&[0, 0x53, 0x74, 0xd1][..], &size, &2_u32.to_be_bytes(), &pairs].concat()
            }
            false => Vec::new(),
        };
        let length = long(body.as_bytes());
        let data = [&[0, 0x53, 0x75, 0xb0][..], &length, body.as_bytes()].concat();
        let fields =
            [number(0), number(id), binary(&id.to_be_bytes()), number(0), vec![0x42], vec![0x42]];
        let transfer = frame(0, 0x14, &fields, &[properties, data].concat());
        stream.write_all(&transfer).expect("written");
        await_frame(&mut stream, 0x15);
    }
}

/// Reads frames of AMQP 1.0 until one of this kind.
fn await_frame(stream: &mut TcpStream, descriptor: u8) {
    loop {
        let mut head = [0; 8];
        stream.read_exact(&mut head).expect("a frame");
        let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let mut body = vec![0; usize::try_from(size).expect("short") - 8];
        stream.read_exact(&mut body).expect("a frame");
        match body.get(2) {
            Some(found) if *found == descriptor => return,
            // end, close
            Some(0x17 | 0x18) => panic!("refused: {}", String::from_utf8_lossy(&body)),
            _ => {}
        }
    }
}

/// A connection, what to log in with, and the virtual host.
fn dial(url: &str) -> (TcpStream, Vec<u8>, String) {
    let uri: AMQPUri = url.parse().expect("a URL");
    let address = (uri.authority.host.as_str(), uri.authority.port);
    let stream = TcpStream::connect(address).expect("the server is up");
    stream.set_nodelay(true).expect("an option");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("an option");
    let user = uri.authority.userinfo;
    (stream, format!("\0{}\0{}", user.username, user.password).into_bytes(), uri.vhost)
}

fn list(fields: &[Vec<u8>]) -> Vec<u8> {
    let content = fields.concat();
    let size = u32::try_from(content.len() + 4).expect("short").to_be_bytes();
    let count = u32::try_from(fields.len()).expect("few").to_be_bytes();
    [&[0xd0][..], &size, &count, &content].concat()
}

fn short(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).expect("a short string")], text].concat()
}

fn long(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).expect("short").to_be_bytes()
}
