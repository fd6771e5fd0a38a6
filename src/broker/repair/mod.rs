//! Makes incoming AMQP frames readable before lapin reads them.
//!
//! AMQP's short strings are UTF-8, but RabbitMQ passes on whatever bytes a publisher wrote, and lapin
//! gives up the connection over the first string that is not. So each byte that is no UTF-8 becomes a
//! `?`, in its place: no length changes, and no frame is built anew. What would nest deeper than
//! [`NESTING_MAX`] becomes a byte array of the same bytes, which only takes another letter for its
//! type: lapin reads nested values by recursion, on a thread's stack.
//!
//! Invariants: a frame without such a fault passes byte for byte. Nothing is held back but the part of
//! a method or a header that has arrived, [`HELD_MAX_BYTES`] at most; longer ones pass unread. For
//! which deliveries something was replaced, and where, is in [`Repairs`] before lapin has their bytes.
//!
//! Deliberately absent: what becomes of such a message (`consumer.rs` reports it to the pipeline), and the
//! socket (`stream.rs`).

mod repaired_fields;
#[cfg(test)]
mod tests;
mod walk;

use std::sync::Arc;

pub(super) use repaired_fields::{RepairedField, RepairedFields, Repairs};
use walk::Delivering;

/// How deep values may nest in headers. RabbitMQ's own go two levels deep (`x-death`), and what is
/// known of clients little deeper.
pub(super) const NESTING_MAX: usize = 32;

/// The longest method or header that is looked into. RabbitMQ's `frame_max` is 128 KiB, unless its
/// operator raises it.
const HELD_MAX_BYTES: usize = 1024 * 1024;

/// Bytes read at once. Grows where a longer header comes.
const BUFFER_BYTES: usize = 128 * 1024;

// Of the protocol.
const FRAME_METHOD: u8 = 1;
const FRAME_HEADER: u8 = 2;
/// Type, channel, size.
const FRAME_HEAD_BYTES: usize = 7;
/// The head, and the octet that ends a frame.
const FRAME_EXTRA_BYTES: usize = FRAME_HEAD_BYTES + 1;

/// The incoming bytes of one connection, on their way to lapin.
#[derive(Debug)]
pub(super) struct Frames {
    buffer: Vec<u8>,
    /// Start of the bytes to hand out.
    start: usize,
    /// End of the bytes that may be handed out.
    ready: usize,
    /// End of the bytes that have arrived.
    end: usize,
    /// How much of the frame at `ready` passes unread.
    pass: u64,
    delivering: Delivering,
    repairs: Arc<Repairs>,
}

impl Frames {
    pub(super) fn new(repairs: Arc<Repairs>) -> Frames {
        let (start, ready, end, pass) = (0, 0, 0, 0);
        let (buffer, delivering) = (vec![0; BUFFER_BYTES], Delivering::new());
        Frames { buffer, start, ready, end, pass, delivering, repairs }
    }

    /// Hands out the readable bytes; 0 where more have to arrive first.
    pub(super) fn take(&mut self, out: &mut [u8]) -> usize {
        let bytes = out.len().min(self.ready - self.start);
        out[..bytes].copy_from_slice(&self.buffer[self.start..self.start + bytes]);
        self.start += bytes;
        bytes
    }

    /// Where to put what arrives; never empty. Everything readable has been taken.
    pub(super) fn room(&mut self) -> &mut [u8] {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.ready -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            // A header that is longer than the buffer, and not longer than what may be held.
            self.buffer.resize(HELD_MAX_BYTES + FRAME_EXTRA_BYTES, 0);
        }
        &mut self.buffer[self.end..]
    }

    /// So many bytes have arrived in the room.
    pub(super) fn arrived(&mut self, bytes: usize) {
        self.end += bytes;
        while self.advance() {}
    }

    /// No more will arrive: bytes held back are handed out as they are.
    pub(super) fn finish(&mut self) {
        self.ready = self.end;
    }

    /// Makes one more piece readable, if it has arrived.
    fn advance(&mut self) -> bool {
        let arrived = self.end - self.ready;
        if self.pass > 0 {
            let bytes = usize::try_from(self.pass).unwrap_or(usize::MAX).min(arrived);
            self.ready += bytes;
            self.pass -= bytes as u64;
            return bytes > 0;
        }
        let frame = &mut self.buffer[self.ready..self.end];
        let Some((head, rest)) = frame.split_first_chunk_mut::<FRAME_HEAD_BYTES>() else {
            return false;
        };
        let [kind, c0, c1, s0, s1, s2, s3] = *head;
        let channel = u16::from_be_bytes([c0, c1]);
        let size = u32::from_be_bytes([s0, s1, s2, s3]);
        let held = usize::try_from(size).unwrap_or(usize::MAX);
        if !matches!(kind, FRAME_METHOD | FRAME_HEADER) || held > HELD_MAX_BYTES {
            self.pass = u64::from(size) + FRAME_EXTRA_BYTES as u64;
            return true;
        }
        // With the octet that ends it.
        if rest.len() <= held {
            return false;
        }
        self.ready += held + FRAME_EXTRA_BYTES;
        if self.repairs.has_room() {
            let payload = &mut rest[..held];
            match kind {
                FRAME_METHOD => walk::method(channel, payload, &mut self.delivering, &self.repairs),
                _ => walk::header(channel, payload, &mut self.delivering, &self.repairs),
            }
        }
        true
    }
}
