//! Lines as deliveries.

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use super::room::{Left, Room};
use crate::pipeline::ports::{Arrival, Delivery, Source, TransportError};

/// A longer line is kept to this length, in bytes, and will be rejected as `too_large`. Sixteen times
/// the default limit of a body: the dead letter then shows what it was, and memory stays bounded.
const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;

/// One line of the input.
#[derive(Clone, Default)]
pub struct Line {
    /// Its number, counted from 1.
    pub number: u64,
    pub(super) body: Vec<u8>,
    /// Whether the line was longer than what is kept of it.
    pub(super) cut: bool,
    pub(super) arrival: Arrival,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Line {} ({} bytes)", self.number, self.body.len())
    }
}

impl Delivery for Line {
    fn body(&self) -> &[u8] {
        &self.body
    }

    fn arrival(&self) -> &Arrival {
        &self.arrival
    }

    fn name(&self) -> String {
        format!("line {}", self.number)
    }
}

/// The lines of a reader, and the lines of the room that are ready.
#[derive(Debug)]
pub struct Lines<'r, R> {
    reader: R,
    room: &'r Room,
    number: u64,
    /// What has been read of a line that has not ended: kept here so that a read can be cancelled.
    partial: Vec<u8>,
    cut: bool,
    ended: bool,
}

impl<'r, R: AsyncBufRead + Unpin + Send> Lines<'r, R> {
    /// The lines of `reader`.
    pub fn new(reader: R, room: &'r Room) -> Lines<'r, R> {
        Lines { reader, room, number: 0, partial: Vec::new(), cut: false, ended: false }
    }

    /// Reads what is buffered, waiting only if nothing is, and takes the lines that end in it.
    async fn read(&mut self, max: usize) -> Result<Vec<Line>, TransportError> {
        let mut lines = Vec::new();
        let buffer = self.reader.fill_buf().await;
        let buffer =
            buffer.map_err(|error| TransportError::new(format!("read the input: {error}")))?;
        if buffer.is_empty() {
            self.ended = true;
            if !self.partial.is_empty() {
                lines.extend(self.line());
            }
            return Ok(lines);
        }
        let mut used = 0;
        while lines.len() < max && used < buffer.len() {
            let rest = &buffer[used..];
            let end = memchr::memchr(b'\n', rest);
            let piece = &rest[..end.unwrap_or(rest.len())];
            let room = MAX_LINE_BYTES.saturating_sub(self.partial.len());
            self.cut |= piece.len() > room;
            self.partial.extend_from_slice(&piece[..piece.len().min(room)]);
            used += piece.len();
            if end.is_some() {
                used += 1;
                self.number += 1;
                let line = finish(&mut self.partial, &mut self.cut, self.number);
                lines.extend(line);
            }
        }
        self.reader.consume(used);
        Ok(lines)
    }

    /// The last line, which no line break ends.
    fn line(&mut self) -> Option<Line> {
        self.number += 1;
        finish(&mut self.partial, &mut self.cut, self.number)
    }
}

/// The line that has been read, unless it is blank.
fn finish(partial: &mut Vec<u8>, cut: &mut bool, number: u64) -> Option<Line> {
    let body = std::mem::take(partial);
    let cut = std::mem::take(cut);
    let blank = body.iter().all(u8::is_ascii_whitespace);
    (!blank).then(|| Line { number, body, cut, arrival: Arrival::default() })
}

impl<R: AsyncBufRead + Unpin + Send> Source for Lines<'_, R> {
    type Delivery = Line;

    async fn next_batch(&mut self, max: usize) -> Result<Vec<Line>, TransportError> {
        loop {
            let ready = self.room.take_ready(max);
            if !ready.is_empty() {
                return Ok(ready);
            }
            if self.ended {
                match self.room.left(max) {
                    Left::Ready(lines) => return Ok(lines),
                    Left::Nothing => return Ok(Vec::new()),
                    Left::UnderWay => self.room.changed().await,
                }
                continue;
            }
            let room = self.room;
            let lines = tokio::select! {
                lines = self.read(max) => lines?,
                // Something was settled: what waited for it may be ready, whether or not the input
                // goes on.
                () = room.changed() => continue,
            };
            if !lines.is_empty() {
                self.room.delivered(lines.len());
                return Ok(lines);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_end_with_a_break_or_the_input() {
        let room = Room::default();
        let mut lines = Lines::new(&b"one\r\n\n  \ntwo\nthree"[..], &room);
        let mut seen = Vec::new();
        loop {
            let batch = lines.next_batch(2).await.expect("memory can be read");
            if batch.is_empty() {
                break;
            }
            room.settled(batch.len());
            seen.extend(batch.into_iter().map(|line| (line.number, line.body)));
        }
        let expected = [(1, b"one\r".to_vec()), (4, b"two".to_vec()), (5, b"three".to_vec())];
        assert_eq!(seen, expected);
    }

    #[tokio::test]
    async fn an_endless_line_is_cut() {
        let room = Room::default();
        let long = vec![b'x'; MAX_LINE_BYTES + 10];
        let mut lines = Lines::new(long.as_slice(), &room);
        let batch = lines.next_batch(1).await.expect("memory can be read");
        assert_eq!((batch[0].body.len(), batch[0].cut), (MAX_LINE_BYTES, true));
    }
}
