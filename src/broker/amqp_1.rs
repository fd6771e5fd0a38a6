//! Holds messages by AMQP 1.0: those that RabbitMQ 4 cannot hand over by 0-9-1, so that what lies behind
//! them can be read there, and that they can be removed.
//!
//! RabbitMQ speaks AMQP 1.0 on the same port from 4.0 on, and only from there on it keeps messages in a
//! form that 0-9-1 may have no words for. This client implements only what taking and
//! settling messages needs: one connection, one session, one link. Of what the message holds,
//! only the types of its application properties are looked at.
//!
//! Invariants: every answer is bounded in time and in size. A dropped delivery returns to its queue.
//!
//! Deliberately absent: SASL but `PLAIN`, and everything else of the protocol.

use std::future::Future;
use std::io;
use std::sync::Arc;

use async_rs::TokioRuntime;
use futures_util::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use lapin::AsyncTcpStream;
use lapin::uri::AMQPScheme;

use super::{Error, Settings, broker_connection};
use crate::formats::amqp_sections::Width;

/// The longest frame that is read. RabbitMQ cuts messages into frames of the size that `open` asks for,
/// and it sends no other frame as long.
const FRAME_MAX_BYTES: u32 = 128 * 1024;

// Descriptors of the performatives sent.
const OPEN: u8 = 0x10;
const BEGIN: u8 = 0x11;
const ATTACH: u8 = 0x12;
const FLOW: u8 = 0x13;
const TRANSFER: u8 = 0x14;
const DISPOSITION: u8 = 0x15;
const DETACH: u8 = 0x16;
const END: u8 = 0x17;
const CLOSE: u8 = 0x18;
/// States of a delivery.
const ACCEPTED: u8 = 0x24;
const RELEASED: u8 = 0x26;
const SASL_INIT: u8 = 0x41;
const SASL_OUTCOME: u8 = 0x44;

/// Frames of the protocol, and of its login.
const AMQP: u8 = 0;
const SASL: u8 = 1;

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// Messages that are held, and are in their queue again when this is dropped.
pub(super) struct HeldDeadLetters {
    socket: Box<dyn Socket>,
    settings: Arc<Settings>,
    /// As the broker counts them on this session.
    deliveries: Vec<u32>,
}

impl HeldDeadLetters {
    /// Takes the first messages of a queue, and holds those of them that are seen to have a property that
    /// AMQP 0-9-1 has no words for. The others are given back, once all have come.
    pub(super) async fn hold_foreign(
        settings: &Arc<Settings>,
        queue: &str,
        messages: u32,
    ) -> Result<HeldDeadLetters, Error> {
        let failed = |error| {
            Error::Unreachable(format!("taking messages of `{queue}` by AMQP 1.0: {error}"))
        };
        let opening = bounded(settings, open(settings, queue, messages)).await;
        let mut socket = opening.map_err(failed)?;
        let (mut deliveries, mut others, mut last) = (Vec::new(), Vec::new(), None);
        while deliveries.len() + others.len() < usize::try_from(messages).unwrap_or(usize::MAX) {
            let transfer =
                bounded(settings, expect(&mut socket, TRANSFER)).await.map_err(failed)?;
            // What goes on with a message that is longer than a frame does not begin another.
            let Some(number) = delivery_of(&transfer).filter(|number| last != Some(*number)) else {
                continue;
            };
            last = Some(number);
            match payload(&transfer).and_then(has_foreign_property) {
                Some(true) => deliveries.push(number),
                _ => others.push(number),
            }
        }
        let given_back = bounded(settings, async {
            for delivery in others {
                send(&mut socket, &disposition(delivery, true, RELEASED)).await?;
            }
            Ok(())
        });
        given_back.await.map_err(failed)?;
        Ok(HeldDeadLetters { socket, settings: Arc::clone(settings), deliveries })
    }

    /// How many are held.
    pub(super) fn count(&self) -> usize {
        self.deliveries.len()
    }

    /// Removes one of them from its queue, for good; whether there was one.
    pub(super) async fn remove(&mut self) -> Result<bool, Error> {
        let Some(delivery) = self.deliveries.pop() else { return Ok(false) };
        let settings = Arc::clone(&self.settings);
        let removed = bounded(&settings, async {
            // As its receiver, not settled: the broker answers when it has removed it.
            send(&mut self.socket, &disposition(delivery, false, ACCEPTED)).await?;
            expect(&mut self.socket, DISPOSITION).await
        });
        removed
            .await
            .map(|_| true)
            .map_err(|error| Error::Unreachable(format!("removing a message by AMQP 1.0: {error}")))
    }
}

/// Says what becomes of a delivery, and whether no answer is needed.
fn disposition(delivery: u32, is_settled: bool, state: u8) -> Vec<u8> {
    let state = [&[0, 0x53, state][..], &list(&[])].concat();
    let fields = [
        vec![0x41],
        number(delivery),
        number(delivery),
        vec![if is_settled { 0x41 } else { 0x42 }],
        state,
    ];
    frame(AMQP, DISPOSITION, &fields)
}

async fn bounded<T>(
    settings: &Settings,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let late = |_| io::Error::other("no answer in time");
    tokio::time::timeout(settings.answer_timeout(), work).await.map_err(late)?
}

/// A link from the queue that so many messages may come by.
async fn open(settings: &Settings, queue: &str, messages: u32) -> io::Result<Box<dyn Socket>> {
    let uri = broker_connection::uri(settings).map_err(io::Error::other)?;
    let tls = broker_connection::tls(settings).await.map_err(io::Error::other)?;
    let runtime = TokioRuntime::tokio_current();
    let to = (uri.authority.host.clone(), uri.authority.port);
    let stream = AsyncTcpStream::connect(&runtime, runtime.to_socket_addrs(to)).await?;
    let mut socket: Box<dyn Socket> = match uri.scheme {
        AMQPScheme::AMQP => Box::new(stream),
        AMQPScheme::AMQPS => Box::new(stream.into_tls(&uri.authority.host, tls.as_ref()).await?),
    };
    let user = &uri.authority.userinfo;
    let login = format!("\0{}\0{}", user.username, user.password);

    greet(&mut socket, *b"AMQP\x03\x01\0\0").await?;
    let init = [[&[0xa3, 5][..], b"PLAIN"].concat(), variable(0xb0, login.as_bytes())];
    send(&mut socket, &frame(SASL, SASL_INIT, &init)).await?;
    let outcome = expect(&mut socket, SASL_OUTCOME).await?;
    // Code 0, in either of its two forms, is the only good one.
    if !matches!(fields(&outcome).as_deref(), Some([0x50, 0, ..] | [0x43, ..])) {
        return Err(io::Error::other("the login was refused"));
    }
    greet(&mut socket, *b"AMQP\0\x01\0\0").await?;
    let text = |text: &str| variable(0xb1, text.as_bytes());
    let host = text(&format!("vhost:{}", uri.vhost));
    let (null, yes) = (vec![0x40], vec![0x41]);
    let open = [text(&settings.connection_name), host, number(FRAME_MAX_BYTES)];
    let begin = [null.clone(), number(0), number(u32::MAX >> 1), number(u32::MAX >> 1)];
    let source = [&[0, 0x53, 0x28][..], &list(&[text(&address(queue))])].concat();
    let target = [&[0, 0x53, 0x29][..], &list(&[])].concat();
    let attach = [text("hold"), number(0), yes, null.clone(), null, source, target];
    // Where the broker begins to count, of the session and of the link, is its own affair: it is not
    // said back.
    let window = number(u32::MAX >> 1);
    let null = || vec![0x40];
    let flow = [null(), window.clone(), number(0), window, number(0), null(), number(messages)];
    for request in
        [frame(AMQP, OPEN, &open), frame(AMQP, BEGIN, &begin), frame(AMQP, ATTACH, &attach)]
    {
        send(&mut socket, &request).await?;
    }
    expect(&mut socket, ATTACH).await?;
    send(&mut socket, &frame(AMQP, FLOW, &flow)).await?;
    Ok(socket)
}

/// Sends a protocol's header and awaits the same.
async fn greet(socket: &mut Box<dyn Socket>, header: [u8; 8]) -> io::Result<()> {
    send(socket, &header).await?;
    let mut answer = [0; 8];
    socket.read_exact(&mut answer).await?;
    if answer == header { Ok(()) } else { Err(io::Error::other("the broker does not speak it")) }
}

/// The body of the next frame of this kind; others are passed over.
async fn expect(socket: &mut Box<dyn Socket>, awaited: u8) -> io::Result<Vec<u8>> {
    loop {
        let body = receive(socket).await?;
        match descriptor(&body) {
            Some(found) if found == awaited => return Ok(body),
            // What they say may name the queue, and no more; it is not worth a parser.
            Some(DETACH | END | CLOSE) => return Err(io::Error::other("the broker refuses")),
            _ => {}
        }
    }
}

async fn receive(socket: &mut Box<dyn Socket>) -> io::Result<Vec<u8>> {
    let mut head = [0; 8];
    socket.read_exact(&mut head).await?;
    let [s0, s1, s2, s3, offset, ..] = head;
    let size = u32::from_be_bytes([s0, s1, s2, s3]);
    if !(8..=FRAME_MAX_BYTES).contains(&size) || offset != 2 {
        return Err(io::Error::other("a frame of no use"));
    }
    let mut body = vec![0; usize::try_from(size - 8).unwrap_or_default()];
    socket.read_exact(&mut body).await?;
    Ok(body)
}

async fn send(socket: &mut Box<dyn Socket>, bytes: &[u8]) -> io::Result<()> {
    socket.write_all(bytes).await?;
    socket.flush().await
}

/// What a frame's body says: the descriptor of its performative.
fn descriptor(body: &[u8]) -> Option<u8> {
    match body {
        [0, 0x53, descriptor, ..] => Some(*descriptor),
        _ => None,
    }
}

/// The fields of a performative, one after the other.
fn fields(body: &[u8]) -> Option<Vec<u8>> {
    match body.get(3..)? {
        // Size and number of fields, in one byte each, or in four.
        [0xc0, _, _, fields @ ..] | [0xd0, _, _, _, _, _, _, _, _, fields @ ..] => {
            Some(fields.to_vec())
        }
        _ => None,
    }
}

/// What follows the performative: the message's sections.
fn payload(body: &[u8]) -> Option<&[u8]> {
    let fields = body.get(3..)?;
    fields.get(value_bytes(fields)?..)
}

/// Whether the application properties hold a UUID, a character or a decimal.
fn has_foreign_property(mut sections: &[u8]) -> Option<bool> {
    const APPLICATION_PROPERTIES: u8 = 0x74;
    loop {
        let [0, 0x53, section, value @ ..] = sections else { return None };
        let bytes = value_bytes(value)?;
        let (value, later) = value.split_at_checked(bytes)?;
        if *section == APPLICATION_PROPERTIES {
            let mut pairs = match value {
                [0xc1, _, _, pairs @ ..] | [0xd1, _, _, _, _, _, _, _, _, pairs @ ..] => pairs,
                _ => return None,
            };
            while !pairs.is_empty() {
                let (_, value) = pairs.split_at_checked(value_bytes(pairs)?)?;
                if matches!(value.first()?, 0x98 | 0x73 | 0x74 | 0x84 | 0x94) {
                    return Some(true);
                }
                pairs = value.get(value_bytes(value)?..)?;
            }
            return Some(false);
        }
        sections = later;
    }
}

/// How many bytes a value takes, with its type code.
fn value_bytes(value: &[u8]) -> Option<usize> {
    let (code, rest) = value.split_first()?;
    let counted = match Width::of(*code)? {
        Width::Fixed(bytes) => bytes,
        Width::Counted(bytes) => {
            let digits = rest.get(..bytes)?.iter();
            bytes
                .checked_add(digits.fold(0, |number, digit| (number << 8) | usize::from(*digit)))?
        }
    };
    counted.checked_add(1)
}

/// The number of the delivery that a transfer belongs to, where it says: its second field.
fn delivery_of(transfer: &[u8]) -> Option<u32> {
    let fields = fields(transfer)?;
    let (_link, rest) = fields.split_at_checked(value_bytes(&fields)?)?;
    match rest {
        [0x43, ..] => Some(0),
        [0x52, number, ..] => Some(u32::from(*number)),
        [0x70, number @ ..] => Some(u32::from_be_bytes(*number.first_chunk()?)),
        _ => None,
    }
}

fn frame(kind: u8, descriptor: u8, fields: &[Vec<u8>]) -> Vec<u8> {
    let body = [&[0, 0x53, descriptor][..], &list(fields)].concat();
    [&length(body.len() + 8)[..], &[2, kind, 0, 0], &body].concat()
}

fn list(fields: &[Vec<u8>]) -> Vec<u8> {
    let content = fields.concat();
    [&[0xd0][..], &length(content.len() + 4), &length(fields.len()), &content].concat()
}

/// Text or bytes, by the type's code.
fn variable(code: u8, bytes: &[u8]) -> Vec<u8> {
    [&[code][..], &length(bytes.len()), bytes].concat()
}

fn number(number: u32) -> Vec<u8> {
    [&[0x70][..], &number.to_be_bytes()].concat()
}

/// Everything sent here is far shorter than `u32::MAX`.
fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes()
}

/// A queue's address in RabbitMQ 4: characters that are not unreserved are percent-encoded.
fn address(queue: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let written = queue.bytes().map(|byte| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    format!("/queues/{}", written.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_name_is_percent_encoded_in_address() {
        assert_eq!(address("a.b-c"), "/queues/a.b-c");
        assert_eq!(address("ä/b c"), "/queues/%C3%A4%2Fb%20c");
    }

    #[test]
    fn property_unknown_to_amqp_0_9_1_is_detected_after_other_properties() {
        let header = [0, 0x53, 0x70, 0xc0, 2, 1, 0x41];
        let uuid = [&[0xa1, 1, b'p', 0x98][..], &[7; 16]].concat();
        let text = [0xa1, 1, b'p', 0xa1, 1, b'v'];
        let map = |pairs: &[u8]| {
            let size = u8::try_from(pairs.len() + 1).expect("short");
            [&[0, 0x53, 0x74, 0xc1, size, 2][..], pairs].concat()
        };
        let message = |pairs: &[u8]| [&header[..], &map(pairs), &[0, 0x53, 0x75, 0xa0, 0]].concat();
        assert_eq!(has_foreign_property(&message(&uuid)), Some(true));
        assert_eq!(has_foreign_property(&message(&text)), Some(false));
        for end in 0..message(&uuid).len() {
            let cut = has_foreign_property(&message(&uuid)[..end]);
            assert!(cut != Some(false), "cut at {end}");
        }
    }

    #[test]
    fn delivery_id_is_read_in_every_encoding() {
        for (number, expected) in [
            (&[0x43][..], Some(0)),
            (&[0x52, 7], Some(7)),
            (&[0x70, 0, 0, 1, 0], Some(256)),
            (&[0x40], None),
        ] {
            let size = u8::try_from(number.len() + 2).expect("short");
            let transfer = [&[0, 0x53, TRANSFER, 0xc0, size, 2, 0x43][..], number].concat();
            assert_eq!(delivery_of(&transfer), expected);
        }
        assert_eq!(fields(&[0, 0x53, TRANSFER, 0x45]), None);
    }
}
