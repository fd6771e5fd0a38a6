//! A shell script that holds something of the system for as long as this process holds its standard
//! input: however the test process ends, the script sees the end of its input, and cleans up.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// The running script; when it is dropped, its input ends, and its end is awaited.
pub(crate) struct GuardScript(Child);

impl GuardScript {
    /// Starts a script under a name, and gives its first line of output, which is empty if it fails.
    pub(crate) fn start(
        script: &str,
        name: &str,
        arguments: impl IntoIterator<Item: AsRef<OsStr>>,
    ) -> (GuardScript, String) {
        let mut process = Command::new("sh")
            .args(["-c", script, name])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let output = process.stdout.take().expect("piped");
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).expect("a pipe can be read");
        (GuardScript(process), line)
    }
}

impl Drop for GuardScript {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().expect("the script is a child of this process");
    }
}
