//! Where enriched messages and rejected lines go, and how lines are settled.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::lines::Line;
use super::room::{Room, with_attempts};
use crate::domain::RejectReason;
use crate::pipeline::ports::{
    Attempts, Outgoing, PublishOutcome, Publisher, Settlement, Settler, TransportError,
};

/// Writes enriched messages to one place and rejected lines to another.
pub struct Output<'r, W, D> {
    out: W,
    /// Where rejected lines go; `None` only counts them.
    dead_letters: Option<D>,
    room: &'r Room,
}

impl<'r, W, D> Output<'r, W, D>
where
    W: AsyncWrite + Unpin + Send,
    D: AsyncWrite + Unpin + Send,
{
    /// An output to `out`, with rejected lines to `dead_letters`.
    pub fn new(out: W, dead_letters: Option<D>, room: &'r Room) -> Output<'r, W, D> {
        Output { out, dead_letters, room }
    }

    async fn set_aside(
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
                // A line that was decided at the end did not wait that often.
                "x-throughline-attempts": if attempts.count == u32::MAX { 1 } else { attempts.count },
                "x-throughline-line": line.number,
            },
        });
        // As received; what is no text has no other form in JSON.
        match std::str::from_utf8(&line.body) {
            Ok(text) => letter["body"] = text.into(),
            Err(_) => letter["bodyBase64"] = BASE64.encode(&line.body).into(),
        }
        if line.cut {
            letter["cut"] = true.into();
        }
        let text = format!("{letter}\n");
        out.write_all(text.as_bytes()).await.map_err(lost("the dead letters"))
    }
}

fn lost(what: &'static str) -> impl Fn(std::io::Error) -> TransportError {
    move |error| TransportError::new(format!("write {what}: {error}"))
}

impl<W, D> Publisher<Line> for Output<'_, W, D>
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
                    self.out.write_all(&message.body).await.map_err(lost("the output"))?;
                    self.out.write_all(b"\n").await.map_err(lost("the output"))?;
                    self.room.wake(&message.identity);
                }
                // There is one place to print to, and it is for the enriched messages.
                Outgoing::Further { .. } => {}
                Outgoing::Waiting { delivery, awaited, attempts, .. } => {
                    let line = with_attempts(delivery, attempts);
                    match awaited {
                        Some(awaited) => self.room.park(line, (*awaited).clone()),
                        None => self.room.requeue(line),
                    }
                }
                Outgoing::DeadLetter { delivery, reason, detail, stage, attempts } => {
                    self.set_aside(delivery, (*reason, detail), stage, attempts).await?;
                }
            }
        }
        self.out.flush().await.map_err(lost("the output"))?;
        if let Some(out) = &mut self.dead_letters {
            out.flush().await.map_err(lost("the dead letters"))?;
        }
        Ok(vec![PublishOutcome::Confirmed; batch.len()])
    }
}

/// Settles lines: tells the room that they are no longer under way.
#[derive(Debug)]
pub struct Ledger<'r> {
    room: &'r Room,
}

impl<'r> Ledger<'r> {
    /// The ledger of a room.
    pub fn new(room: &'r Room) -> Ledger<'r> {
        Ledger { room }
    }
}

impl Settler<Line> for Ledger<'_> {
    async fn settle(&mut self, batch: Vec<(Line, Settlement)>) -> Result<(), TransportError> {
        let settled = batch.len();
        for (line, settlement) in batch {
            match settlement {
                Settlement::Acknowledge => {}
                Settlement::Requeue | Settlement::GiveBack => self.room.requeue(line),
            }
        }
        self.room.settled(settled);
        Ok(())
    }
}
