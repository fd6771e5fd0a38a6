//! RabbitMQ for tests: a shared one, and private nodes for tests that break them.
//!
//! [`shared`] is the server that `THROUGHLINE_TEST_AMQP_URL` names, or a node of Debian's
//! `rabbitmq-server` that is started once for the test binary. A [`Node`] always is such a node: on
//! free ports, with its own Erlang cookie, epmd and data, so that it meets neither a server of the
//! machine nor another test.
//!
//! `THROUGHLINE_TEST_RABBITMQ_ROOT` names a folder with another Debian in it, whose RabbitMQ is
//! started instead of this machine's (`scripts/test-rabbitmq-4` makes one): the nodes then live in a
//! mount namespace with that folder as their root, and share processes, ports and temporary files
//! with the tests.
//!
//! Each node belongs to a small shell script that takes orders on its standard input and kills and
//! removes everything at its end. The test process holds the other end, so a node outlives it
//! whatever its end is by no more than a moment.
//!
//! Where the server is missing, tests fail and say what is needed.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Debian's package puts the scripts here; the ones in `PATH` insist on the user `rabbitmq`.
const BIN: &str = "/usr/lib/rabbitmq/bin";

/// A node takes 4 s on an idle core; a machine that builds at the same time has taken more than a
/// minute.
const START_SECS: u64 = 180;
/// Another Debian, to take RabbitMQ from.
const ROOT_VARIABLE: &str = "THROUGHLINE_TEST_RABBITMQ_ROOT";

/// Makes a folder the root of whatever command follows. The mounts are seen by that command only, and
/// end with it.
const CHROOT_SCRIPT: &str = r#"
    root=$1 shared=$2
    shift 2
    mkdir -p "$root$shared" &&
        mount --rbind /proc "$root/proc" && mount --rbind /dev "$root/dev" &&
        mount --rbind "$shared" "$root$shared" && exec chroot "$root" "$@"
"#;

/// Carries out orders, a line each, and answers each with the line `carried out`. `start` starts the
/// node; any other order is a signal for it, whose end is awaited where there will be one.
const GUARD_SCRIPT: &str = r#"
    epmd -port "$ERL_EPMD_PORT" -address 127.0.0.1 &
    epmd=$!
    node=
    while read -r order; do
        case "$order" in
            start) "$BIN/rabbitmq-server" -noinput </dev/null 2>&1 & node=$! ;;
            TERM|KILL) kill -s "$order" "$node"; wait "$node" ;;
            STOP)
                kill -s STOP "$node"
                # A thread that is at work stops a moment later, and could still answer in it.
                while grep -L "^State:.T" /proc/"$node"/task/*/status | grep -q .; do :; done ;;
            *) kill -s "$order" "$node" ;;
        esac
        echo "carried out"
    done
    kill -s KILL $node $epmd 2>/dev/null
    wait
    rm -rf "$HOME"
"#;

/// The URL of the server that tests share.
pub(crate) fn shared() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    static NODE: OnceLock<Node> = OnceLock::new();
    URL.get_or_init(|| {
        std::env::var("THROUGHLINE_TEST_AMQP_URL")
            .unwrap_or_else(|_| NODE.get_or_init(Node::start).url.clone())
    })
}

/// A private node.
pub(crate) struct Node {
    /// Where it is reached, as `guest`.
    pub(crate) url: String,
    /// The port of its URL.
    pub(crate) amqp_port: u16,
    home: PathBuf,
    name: String,
    epmd_port: u16,
    guard: Mutex<NodeGuard>,
}

/// The script that owns the node's processes.
struct NodeGuard {
    /// Its input takes orders.
    process: Child,
    /// Output lines of the script and the node.
    output_lines: Receiver<String>,
}

impl Node {
    /// A node that is up.
    pub(crate) fn start() -> Node {
        let node = Node::prepare();
        node.start_again();
        node
    }

    /// A node that is not started yet; its URL leads nowhere.
    pub(crate) fn prepare() -> Node {
        Node::configured(|port| format!("listeners.tcp.1 = 127.0.0.1:{port}\n"))
    }

    /// A node that is not started yet, with the configuration for a port.
    pub(crate) fn configured(configuration: impl FnOnce(u16) -> String) -> Node {
        Node::with_plugins("", configuration)
    }

    /// The same with plugins, by their names, separated by commas.
    pub(crate) fn with_plugins(plugins: &str, configuration: impl FnOnce(u16) -> String) -> Node {
        let server = root().unwrap_or_else(|| "/".into()).join(&BIN[1..]).join("rabbitmq-server");
        assert!(
            server.exists(),
            "tests of the broker need RabbitMQ, and {} is not there: install Debian's package \
             `rabbitmq-server`, or (for those that do not break it) name a server in \
             THROUGHLINE_TEST_AMQP_URL",
            server.display()
        );
        let home = tempfile::Builder::new()
            .prefix("throughline-rabbitmq-")
            .tempdir()
            .expect("a directory for the node can be made")
            .keep();
        let [amqp_port, dist_port, epmd_port] = free_ports();
        let name = format!("node{amqp_port}@localhost");
        let write = |file: &str, text: &str| {
            std::fs::write(home.join(file), text).expect("the node's directory can be written");
        };
        write("plugins", &format!("[{plugins}]."));
        write("env.conf", "");
        write("rabbitmq.conf", &configuration(amqp_port));

        let mut process = command("sh")
            .args(["-c", GUARD_SCRIPT])
            // Its own group, so that Ctrl-C reaches the tests only and the keeper sees their end.
            .process_group(0)
            .envs(environment(&home, &name, epmd_port))
            .env("RABBITMQ_NODE_PORT", amqp_port.to_string())
            .env("RABBITMQ_DIST_PORT", dist_port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("`sh` can be run");
        let output = process.stdout.take().expect("it is piped");
        let (tell, output_lines) = sync_channel(64);
        std::thread::spawn(move || listen(BufReader::new(output), &tell));
        let url = format!("amqp://guest:guest@127.0.0.1:{amqp_port}/%2f");
        Node {
            url,
            amqp_port,
            home,
            name,
            epmd_port,
            guard: Mutex::new(NodeGuard { process, output_lines }),
        }
    }

    /// Starts it, again after [`Node::kill`] with the data it had, and waits until it is up.
    pub(crate) fn start_again(&self) {
        self.order("start");
        self.await_line("start", "Starting broker... completed");
    }

    /// Kills it at once.
    pub(crate) fn kill(&self) {
        self.order("KILL");
    }

    /// Suspends its process: its sockets stay open, and it does not answer.
    pub(crate) fn freeze(&self) {
        self.order("STOP");
    }

    /// Lets it go on after [`Node::freeze`].
    pub(crate) fn thaw(&self) {
        self.order("CONT");
    }

    /// Runs `rabbitmqctl` on it.
    pub(crate) fn control(&self, arguments: &[&str]) {
        let output = command(&format!("{BIN}/rabbitmqctl"))
            .args(arguments)
            .envs(environment(&self.home, &self.name, self.epmd_port))
            .output()
            .expect("`rabbitmqctl` can be run");
        assert!(
            output.status.success(),
            "rabbitmqctl {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn order(&self, order: &str) {
        let mut guard = self.guard.lock().expect("no order has panicked");
        let orders = guard.process.stdin.as_mut().expect("it is piped");
        writeln!(orders, "{order}").expect("the guard is there");
        drop(guard);
        self.await_line(order, "carried out");
    }

    fn await_line(&self, order: &str, awaited: &str) {
        let guard = self.guard.lock().expect("no order has panicked");
        let mut said = Vec::new();
        loop {
            match guard.output_lines.recv_timeout(Duration::from_secs(START_SECS)) {
                Ok(line) if line.contains(awaited) => return,
                Ok(line) => said.push(line),
                Err(_) => panic!("RabbitMQ did not {order} in {START_SECS} s; it said {said:#?}"),
            }
        }
    }
}

impl Drop for Node {
    /// Waits until all of it is removed. (A shared node is never dropped; the end of the process
    /// closes the keeper's input just as well.)
    fn drop(&mut self) {
        let guard = self.guard.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Waiting closes its input first.
        if let Err(error) = guard.process.wait() {
            eprintln!("{} may still be running: {error}", self.name);
        }
    }
}

/// Passes on lines that tests wait for, and drains the rest, since a full pipe would stop the node.
fn listen(output: impl BufRead, tell: &SyncSender<String>) {
    for line in output.lines().map_while(Result::ok) {
        let interesting = line.contains("carried out")
            || line.contains("completed")
            || line.to_lowercase().contains("error");
        // A full channel means that no test waits for a line.
        if interesting && tell.try_send(line).is_err() {
            continue;
        }
    }
}

/// Where RabbitMQ is taken from, if not from this machine.
fn root() -> Option<PathBuf> {
    std::env::var_os(ROOT_VARIABLE).map(PathBuf::from)
}

/// A command of the system that RabbitMQ is taken from.
fn command(program: &str) -> Command {
    let Some(root) = root() else { return Command::new(program) };
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", CHROOT_SCRIPT, "enter"]);
    command.arg(root).arg(std::env::temp_dir()).arg(program);
    command
}

fn environment(home: &Path, name: &str, epmd_port: u16) -> Vec<(&'static str, String)> {
    let path = |file: &str| home.join(file).display().to_string();
    vec![
        ("BIN", BIN.into()),
        ("HOME", home.display().to_string()),
        ("ERL_EPMD_PORT", epmd_port.to_string()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".into()),
        ("RABBITMQ_NODENAME", name.into()),
        ("RABBITMQ_MNESIA_BASE", path("mnesia")),
        ("RABBITMQ_LOG_BASE", path("log")),
        ("RABBITMQ_CONF_ENV_FILE", path("env.conf")),
        ("RABBITMQ_CONFIG_FILE", path("rabbitmq")),
        ("RABBITMQ_ADVANCED_CONFIG_FILE", path("advanced")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", path("plugins")),
        // Makes the script become the server instead of starting it, so that it has one process.
        ("RABBITMQ_ALLOW_INPUT", "1".into()),
    ]
}

/// Free ports; all are held until all are known, so they differ.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
    held.map(|listener| listener.local_addr().expect("it is bound").port())
}
