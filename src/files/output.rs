//! Writes enriched messages and rejected lines, and settles lines.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::line::Line;
use super::waiting::WaitingLines;
use crate::domain::RejectReason;
use crate::pipeline::ports::{
    Attempts, Outgoing, PublishOutcome, Publisher, Settlement, Settler, TransportError,
};

/// Writes enriched messages to one place and rejected lines to another.
pub(crate) struct LinePublisher<'r, W, D> {
    out: W,
    /// Where rejected lines go; `None`: they are only counted.
    dead_letters: Option<D>,
    waiting: &'r WaitingLines,
}

impl<'r, W, D> LinePublisher<'r, W, D>
where
    W: AsyncWrite + Unpin + Send,
    D: AsyncWrite + Unpin + Send,
{
    /// A publisher to `out`, with rejected lines to `dead_letters`.
    pub(crate) fn new(
        out: W,
        dead_letters: Option<D>,
        waiting: &'r WaitingLines,
    ) -> LinePublisher<'r, W, D> {
        LinePublisher { out, dead_letters, waiting }
    }

    async fn write_dead_letter(
        &mut self,
        line: &Line,
        (reason, detail): (RejectReason, &str),
        stage: &str,
        attempts: &Attempts,
    ) -> Result<(), TransportError> {
        let Some(out) = &mut self.dead_letters else { return Ok(()) };
        let mut letter = json!({
            "headers": {
                "x-throughline-reason": reason.as_str(),
                "x-throughline-detail": detail,
                "x-throughline-stage": stage,
                // A line that was decided at the end of the input has had one attempt.
                "x-throughline-attempts": if attempts.count == u32::MAX { 1 } else { attempts.count },
                "x-throughline-line": line.number,
            },
        });
        // As received; JSON has no other form for bytes that are not UTF-8.
        match std::str::from_utf8(&line.body) {
            Ok(text) => letter["body"] = text.into(),
            Err(_) => letter["bodyBase64"] = BASE64.encode(&line.body).into(),
        }
        if line.cut {
            letter["cut"] = true.into();
        }
        let text = format!("{letter}\n");
        out.write_all(text.as_bytes()).await.map_err(write_error("the dead letters"))
    }
}

fn write_error(what: &'static str) -> impl Fn(std::io::Error) -> TransportError {
    move |error| TransportError::new(format!("write {what}: {error}"))
}

impl<W, D> Publisher<Line> for LinePublisher<'_, W, D>
where
    W: AsyncWrite + Unpin + Send,
    D: AsyncWrite + Unpin + Send,
{
    async fn publish(
        &mut self,
        batch: &[Outgoing<'_, Line>],
    ) -> Result<Vec<PublishOutcome>, TransportError> {
        for message in batch {
            match message {
                Outgoing::Enriched(message) => {
                    self.out.write_all(&message.body).await.map_err(write_error("the output"))?;
                    self.out.write_all(b"\n").await.map_err(write_error("the output"))?;
                    self.waiting.wake(&message.identity);
                }
                // There is one output, and it is for the enriched messages.
                Outgoing::Further { .. } => {}
                Outgoing::Waiting { delivery, awaited, attempts, .. } => {
                    let line = delivery.with_attempts(attempts);
                    match awaited {
                        Some(awaited) => self.waiting.park(line, (*awaited).clone()),
                        None => self.waiting.requeue(line),
                    }
                }
                Outgoing::DeadLetter { delivery, reason, detail, stage, attempts } => {
                    self.write_dead_letter(delivery, (*reason, detail), stage, attempts).await?;
                }
            }
        }
        self.out.flush().await.map_err(write_error("the output"))?;
        if let Some(out) = &mut self.dead_letters {
            out.flush().await.map_err(write_error("the dead letters"))?;
        }
        Ok(vec![PublishOutcome::Confirmed; batch.len()])
    }
}

/// Settles lines: counts that they are no longer in flight.
#[derive(Debug)]
pub(crate) struct LineSettler<'r> {
    waiting: &'r WaitingLines,
}

impl<'r> LineSettler<'r> {
    /// A settler of the lines that `waiting` counts.
    pub(crate) fn new(waiting: &'r WaitingLines) -> LineSettler<'r> {
        LineSettler { waiting }
    }
}

impl Settler<Line> for LineSettler<'_> {
    async fn settle(&mut self, batch: Vec<(Line, Settlement)>) -> Result<(), TransportError> {
        let settled = batch.len();
        for (line, settlement) in batch {
            match settlement {
                Settlement::Acknowledge => {}
                Settlement::Requeue | Settlement::GiveBack => self.waiting.requeue(line),
            }
        }
        self.waiting.settled(settled);
        Ok(())
    }
}
