//! A disk of a few megabytes, to be filled up: a tmpfs of its own.
//!
//! Only root may mount one. `THROUGHLINE_TEST_SMALL_DISK` names a directory on a small file system that
//! is there already, for containers, whose root may not; tests then take turns on it.
//!
//! However the test process ends, the mount ends too: a small shell script holds it, and waits for the
//! end of its standard input, which is a pipe from this process.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::guard_script::GuardScript;

const VARIABLE: &str = "THROUGHLINE_TEST_SMALL_DISK";

/// Bytes that a disk of our own has: enough for a test's rows, little enough to be filled in no time.
const BYTES: u64 = 16 << 20;

/// The file that fills the disk.
const BALLAST: &str = "ballast";

/// A disk that can be filled up.
pub(crate) struct SmallDisk {
    dir: PathBuf,
    /// One of our own lasts as long as its guard script.
    _guard: Option<GuardScript>,
    /// A given one is one test's at a time.
    _turn: Option<MutexGuard<'static, ()>>,
}

impl SmallDisk {
    /// An empty disk.
    ///
    /// # Panics
    /// When nothing can be mounted, and no disk is given.
    pub(crate) fn mount() -> SmallDisk {
        static TURN: Mutex<()> = Mutex::new(());
        if let Some(given) = std::env::var_os(VARIABLE) {
            let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
            for entry in fs::read_dir(&given).expect("the disk that is given can be read") {
                fs::remove_file(entry.expect("an entry").path()).expect("a test's file");
            }
            return SmallDisk { dir: given.into(), _guard: None, _turn: Some(turn) };
        }
        let dir = tempfile::Builder::new().prefix("throughline-disk-").tempdir();
        // From here on the guard script removes it.
        let dir = dir.expect("a temporary directory").keep();
        let arguments = [dir.clone().into_os_string(), BYTES.to_string().into()];
        let (guard, line) = GuardScript::start(GUARD_SCRIPT, "disk-guard", arguments);
        assert_eq!(
            line, "ready\n",
            "tests of a full disk mount a small tmpfs, which takes root (and in a container \
             CAP_SYS_ADMIN); or name a directory on a file system of some {BYTES} bytes in {VARIABLE}"
        );
        SmallDisk { dir, _guard: Some(guard), _turn: None }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// Fills it up, but for about so many bytes.
    pub(crate) fn fill(&self, but_bytes: u64) {
        let file = self.dir.join(BALLAST);
        let mut ballast = File::create(&file).expect("the disk can be written");
        let block = [0_u8; 4096];
        let mut written = 0;
        loop {
            match ballast.write(&block) {
                Ok(bytes) => written += bytes as u64,
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => panic!("the disk can be filled: {error}"),
            }
        }
        ballast.set_len(written.saturating_sub(but_bytes)).expect("a file can be shortened");
    }

    /// Makes room again.
    pub(crate) fn make_room(&self) {
        fs::remove_file(self.dir.join(BALLAST)).expect("it was filled");
    }
}

/// Arguments: directory, size. No signal may end it before its work.
const GUARD_SCRIPT: &str = r#"
trap '' INT HUP TERM PIPE
mount -t tmpfs -o size="$2" throughline-test "$1" || { rmdir "$1"; exit 1; }
echo ready
cat >/dev/null
umount -l "$1" && rmdir "$1"
"#;
