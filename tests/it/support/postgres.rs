//! A PostgreSQL to test against.
//!
//! `THROUGHLINE_TEST_PG_URL` names a server on which databases may be created. Without it Debian's
//! PostgreSQL is started from `/usr/lib/postgresql`, once for the test binary, and listens on a
//! socket in a temporary directory: no port can be taken. It is a real server, but for `fsync`,
//! which only a power cut would miss.
//!
//! However the test process ends, the server ends too: a small shell script holds the server, waits
//! for the end of its standard input, which is a pipe from this process, then stops the server and
//! removes its directory.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr as _;
use std::sync::OnceLock;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, raw_sql};

use super::guard_script::GuardScript;

const URL_VARIABLE: &str = "THROUGHLINE_TEST_PG_URL";

/// A fresh database of its own for one test; dropped with it.
pub(crate) struct Database {
    /// Where it is, for [`throughline::store::Settings::url`].
    pub(crate) url: String,
    name: String,
    server_url: String,
}

impl Database {
    /// Creates a database on the server that all tests share.
    pub(crate) async fn create() -> Database {
        Database::create_on(&shared_url()).await
    }

    /// Creates a database on the server at `server_url`.
    pub(crate) async fn create_on(server_url: &str) -> Database {
        let mut random = [0; 8];
        getrandom::fill(&mut random).expect("the system has randomness");
        let name = format!("throughline_test_{:016x}", u64::from_be_bytes(random));
        execute(server_url, format!("CREATE DATABASE {name}")).await;
        let options = PgConnectOptions::from_str(server_url).expect("a PostgreSQL URL");
        let url = options.database(&name).to_url_lossy().to_string();
        Database { url, name, server_url: server_url.to_owned() }
    }

    /// Runs SQL behind the store's back.
    pub(crate) async fn execute(&self, sql: &str) {
        execute(&self.url, sql.to_owned()).await;
    }

    /// Whether the bytes of `text` stand in any column of any interaction.
    pub(crate) async fn any_row_holds(&self, text: &str) -> bool {
        let mut connection = PgConnection::connect(&self.url).await.expect("connected");
        let found = sqlx::query_scalar(
            "SELECT coalesce(bool_or(position($1 IN i::text) > 0 OR position($2 IN live) > 0), \
             false) FROM throughline_interaction AS i",
        )
        .bind(text)
        .bind(text.as_bytes());
        let found = found.fetch_one(&mut connection).await.expect("the SQL is right");
        connection.close().await.expect("closed");
        found
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A server that the tests started is removed with all its databases.
        if std::env::var_os(URL_VARIABLE).is_none() {
            return;
        }
        let sql = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        let url = self.server_url.clone();
        // A runtime cannot be entered from within another, hence the thread.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(execute(&url, sql));
        });
        dropping.join().expect("the test's database can be dropped");
    }
}

async fn execute(url: &str, sql: String) {
    let mut connection = PgConnection::connect(url)
        .await
        .unwrap_or_else(|error| panic!("tests need the PostgreSQL at {url}: {error}"));
    raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("the SQL is right");
    connection.close().await.expect("closed");
}

/// The number that a query of the database at `url` returns.
pub(crate) async fn number(url: &str, question: &'static str) -> i64 {
    let mut connection = PgConnection::connect(url).await.expect("PostgreSQL is up");
    let answer = sqlx::query_scalar(question).fetch_one(&mut connection).await;
    let answer = answer.expect("PostgreSQL has an answer");
    connection.close().await.expect("closed");
    answer
}

/// The server that all tests of this binary share.
fn shared_url() -> String {
    match std::env::var(URL_VARIABLE) {
        Ok(url) => url,
        Err(_) => shared_server().url(),
    }
}

fn shared_server() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(Server::start)
}

/// Where the shared server keeps its files; `None` for a server that the tests did not start.
pub(crate) fn shared_files() -> Option<&'static Path> {
    std::env::var_os(URL_VARIABLE).is_none().then(|| shared_server().dir.as_path())
}

/// A server of one's own, to be stopped and started again in tests of outages.
pub(crate) struct Server {
    dir: PathBuf,
    /// Keeps the server running.
    _guard: GuardScript,
}

impl Server {
    /// Starts a server with an empty cluster.
    ///
    /// # Panics
    /// When PostgreSQL is not installed, or does not start.
    pub(crate) fn start() -> Server {
        let dir = tempfile::Builder::new().prefix("throughline-pg-").tempdir();
        // From here on the guard script removes it.
        let dir = dir.expect("a temporary directory").keep();
        // The server's user must come in; `initdb` makes its own directory private.
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777)).expect("ours");
        let arguments = [dir.clone().into_os_string(), binaries().into_os_string()];
        let arguments = arguments.into_iter().chain(as_user().into_iter().map(Into::into));
        let (guard, line) = GuardScript::start(GUARD_SCRIPT, "postgres-guard", arguments);
        assert_eq!(line, "ready\n", "PostgreSQL does not start; its output stands above");
        Server { dir, _guard: guard }
    }

    /// Where the server is reached, as its superuser.
    pub(crate) fn url(&self) -> String {
        let socket = self.dir.to_str().expect("a temporary directory in UTF-8").replace('/', "%2F");
        format!("postgres://postgres@{socket}/postgres")
    }

    /// The socket on which it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join(".s.PGSQL.5432")
    }

    /// Ends the server at once, without a checkpoint: it recovers from its log when it starts again.
    pub(crate) fn kill(&self) {
        self.control(&["-m", "immediate", "stop"]);
    }

    /// Stops the server in its fast mode: sessions are cut off.
    pub(crate) fn stop(&self) {
        self.control(&["-m", "fast", "stop"]);
    }

    /// Starts the server again, with the data it had.
    pub(crate) fn start_again(&self) {
        self.control(&["start"]);
    }

    /// Where its files are; those of the cluster in `data`.
    pub(crate) fn files(&self) -> &Path {
        &self.dir
    }

    /// Runs SQL as the superuser.
    pub(crate) async fn execute(&self, sql: &str) {
        execute(&self.url(), sql.to_owned()).await;
    }

    fn control(&self, what: &[&str]) {
        let user = as_user();
        let (program, arguments) = user.split_first().expect("a program to start others with");
        let status = Command::new(program)
            .args(arguments)
            .arg(binaries().join("pg_ctl"))
            .args(["-w", "-s", "-l"])
            .arg(self.dir.join("log"))
            .arg("-D")
            .arg(self.dir.join("data"))
            .args(what)
            .current_dir(&self.dir)
            .status();
        assert!(status.expect("pg_ctl can be run").success(), "pg_ctl {what:?} fails");
    }
}

/// Arguments: directory, binaries, then the words that start a program as the server's user.
/// No signal may end it before its work: Ctrl-C reaches the whole group, and a test process that ends
/// early no longer reads that the server is ready.
/// The locale's order is not that of bytes: what relies on that order must ask for it.
const GUARD_SCRIPT: &str = r#"
trap '' INT HUP TERM PIPE
dir=$1 bin=$2
shift 2
cd "$dir" || exit 1
trap 'cd /; rm -rf "$dir"' EXIT
"$@" "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --no-sync \
    --locale=C.UTF-8 --locale-provider=icu --icu-locale=en >"$dir/initdb" 2>&1 \
    || { cat "$dir/initdb" >&2; exit 1; }
cat >>"$dir/data/postgresql.conf" <<END
listen_addresses = ''
unix_socket_directories = '$dir'
fsync = off
max_connections = 200
END
"$@" "$bin/pg_ctl" -w -s -D "$dir/data" -l "$dir/log" start </dev/null >/dev/null \
    || { cat "$dir/log" >&2; exit 1; }
echo ready
cat >/dev/null
if "$@" "$bin/pg_ctl" -D "$dir/data" status >/dev/null 2>&1; then
    "$@" "$bin/pg_ctl" -w -s -D "$dir/data" -m immediate stop
fi
"#;

/// The newest PostgreSQL that Debian's packages have put here.
fn binaries() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|version| Path::new(&format!("/usr/lib/postgresql/{version}/bin/initdb")).exists())
        .max();
    let Some(version) = newest else {
        panic!(
            "tests need PostgreSQL: install Debian's package `postgresql`, or name a server on \
             which databases may be created in {URL_VARIABLE}"
        );
    };
    PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"))
}

/// The words before a command of PostgreSQL, which refuses to run as root.
fn as_user() -> Vec<&'static str> {
    let uid = std::fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own));
    match uid.expect("/proc is mounted") {
        0 => vec!["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"],
        _ => vec!["env"],
    }
}
