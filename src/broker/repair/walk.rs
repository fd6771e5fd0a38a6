//! A method or a content header, from its first byte to its last: finds what lapin could not read, and
//! replaces it in place.

use std::collections::HashMap;

use super::NESTING_MAX;
use super::repaired_fields::{RepairedField, RepairedFields, Repairs};

/// Stands for each byte that is no UTF-8.
const REPLACEMENT: u8 = b'?';

/// Of each channel, the delivery whose header comes next: its tag, and where it was repaired.
pub(super) type Delivering = HashMap<u16, (u64, RepairedFields)>;

/// One argument of a method.
enum Argument {
    /// So many bytes of anything else.
    Bytes(usize),
    /// A short string; its field, if it belongs to a message.
    Text(Option<RepairedField>),
}

/// The arguments of a method that holds short strings, up to the last of these. RabbitMQ sends no other
/// method with text from a publisher.
fn arguments(class: u16, method: u16) -> &'static [Argument] {
    use Argument::{Bytes, Text};
    const EXCHANGE: Argument = Text(Some(RepairedField::Exchange));
    const ROUTING_KEY: Argument = Text(Some(RepairedField::RoutingKey));
    match (class, method) {
        // connection.close and channel.close; RabbitMQ cuts a long reason at 255 bytes.
        (10, 50) | (20, 40) => &[Bytes(2), Text(None)],
        // connection.blocked, queue.declare-ok, basic.consume-ok, .cancel, .cancel-ok
        (10, 60) | (50, 11) | (60, 21 | 30 | 31) => &[Text(None)],
        // basic.return
        (60, 50) => &[Bytes(2), Text(None), EXCHANGE, ROUTING_KEY],
        // basic.deliver
        (60, 60) => &[Text(None), Bytes(9), EXCHANGE, ROUTING_KEY],
        // basic.get-ok
        (60, 71) => &[Bytes(9), EXCHANGE, ROUTING_KEY],
        _ => &[],
    }
}

/// Makes a method's short strings readable, and notes which delivery it begins.
pub(super) fn method(
    channel: u16,
    payload: &mut [u8],
    delivering: &mut Delivering,
    repairs: &Repairs,
) {
    let mut rest = Rest(payload);
    let (Some(class), Some(method)) = (rest.number::<2>(), rest.number::<2>()) else { return };
    // All below 2^16.
    let (class, method) = (class as u16, method as u16);
    let (mut fields, mut tag) = (RepairedFields::default(), None);
    for argument in arguments(class, method) {
        let read = match argument {
            Argument::Bytes(bytes) => rest.take(*bytes).map(|taken| {
                if let Some(first) = taken.first_chunk::<8>() {
                    tag = Some(u64::from_be_bytes(*first));
                }
            }),
            Argument::Text(field) => rest.text().map(|replaced| {
                if let Some(field) = field.filter(|_| replaced) {
                    fields.add(field);
                }
            }),
        };
        if read.is_none() {
            return;
        }
    }
    match (class, method, tag) {
        (60, 60 | 71, Some(tag)) => {
            delivering.insert(channel, (tag, fields));
        }
        // basic.return: what follows is no delivery.
        (60, 50, _) => {
            delivering.remove(&channel);
        }
        // channel.open-ok
        (20, 11, _) => repairs.forget(channel),
        _ => {}
    }
}

/// Makes a content header readable, and records the repairs of its delivery.
pub(super) fn header(
    channel: u16,
    payload: &mut [u8],
    delivering: &mut Delivering,
    repairs: &Repairs,
) {
    let mut found = RepairedFields::default();
    // lapin refuses a header that cannot be parsed; RabbitMQ has read it before, and sends none.
    let _walked = properties(Rest(payload), &mut found);
    let Some((tag, fields)) = delivering.remove(&channel) else { return };
    let fields = fields.or(found);
    if !fields.is_empty() {
        repairs.record(channel, tag, fields);
    }
}

/// Walks class, weight, size of the body, flags, and the properties for which they are set.
fn properties(mut rest: Rest<'_>, found: &mut RepairedFields) -> Option<()> {
    use RepairedField::{
        AppId, ClusterId, ContentEncoding, ContentType, CorrelationId, Expiration, MessageId,
        ReplyTo, Type, UserId,
    };
    /// A property, by its type.
    enum Property {
        Text(RepairedField),
        Headers,
        Bytes(usize),
    }
    use Property::{Bytes, Headers, Text};
    /// In the order of their flags, the highest first.
    const PROPERTIES: [Property; 14] = [
        Text(ContentType),
        Text(ContentEncoding),
        Headers,
        // delivery_mode, priority
        Bytes(1),
        Bytes(1),
        Text(CorrelationId),
        Text(ReplyTo),
        Text(Expiration),
        Text(MessageId),
        // timestamp
        Bytes(8),
        Text(Type),
        Text(UserId),
        Text(AppId),
        Text(ClusterId),
    ];
    rest.take(12)?;
    let flags = rest.number::<2>()?;
    for (index, property) in PROPERTIES.iter().enumerate() {
        if flags & (0x8000 >> index) == 0 {
            continue;
        }
        match property {
            Text(field) => {
                if rest.text()? {
                    found.add(*field);
                }
            }
            Headers => {
                let bytes = rest.length()?;
                table(Rest(rest.take(bytes)?), 1, found)?;
            }
            Bytes(bytes) => {
                rest.take(*bytes)?;
            }
        }
    }
    Some(())
}

fn table(mut rest: Rest<'_>, depth: usize, found: &mut RepairedFields) -> Option<()> {
    while !rest.0.is_empty() {
        if rest.text()? {
            found.add(RepairedField::HeaderName);
        }
        value(&mut rest, depth, found)?;
    }
    Some(())
}

/// Walks a value with the letter of its type before it. These are the types that RabbitMQ reads itself
/// before it takes a message, and lapin knows all of them.
fn value(rest: &mut Rest<'_>, depth: usize, found: &mut RepairedFields) -> Option<()> {
    let kind = rest.take(1)?.first_mut()?;
    let bytes = match *kind {
        b'V' => 0,
        b't' | b'b' | b'B' => 1,
        b's' | b'u' | b'U' => 2,
        b'I' | b'i' | b'f' => 4,
        b'D' => 5,
        b'l' | b'L' | b'd' | b'T' => 8,
        b'S' | b'x' => rest.length()?,
        b'A' | b'F' if depth >= NESTING_MAX => {
            *kind = b'x';
            found.add(RepairedField::HeaderNesting);
            rest.length()?
        }
        b'A' => {
            let bytes = rest.length()?;
            let mut values = Rest(rest.take(bytes)?);
            while !values.0.is_empty() {
                value(&mut values, depth + 1, found)?;
            }
            0
        }
        b'F' => {
            let bytes = rest.length()?;
            table(Rest(rest.take(bytes)?), depth + 1, found)?;
            0
        }
        _ => return None,
    };
    rest.take(bytes).map(drop)
}

/// The bytes not yet parsed.
struct Rest<'b>(&'b mut [u8]);

impl<'b> Rest<'b> {
    fn take(&mut self, bytes: usize) -> Option<&'b mut [u8]> {
        if bytes > self.0.len() {
            return None;
        }
        let (taken, rest) = std::mem::take(&mut self.0).split_at_mut(bytes);
        self.0 = rest;
        Some(taken)
    }

    /// A number of so many bytes, four at most.
    fn number<const BYTES: usize>(&mut self) -> Option<u32> {
        let bytes = self.take(BYTES)?;
        Some(bytes.iter().fold(0, |number, byte| (number << 8) | u32::from(*byte)))
    }

    /// The length of a table, an array or a long string.
    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number::<4>()?).ok()
    }

    /// A short string; whether something in it was replaced.
    fn text(&mut self) -> Option<bool> {
        let bytes = usize::try_from(self.number::<1>()?).ok()?;
        Some(replace_what_is_no_text(self.take(bytes)?))
    }
}

fn replace_what_is_no_text(bytes: &mut [u8]) -> bool {
    let (mut from, mut replaced) = (0, false);
    while let Err(error) = std::str::from_utf8(&bytes[from..]) {
        let begin = from + error.valid_up_to();
        from = error.error_len().map_or(bytes.len(), |length| begin + length);
        bytes[begin..from].fill(REPLACEMENT);
        replaced = true;
    }
    replaced
}
