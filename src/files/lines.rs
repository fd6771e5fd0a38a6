//! Lines as deliveries.

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use super::room::{Left, Room};
use crate::domain::byte_order_mark::bytes_without_mark;
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
    /// The line that has not ended: kept here so that a read can be cancelled.
    open: Open,
    ended: bool,
}

/// What has been read of a line.
#[derive(Debug, Default)]
struct Open {
    /// Its number, less one.
    before: u64,
    partial: Vec<u8>,
    cut: bool,
    /// Whether it was said that a message does not go over several lines.
    told: bool,
}

impl<'r, R: AsyncBufRead + Unpin + Send> Lines<'r, R> {
    /// The lines of `reader`.
    pub fn new(reader: R, room: &'r Room) -> Lines<'r, R> {
        Lines { reader, room, open: Open::default(), ended: false }
    }

    /// Reads what is buffered, waiting only if nothing is, and takes the lines that end in it.
    async fn read(&mut self, max: usize) -> Result<Vec<Line>, TransportError> {
        let mut lines = Vec::new();
        let buffer = self.reader.fill_buf().await;
        let buffer =
            buffer.map_err(|error| TransportError::new(format!("read the input: {error}")))?;
        if buffer.is_empty() {
            self.ended = true;
            if !self.open.partial.is_empty() {
                lines.extend(self.open.finish());
            }
            return Ok(lines);
        }
        let mut used = 0;
        while lines.len() < max && used < buffer.len() {
            let rest = &buffer[used..];
            let end = memchr::memchr(b'\n', rest);
            let piece = &rest[..end.unwrap_or(rest.len())];
            let line = &mut self.open;
            let room = MAX_LINE_BYTES.saturating_sub(line.partial.len());
            line.cut |= piece.len() > room;
            line.partial.extend_from_slice(&piece[..piece.len().min(room)]);
            used += piece.len();
            if end.is_some() {
                used += 1;
                lines.extend(line.finish());
            }
        }
        self.reader.consume(used);
        Ok(lines)
    }
}

impl Open {
    /// The line that has been read, unless it is blank.
    fn finish(&mut self) -> Option<Line> {
        self.before += 1;
        let (number, cut) = (self.before, std::mem::take(&mut self.cut));
        let body = std::mem::take(&mut self.partial);
        if !self.told && ends_within_json(&body) {
            self.told = true;
            tracing::warn!(line = number, "{ONE_PER_LINE}");
        }
        let blank = bytes_without_mark(&body).iter().all(u8::is_ascii_whitespace);
        (!blank).then(|| Line { number, body, cut, arrival: Arrival::default() })
    }
}

/// What is said of a line that is only the beginning of a message.
pub const ONE_PER_LINE: &str = "a line ends within a JSON value: one message per line is read, so one \
    that goes over several lines has to be made one (jq -c . does that)";

/// Whether a line begins a JSON value and goes on after its end, as the first of a message that is
/// printed over several lines does.
pub fn ends_within_json(line: &[u8]) -> bool {
    let line = bytes_without_mark(line).trim_ascii();
    line.starts_with(b"{") && matches!(line.last(), Some(b'{' | b'[' | b',' | b':'))
        || matches!(line, b"[" | b"[{")
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
        let mut lines = Lines::new(&b"one\r\n\n  \ntwo\nthree\n\xef\xbb\xbf"[..], &room);
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

    #[test]
    fn the_first_line_of_a_message_over_several_lines_is_known() {
        for (line, ends_within) in [
            ("{", true),
            ("\u{feff}{\r", true),
            ("[", true),
            (r#"{ "type": "interaction.created","#, true),
            (r#"{ "interaction": {"#, true),
            ("{}", false),
            ("", false),
            (r#""id": "A","#, false),
            ("[1,2]", false),
            (r#"{"type":"#.trim_end_matches(':'), false),
        ] {
            assert_eq!(ends_within_json(line.as_bytes()), ends_within, "{line}");
        }
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
