//! Where live keys come from: the settings, a file, or, for SQLite, a file beside the database that
//! is made on first use.
//!
//! The file holds 32 bytes in base64 a line; the first line is the current key, further lines are
//! old keys that still open what they sealed. No key material appears in an error or a log. A file
//! that others may read is a warning, not an error: who mounts secrets is not always free to choose
//! their mode.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Settings;
use super::live_data::LiveKeys;
use crate::domain::byte_order_mark::without_mark;
use crate::domain::digest::Hex;

/// Why there is no live key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// PostgreSQL, and no key given. Beside a database that several machines share, no file can
    /// stand, and a key in the database would guard nothing.
    #[error("find a live key: PostgreSQL needs `store.live_key_file` (32 bytes in base64)")]
    Missing,
    /// Both a file and a key are given.
    #[error("choose a live key: both `store.live_key` and `store.live_key_file` are set")]
    Ambiguous,
    /// The file cannot be read.
    #[error("read the live key file {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file cannot be created.
    #[error("create the live key file {}: {source}", path.display())]
    Create {
        /// Which file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A line is no key, or there is none at all.
    #[error("read {place}: line {line} is not 32 bytes in base64")]
    Malformed {
        /// Where it stands: a file, or the setting.
        place: String,
        /// Counted from 1.
        line: usize,
    },
}

/// The live keys that the settings name, and warnings for the operator. `database` is the path of a
/// SQLite database, whose own key file serves where none is named.
///
/// # Errors
/// When no key is given and none can be made, or the given text is no key.
pub(super) fn load(
    settings: &Settings,
    database: Option<&Path>,
) -> Result<(LiveKeys, Vec<String>), KeyError> {
    match (&settings.live_key, &settings.live_key_file, database) {
        (Some(_), Some(_), _) => Err(KeyError::Ambiguous),
        (Some(lines), None, _) => Ok((parse(lines, || "`store.live_key`".to_owned())?, Vec::new())),
        (None, Some(path), _) => read(path),
        (None, None, Some(database)) => {
            let path = beside(database);
            if !path.exists() {
                let failed = |source| KeyError::Create { path: path.clone(), source };
                if settings.must_exist {
                    // It has been moved without its key, or is not made yet. A key that opens nothing
                    // serves for looking at all but live data.
                    let key = random().map_err(failed)?;
                    return Ok((LiveKeys::new(&key, &[]), Vec::new()));
                }
                create(&path).map_err(failed)?;
            }
            read(&path)
        }
        (None, None, None) => Err(KeyError::Missing),
    }
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut random = [0; N];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(random)
}

/// The key file of a SQLite database: its path and `.live-key`.
fn beside(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".live-key");
    PathBuf::from(path)
}

fn read(path: &Path) -> Result<(LiveKeys, Vec<String>), KeyError> {
    let failed = |source| KeyError::Read { path: path.to_owned(), source };
    let lines = fs::read_to_string(path).map_err(failed)?;
    let keys = parse(&lines, || format!("the live key file {}", path.display()))?;
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
    let warnings = readable_by_others(path, mode).into_iter().collect();
    Ok((keys, warnings))
}

/// A warning for a file whose mode lets others read it.
pub(super) fn readable_by_others(path: &Path, mode: u32) -> Option<String> {
    let open = mode & 0o077 != 0;
    open.then(|| format!("{} is open to others (mode {:o})", path.display(), mode & 0o777))
}

fn parse(lines: &str, place: impl Fn() -> String) -> Result<LiveKeys, KeyError> {
    let malformed = |line| KeyError::Malformed { place: place(), line };
    let mut keys = without_mark(lines).trim_end().lines().enumerate().map(|(n, line)| {
        let bytes = STANDARD.decode(line.trim()).ok();
        let key = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        key.ok_or_else(|| malformed(n + 1))
    });
    let current = keys.next().unwrap_or_else(|| Err(malformed(1)))?;
    Ok(LiveKeys::new(&current, &keys.collect::<Result<Vec<_>, _>>()?))
}

/// Makes a key file with a new key. It appears under its name complete or not at all, and never
/// replaces one: of two workers that start at once, one's key stands and both read it.
fn create(path: &Path) -> io::Result<()> {
    let (key, suffix) = (random::<32>()?, random::<8>()?);
    let draft = path.with_extension(format!("live-key.{}", Hex(&suffix)));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = writeln!(file, "{}", STANDARD.encode(key)).and_then(|()| file.sync_all());
    // A link, unlike a rename, fails where the name is taken.
    let linked = written.and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        // The name must be as durable as the data that will be sealed under the key.
        Ok(()) => match path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            Some(dir) => fs::File::open(dir)?.sync_all(),
            None => fs::File::open(".")?.sync_all(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn invalid_key_line_is_named() {
        for (lines, bad_line) in [
            (LINE.to_owned(), None),
            (format!("{LINE}\n"), None),
            (format!("\u{feff}{LINE}\r\n"), None),
            (format!("{LINE}\r\n{LINE}\n\n"), None),
            (String::new(), Some(1)),
            ("AAEC".to_owned(), Some(1)),
            (format!("{LINE}\nnot base64"), Some(2)),
            (format!("{LINE}\n\n{LINE}"), Some(2)),
        ] {
            let found = match parse(&lines, || "the key".to_owned()) {
                Err(KeyError::Malformed { line, .. }) => Some(line),
                Err(other) => panic!("{other}"),
                Ok(_) => None,
            };
            assert_eq!(found, bad_line, "{lines:?}");
        }
    }

    #[test]
    fn new_key_file_is_private_and_not_overwritten() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = beside(&dir.path().join("a.db"));
        assert!(path.ends_with("a.db.live-key"));
        create(&path).expect("created");
        let first = fs::read_to_string(&path).expect("readable");
        create(&path).expect("left alone");
        assert_eq!(fs::read_to_string(&path).expect("readable"), first);
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 1, "no draft stays");
        assert!(read(&path).expect("a key").1.is_empty());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("ours");
        assert_eq!(read(&path).expect("a key").1.len(), 1, "others may read it: a warning");
    }
}
