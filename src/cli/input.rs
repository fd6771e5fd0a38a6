//! The `FILE|-` that some commands read.

use std::io::ErrorKind;
use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::failure::{Exit, Failure};

/// Opens a file, or standard input where it is `-` or none.
pub(super) async fn open(
    file: Option<&PathBuf>,
) -> Result<Box<dyn AsyncRead + Unpin + Send>, Failure> {
    match file.filter(|file| file.as_os_str() != "-") {
        None => Ok(Box::new(tokio::io::stdin())),
        Some(path) => {
            let failed = |error: std::io::Error| {
                let name = path.display();
                Failure::new(Exit::Usage, format_args!("failed to open the input {name}: {error}"))
            };
            let file = tokio::fs::File::open(path).await.map_err(failed)?;
            // It can be opened, and reading it fails only later.
            if file.metadata().await.map_err(failed)?.is_dir() {
                return Err(failed(ErrorKind::IsADirectory.into()));
            }
            Ok(Box::new(file))
        }
    }
}

/// Reads all of it.
pub(super) async fn read(file: Option<&PathBuf>) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = open(file).await?.read_to_end(&mut bytes).await;
    let failed =
        |error| Failure::new(Exit::Usage, format_args!("failed to read the input: {error}"));
    read.map_err(failed)?;
    Ok(bytes)
}
