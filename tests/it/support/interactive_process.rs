//! The program with input from a test while it runs.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::thread::JoinHandle;

use super::program::{ProcessGuard, program};

/// A command line in `folder`, with temporary files there too.
pub(crate) fn throughline(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = program(folder);
    command.env("TMPDIR", folder).args(arguments);
    command
}

/// Runs a command to its end with this standard input.
pub(crate) fn run(mut command: Command, input: &str) -> Output {
    let mut child = start(&mut command);
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_owned();
    // A pipe takes some of it only while the other end is read.
    let writing = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("it can be waited for");
    // A program that ends early does not read all of its input; the caller sees its exit code.
    drop(writing.join().expect("writing does not panic"));
    output
}

/// A running program with its standard input and output.
pub(crate) struct InteractiveProcess {
    child: ProcessGuard,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    stderr: JoinHandle<String>,
}

impl InteractiveProcess {
    /// Starts the program.
    pub(crate) fn start(mut command: Command) -> InteractiveProcess {
        let mut child = start(&mut command);
        let mut stderr = child.stderr.take().expect("piped");
        // Read all along, or the pipe fills and the program stops.
        let stderr = std::thread::spawn(move || {
            let mut text = Vec::new();
            stderr.read_to_end(&mut text).expect("a pipe can be read");
            String::from_utf8_lossy(&text).into_owned()
        });
        InteractiveProcess {
            stdin: child.stdin.take().expect("piped"),
            stdout: BufReader::new(child.stdout.take().expect("piped")),
            stderr,
            child: ProcessGuard(child),
        }
    }

    /// Writes lines to its standard input.
    pub(crate) fn write_lines(&mut self, lines: &str) {
        self.stdin.write_all(lines.as_bytes()).expect("the program listens");
    }

    /// Waits for `count` lines of answer.
    pub(crate) fn read_lines(&mut self, count: usize) -> Vec<String> {
        let line = |_| {
            let mut line = String::new();
            let read = self.stdout.read_line(&mut line).expect("UTF-8");
            assert_ne!(read, 0, "the program has ended early");
            line
        };
        (0..count).map(line).collect()
    }

    /// Ends the input, waits for the end of the program, and gives its stderr.
    pub(crate) fn finish(mut self) -> String {
        drop(self.stdin);
        let status = self.child.0.wait().expect("it can be waited for");
        let stderr = self.stderr.join().expect("no panic");
        assert!(status.success(), "{status}: {stderr}");
        stderr
    }
}

fn start(command: &mut Command) -> Child {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    piped.spawn().expect("the program is built beside the tests")
}
