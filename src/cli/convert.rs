//! `throughline convert`: any known format to the canonical one.
//!
//! It only changes the format: no rules apply, nothing is stored or sent, and no message waits for another.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use tokio::io::{AsyncWriteExt, BufReader, BufWriter};

use super::failure::{Exit, Failure};
use super::{block_on, input, output};
use crate::files::{LineSource, WaitingLines};
use crate::formats::{self, Hints, Refusal, canonical};
use crate::pipeline::ports::{Delivery as _, Source as _};
use crate::settings::Settings;
use crate::telemetry::stderr::write_line;

/// Converts any known format to the canonical one: NDJSON in, NDJSON out
///
/// One message per line; blank lines are skipped. No rules apply. What cannot be converted goes to
/// stderr with the number of its line and the reason, and so do warnings about what was converted;
/// neither holds values.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  throughline convert genesys-cloud.ndjson > canonical.ndjson
  throughline convert --format mindful-scheduler - < requests.ndjson | throughline pipe

Exits with 1 if any line could not be converted.")]
pub(super) struct Arguments {
    /// The input; standard input if it is - or absent.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The format of the input; auto lets the shape of each line decide.
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = names())]
    format: String,
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(std::iter::once("auto").chain(formats::decodable()))
}

/// The lines of a batch: enough that the cost of reading them does not count.
const BATCH_LINES: usize = 256;

pub(super) fn run(arguments: &Arguments, settings: &Settings) -> Result<Exit, Failure> {
    let max_bytes = settings.limits.body_max_bytes;
    block_on(async {
        let reader = BufReader::new(input::open(arguments.file.as_ref()).await?);
        let mut out = BufWriter::new(tokio::io::stdout());
        // No line waits here: each is settled as soon as it is delivered.
        let room = WaitingLines::default();
        let mut lines = LineSource::new(reader, &room);
        let mut rejected = 0;
        loop {
            let batch = lines.next_batch(BATCH_LINES).await;
            let batch = batch
                .map_err(|error| Failure::new(Exit::Usage, format_args!("failed to {error}")))?;
            if batch.is_empty() {
                break;
            }
            for line in &batch {
                match convert(line.body(), max_bytes, &arguments.format) {
                    Ok(converted) => {
                        for warning in converted.warnings {
                            write_line(format_args!("line {}: warning: {warning}", line.number));
                        }
                        out.write_all(&converted.line)
                            .await
                            .map_err(|error| output::failure(&error))?;
                    }
                    Err(refusal) => {
                        rejected += 1;
                        write_line(format_args!("line {}: {refusal}", line.number));
                    }
                }
            }
            room.settled(batch.len());
        }
        out.flush().await.map_err(|error| output::failure(&error))?;
        Ok(if rejected == 0 { Exit::Done } else { Exit::DoesNotHold })
    })
}

/// A line that was converted.
struct Converted {
    line: Vec<u8>,
    warnings: Vec<&'static str>,
}

fn convert(body: &[u8], max_bytes: usize, format: &str) -> Result<Converted, Refusal> {
    let text = formats::body::check(body, max_bytes)?;
    let hints = Hints { format: Some(format), ..Hints::default() };
    let decoded = formats::decode(&text, body, hints)?;
    let mut line = canonical::encode(&decoded);
    line.push(b'\n');
    let warnings = decoded.message.warnings.iter();
    Ok(Converted { line, warnings: warnings.map(|warning| warning.code.as_str()).collect() })
}
