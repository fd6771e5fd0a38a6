//! Reads the lines of the input, and delivers them.

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use super::line::Line;
use super::waiting::{PendingLines, WaitingLines};
use crate::domain::byte_order_mark::bytes_without_mark;
use crate::pipeline::ports::{Arrival, Source, TransportError};

/// A longer line is truncated to this length, in bytes, and is rejected as `too_large`. Sixteen times
/// the default limit of a body: the dead letter shows enough of it, and memory stays bounded.
const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;

/// A source of the lines of a reader, and of waiting lines that are ready.
#[derive(Debug)]
pub(crate) struct LineSource<'r, R> {
    reader: R,
    waiting: &'r WaitingLines,
    /// The line that has not ended: kept here so that a read can be cancelled.
    open: OpenLine,
    ended: bool,
}

/// The beginning of a line.
#[derive(Debug, Default)]
struct OpenLine {
    /// Lines before it.
    before: u64,
    partial: Vec<u8>,
    cut: bool,
    /// Whether the log has the hint about messages over several lines.
    hinted: bool,
}

impl<'r, R: AsyncBufRead + Unpin + Send> LineSource<'r, R> {
    /// A source of the lines of `reader`.
    pub(crate) fn new(reader: R, waiting: &'r WaitingLines) -> LineSource<'r, R> {
        LineSource { reader, waiting, open: OpenLine::default(), ended: false }
    }

    /// Reads what is buffered, waiting only if nothing is, and returns the lines that end in it.
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
            let space = MAX_LINE_BYTES.saturating_sub(line.partial.len());
            line.cut |= piece.len() > space;
            line.partial.extend_from_slice(&piece[..piece.len().min(space)]);
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

impl OpenLine {
    /// The line that has been read, unless it is blank.
    fn finish(&mut self) -> Option<Line> {
        self.before += 1;
        let (number, cut) = (self.before, std::mem::take(&mut self.cut));
        let body = std::mem::take(&mut self.partial);
        if !self.hinted && ends_within_json(&body) {
            self.hinted = true;
            tracing::warn!(line = number, "{ONE_PER_LINE}");
        }
        let blank = bytes_without_mark(&body).iter().all(u8::is_ascii_whitespace);
        (!blank).then(|| Line { number, body, cut, arrival: Arrival::default() })
    }
}

/// What is said of a line that is only the beginning of a message.
pub(crate) const ONE_PER_LINE: &str = "a line ends within a JSON value: one message per line is read, so one \
    that goes over several lines has to be made one (jq -c . does that)";

/// Whether a line begins a JSON value and goes on after its end, as the first of a message that is
/// printed over several lines does.
pub(crate) fn ends_within_json(line: &[u8]) -> bool {
    let line = bytes_without_mark(line).trim_ascii();
    line.starts_with(b"{") && matches!(line.last(), Some(b'{' | b'[' | b',' | b':'))
        || matches!(line, b"[" | b"[{")
}

impl<R: AsyncBufRead + Unpin + Send> Source for LineSource<'_, R> {
    type Delivery = Line;

    async fn next_batch(&mut self, max: usize) -> Result<Vec<Line>, TransportError> {
        loop {
            let ready = self.waiting.take_ready(max);
            if !ready.is_empty() {
                return Ok(ready);
            }
            if self.ended {
                match self.waiting.next_pending(max) {
                    PendingLines::Ready(lines) => return Ok(lines),
                    PendingLines::Nothing => return Ok(Vec::new()),
                    PendingLines::InFlight => self.waiting.changed().await,
                }
                continue;
            }
            let waiting = self.waiting;
            let lines = tokio::select! {
                lines = self.read(max) => lines?,
                // Lines were settled: others may be ready, whether or not the input goes on.
                () = waiting.changed() => continue,
            };
            if !lines.is_empty() {
                self.waiting.delivered(lines.len());
                return Ok(lines);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_end_with_a_line_break_or_the_input() {
        let waiting = WaitingLines::default();
        let mut lines = LineSource::new(&b"one\r\n\n  \ntwo\nthree\n\xef\xbb\xbf"[..], &waiting);
        let mut seen = Vec::new();
        loop {
            let batch = lines.next_batch(2).await.expect("memory can be read");
            if batch.is_empty() {
                break;
            }
            waiting.settled(batch.len());
            seen.extend(batch.into_iter().map(|line| (line.number, line.body)));
        }
        let expected = [(1, b"one\r".to_vec()), (4, b"two".to_vec()), (5, b"three".to_vec())];
        assert_eq!(seen, expected);
    }

    #[test]
    fn recognises_the_first_line_of_a_message_over_several_lines() {
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
    async fn overlong_line_is_truncated() {
        let waiting = WaitingLines::default();
        let long = vec![b'x'; MAX_LINE_BYTES + 10];
        let mut lines = LineSource::new(long.as_slice(), &waiting);
        let batch = lines.next_batch(1).await.expect("memory can be read");
        assert_eq!((batch[0].body.len(), batch[0].cut), (MAX_LINE_BYTES, true));
    }
}
