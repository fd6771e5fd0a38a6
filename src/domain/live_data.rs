//! Live data: what is known of an active interaction besides its history, and how it is written
//! down before it is sealed.
//!
//! It holds the pairs that went into the finished data rather than the finished data itself, since
//! an update works everything out again. `jsonEvent` is never in it (A2). Defaults are not either:
//! they come from the rules in force.

use std::borrow::Cow;

use super::interaction::ParentStatus;
use super::received::Received;
use super::source::{Priority, Source};
use super::value::{Key, Value};

/// The pairs of an active interaction, by where they came from.
#[derive(Clone, Debug, Default)]
pub struct LiveData<'a> {
    /// Received from any source, merged by P1, after User Data Sets were applied.
    pub received: Received<'a>,
    /// Assigned at creation (A1).
    pub assigned: Vec<(Key<'a>, Value<'a>)>,
    /// Selected from the parent at creation (C7).
    pub copied: Vec<(Key<'a>, Value<'a>)>,
    /// The status of the parent at creation.
    pub parent: ParentStatus,
}

/// The encoded form is unknown to this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read live data: its form is unknown to this version")]
pub struct UnknownForm;

/// The first byte of the written form. A new form takes a new number and reads the old one.
const FORM: u8 = 1;

impl<'a> LiveData<'a> {
    /// Writes it down: a form byte, the parent's status, then three lists of pairs, each with a
    /// count; numbers as LEB128, texts with their length before them.
    pub fn encode(&self) -> Vec<u8> {
        // Most interactions carry about a kilobyte.
        let mut out = Vec::with_capacity(1024);
        let parent = ParentStatus::ALL.iter().position(|status| *status == self.parent);
        out.push(FORM);
        write_number(parent.unwrap_or_default(), &mut out);
        write_number(self.received.len(), &mut out);
        for (key, value, source) in self.received.iter() {
            write_bytes(source.as_str().as_bytes(), &mut out);
            write_pair(key, value, &mut out);
        }
        for pairs in [&self.assigned, &self.copied] {
            write_number(pairs.len(), &mut out);
            for (key, value) in pairs {
                write_pair(key, value, &mut out);
            }
        }
        out
    }

    /// Reads what [`LiveData::encode`] wrote.
    ///
    /// # Errors
    /// [`UnknownForm`] when it is of a newer form, or none at all.
    pub fn decode(bytes: &'a [u8]) -> Result<LiveData<'a>, UnknownForm> {
        let mut reader = Reader(bytes);
        if reader.bytes(1)? != [FORM] {
            return Err(UnknownForm);
        }
        let parent = *ParentStatus::ALL.get(reader.number()?).ok_or(UnknownForm)?;
        let count = reader.number()?;
        // Each pair takes three bytes at least, so a count that is damaged does not ask for more.
        let mut received = Received::with_capacity(count.min(reader.0.len() / 3));
        let keep = Priority::default();
        for _ in 0..count {
            let source = Source::from_name(Cow::Borrowed(reader.text()?));
            let (key, value) = reader.pair()?;
            if received.take(key, value, source, &keep).is_some() {
                return Err(UnknownForm);
            }
        }
        let (assigned, copied) = (reader.pairs()?, reader.pairs()?);
        if !reader.0.is_empty() {
            return Err(UnknownForm);
        }
        Ok(LiveData { received, assigned, copied, parent })
    }
}

fn write_pair(key: &Key<'_>, value: &Value<'_>, out: &mut Vec<u8>) {
    write_bytes(key.as_bytes(), out);
    write_bytes(value.as_json().as_bytes(), out);
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_number(bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn write_number(mut number: usize, out: &mut Vec<u8>) {
    while number > 0x7F {
        out.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn pairs(&mut self) -> Result<Vec<(Key<'a>, Value<'a>)>, UnknownForm> {
        let count = self.number()?;
        (0..count).map(|_| self.pair()).collect()
    }

    fn pair(&mut self) -> Result<(Key<'a>, Value<'a>), UnknownForm> {
        let length = self.number()?;
        let key = Key::from_bytes(self.bytes(length)?);
        Ok((key, Value::from_json(self.text()?)))
    }

    fn text(&mut self) -> Result<&'a str, UnknownForm> {
        let length = self.number()?;
        std::str::from_utf8(self.bytes(length)?).map_err(|_| UnknownForm)
    }

    fn number(&mut self) -> Result<usize, UnknownForm> {
        let mut number = 0;
        // Five groups of seven bits hold any length that fits a message.
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.bytes(1)? else { return Err(UnknownForm) };
            number |= usize::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(UnknownForm)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], UnknownForm> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(UnknownForm)?;
        self.0 = rest;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> LiveData<'static> {
        let mut received = Received::default();
        for (key, value, source) in [
            ("AccNum", "\"A-778\"", Source::Customer),
            ("größe", "1.10", Source::Agent),
            ("", "null", Source::Other(Cow::Borrowed("crm"))),
        ] {
            let lost = received.take(
                Key::from(key),
                Value::from_json(value),
                source,
                &Priority::default(),
            );
            assert_eq!(lost, None);
        }
        let pair = |key, value| (Key::from(key), Value::from_json(value));
        LiveData {
            received,
            assigned: vec![pair("title", r#"{"z":1,"a":2}"#)],
            copied: vec![pair("rule", "[]"), pair("long", "12345678901234567890")],
            parent: ParentStatus::Found,
        }
    }

    #[test]
    fn decode_of_encode_equals_the_original() {
        let written = sample().encode();
        let read = LiveData::decode(&written).expect("our own form");
        assert_eq!(read.encode(), written);
        assert_eq!(read.parent, ParentStatus::Found);
        assert_eq!(read.received.get(&Key::from("größe")), Some(&Value::from_json("1.10")));
    }

    #[test]
    fn rejects_truncated_data_and_newer_forms() {
        let written = sample().encode();
        for end in 0..written.len() {
            assert_eq!(LiveData::decode(&written[..end]).err(), Some(UnknownForm), "{end}");
        }
        let newer = [&[FORM + 1], &written[1..]].concat();
        assert_eq!(LiveData::decode(&newer).err(), Some(UnknownForm));
    }
}
