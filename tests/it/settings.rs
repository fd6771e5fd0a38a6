//! Settings: layers and their order, what is refused, and that secrets stay secret.

mod flows;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use pretty_assertions::assert_eq;
use throughline::settings::{self, Flag, LiveKey, Loaded, SettingsError, Sources};

const DEFAULTS: &str = include_str!("../../config/default.toml");

/// Sources made of variables only.
fn variables(env: &[(&str, &str)]) -> Sources {
    let os = |(name, value): &(&str, &str)| (OsString::from(name), OsString::from(value));
    Sources { env: env.iter().map(os).collect(), ..Sources::default() }
}

fn load(sources: Sources) -> Loaded {
    settings::load(sources).unwrap_or_else(|error| panic!("failed to {error}"))
}

/// The problems with these sources, each as its line of text.
fn problems(sources: Sources) -> Vec<String> {
    match settings::load(sources) {
        Err(SettingsError::Invalid(problems)) => problems.iter().map(ToString::to_string).collect(),
        Err(SettingsError::Layers(error)) => panic!("layers do not merge: {error}"),
        Ok(_) => panic!("these settings are accepted"),
    }
}

/// A folder with one settings file of this text.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("worker.toml");
    std::fs::write(&path, text).expect("write the settings file");
    (folder, path)
}

fn origin(loaded: &Loaded, setting: &str) -> String {
    let shown = loaded.provenance.iter().find(|shown| shown.setting == setting);
    shown.map(|shown| shown.origin.to_string()).expect("the setting is known")
}

#[test]
fn the_defaults_are_complete() {
    let loaded = load(Sources::default());
    let settings = &loaded.settings;
    assert_eq!(settings.amqp.queue, "throughline.interactions");
    assert_eq!(settings.waiting.parent, Duration::from_secs(8));
    assert_eq!(settings.waiting.unknown, Duration::from_secs(60));
    assert_eq!(settings.live.ttl, Duration::from_secs(86_400));
    assert_eq!(settings.limits.body_max_bytes, 1_048_576);
    assert!(settings.amqp.format.is_none(), "`auto` is no format");
    assert!(settings.amqp.client.is_none() && settings.store.live_key.is_none());
    assert!(!settings.rules.is_named);
    assert!(loaded.provenance.iter().all(|shown| shown.origin.is_default()));
    assert!(loaded.warnings.is_empty());
}

#[test]
fn default_toml_holds_exactly_the_settings_that_are_read_in_their_order() {
    let document: toml_edit::DocumentMut = DEFAULTS.parse().expect("default.toml is TOML");
    let mut written = Vec::new();
    for (key, item) in document.iter() {
        match item.as_table() {
            Some(section) => {
                written.extend(section.iter().map(|(name, _)| format!("{key}.{name}")));
            }
            None => written.push(key.to_owned()),
        }
    }
    let read: Vec<_> =
        load(Sources::default()).provenance.iter().map(|shown| shown.setting).collect();
    assert_eq!(read, written);
}

#[test]
fn the_production_sample_is_valid() {
    let sample = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/config/production.toml"));
    let loaded = load(Sources { files: vec![sample], ..Sources::default() });
    assert!(!loaded.settings.topology.declare);
}

#[test]
fn later_layers_override_and_are_reported() {
    let (_first, first) = file("lanes = 2\n[amqp]\nqueue = 'first'\ndead_letters = 'dead'\n");
    let (folder, second) = file("lanes = 3\n[amqp]\nqueue = 'second'\n[rules]\nfile = 'a.toml'\n");
    let secret = folder.path().join("url");
    std::fs::write(&secret, "amqp://from-file/\n").expect("write the secret");
    let mut sources = variables(&[
        ("THROUGHLINE_LANES", "4"),
        ("THROUGHLINE_AMQP__URL", "amqp://from-variable/"),
        ("THROUGHLINE_AMQP__URL_FILE", secret.to_str().expect("the path is UTF-8")),
        ("THROUGHLINE_RULES__FILE", "b.toml"),
    ]);
    sources.files = vec![first.clone(), second.clone()];
    sources.flags =
        vec![Flag { name: "--rules", setting: "rules.file", value: "c.toml".to_owned() }];
    let loaded = load(sources);

    assert_eq!(loaded.settings.amqp.dead_letters, "dead");
    assert_eq!(origin(&loaded, "amqp.dead_letters"), first.display().to_string());
    assert_eq!(loaded.settings.amqp.queue, "second");
    assert_eq!(origin(&loaded, "amqp.queue"), second.display().to_string());
    assert_eq!(loaded.settings.lanes, 4);
    assert_eq!(origin(&loaded, "lanes"), "THROUGHLINE_LANES");
    assert_eq!(loaded.settings.amqp.url.expose(), "amqp://from-file/");
    assert_eq!(origin(&loaded, "amqp.url"), "THROUGHLINE_AMQP__URL_FILE");
    assert_eq!(loaded.settings.rules.file, PathBuf::from("c.toml"));
    assert_eq!(origin(&loaded, "rules.file"), "--rules");
    assert!(loaded.settings.rules.is_named);
    assert_eq!(origin(&loaded, "amqp.outbound_exchange"), "default");
}

#[test]
fn variables_are_parsed_by_setting_type() {
    let loaded = load(variables(&[
        // A secret, or a name, that looks like a number stays as it was written.
        ("THROUGHLINE_STORE__LIVE_KEY", "00123"),
        ("THROUGHLINE_AMQP__QUEUE", "1.10"),
        ("THROUGHLINE_AMQP__DEAD_LETTERS", "true"),
        ("THROUGHLINE_AMQP__PREFETCH_MESSAGES", "50"),
        ("THROUGHLINE_TOPOLOGY__DECLARE", "false"),
    ]));
    let key = loaded.settings.store.live_key;
    assert!(matches!(key, Some(LiveKey::Inline(key)) if key.expose() == "00123"));
    assert_eq!(loaded.settings.amqp.queue, "1.10");
    assert_eq!(loaded.settings.amqp.dead_letters, "true");
    assert_eq!(loaded.settings.amqp.prefetch_messages, 50);
    assert!(!loaded.settings.topology.declare);
}

#[test]
fn nothing_is_converted_silently() {
    let (_folder, path) = file(
        "lanes = 2.5\n[amqp]\nprefetch_messages = '50'\nheartbeat_secs = 0\nqueue = 7\n\
         [topology]\ndeclare = 'yes'\n[output]\norigins = 1\n",
    );
    let at = path.display().to_string();
    let mut sources = variables(&[
        ("THROUGHLINE_SHUTDOWN__DRAIN_SECS", "2.5"),
        ("THROUGHLINE_STORE__MIGRATE", "on"),
        ("THROUGHLINE_LIMITS__BODY_MAX_BYTES", ""),
    ]);
    sources.files = vec![path];
    assert_eq!(
        problems(sources),
        [
            format!("lanes: expected a whole number from 1 to 64, found 2.5 ({at})"),
            format!("amqp.queue: expected a name of 1 to 255 bytes, found 7 ({at})"),
            format!(
                "amqp.prefetch_messages: expected a whole number from 1 to 65535, found \"50\" ({at})"
            ),
            format!("amqp.heartbeat_secs: expected a whole number from 1 to 600, found 0 ({at})"),
            format!("topology.declare: expected true or false, found \"yes\" ({at})"),
            "store.migrate: expected true or false, found \"on\" (THROUGHLINE_STORE__MIGRATE)"
                .to_owned(),
            "limits.body_max_bytes: expected a whole number from 1024 to 134217728, found \"\" \
             (THROUGHLINE_LIMITS__BODY_MAX_BYTES)"
                .to_owned(),
            format!("output.origins: expected true or false, found 1 ({at})"),
            "shutdown.drain_secs: expected a whole number from 1 to 3600, found \"2.5\" \
             (THROUGHLINE_SHUTDOWN__DRAIN_SECS)"
                .to_owned(),
        ]
    );
}

#[test]
fn unknown_settings_of_a_file_are_named_beside_all_other_problems() {
    let (_folder, path) = file(
        "lane = 2\nstore = 'sqlite:x.db'\n[amqp]\nlanes = 2\nprefetch = 3\nvhost = 'x'\n\
         [ampq]\nurl = 'amqp://h/'\n[gallery]\n[log]\nformat = 'xml'\nlevel = 'inof'\n",
    );
    let at = path.display().to_string();
    let absent = path.with_file_name("absent.toml");
    let sources = Sources { files: vec![path, absent.clone()], ..Sources::default() };
    let problems = problems(sources);
    let (unknown, others) = problems.split_at(7);
    assert_eq!(
        unknown,
        [
            format!("ampq.url: is no setting; did you mean amqp.url? ({at})"),
            format!("amqp.lanes: is no setting; did you mean lanes? ({at})"),
            format!("amqp.prefetch: is no setting; did you mean amqp.prefetch_messages? ({at})"),
            format!("amqp.vhost: is no setting ({at})"),
            format!("gallery: is no setting ({at})"),
            format!("lane: is no setting; did you mean lanes? ({at})"),
            format!("store: is a section, not a setting ({at})"),
        ]
    );
    assert!(others[0].starts_with(&format!("{}: cannot be read: ", absent.display())));
    assert_eq!(
        others[1..],
        [
            format!("log.format: expected `text` or `json`, found \"xml\" ({at})"),
            format!("log.level: expected a level or a list of module=level, found \"inof\" ({at})"),
        ]
    );
}

#[test]
fn a_section_may_be_empty() {
    let (_folder, path) = file("[amqp]\n# queue = 'x'\n[store]\n");
    let loaded = load(Sources { files: vec![path], ..Sources::default() });
    assert_eq!(loaded.settings.amqp.queue, "throughline.interactions");
}

#[test]
fn variables_that_match_nothing_are_warned_about() {
    let loaded = load(variables(&[
        ("THROUGHLINE_AMQP_URL", "amqp://h/"),
        ("THROUGHLINE_LANES_FILE", "/lanes"),
        ("THROUGHLINE_PORT", "tcp://10.0.0.1:80"),
        ("THROUGHLINE_TEST_AMQP_URL", "amqp://h/"),
        ("throughline_lanes", "9"),
        ("PATH", "/bin"),
    ]));
    assert_eq!(loaded.settings.lanes, 1);
    assert_eq!(
        loaded.warnings,
        [
            "the variable THROUGHLINE_AMQP_URL is no setting; did you mean THROUGHLINE_AMQP__URL?",
            "the variable THROUGHLINE_LANES_FILE is no setting; did you mean THROUGHLINE_LANES?",
            "the variable THROUGHLINE_PORT is no setting",
        ]
    );
}

#[test]
fn secrets_are_never_shown() {
    let loaded = load(variables(&[
        ("THROUGHLINE_AMQP__URL", "amqps://worker:s3/cr#e@t@mq.acme.test:5671/%2f?heartbeat=10"),
        (
            "THROUGHLINE_STORE__URL",
            "postgres://db/throughline?user=w&password=s3cret&pasword=s3cret&sslmode=require",
        ),
        ("THROUGHLINE_STORE__LIVE_KEY", "s3cret"),
    ]));
    let shown = loaded.show();
    for line in [
        "amqp.url = \"amqps://worker:***@mq.acme.test:5671/%2f?heartbeat=10\"  # THROUGHLINE_AMQP__URL\n",
        "store.url = \"postgres://db/throughline?user=w&password=***&pasword=***&sslmode=require\"  # THROUGHLINE_STORE__URL\n",
    ] {
        assert!(shown.contains(line), "{line} is missing from\n{shown}");
    }
    assert!(shown.lines().any(|line| line.starts_with("store.live_key = \"***\" ")));
    let everything = format!("{shown}{}{loaded:?}", loaded.show_json());
    assert!(!everything.contains("s3"), "a secret is shown in\n{everything}");
}

#[test]
fn secret_problems_do_not_show_the_secret() {
    let (_folder, path) =
        file("[amqp]\nurl = 5672\n[store]\nlive_key = 's3cret'\nurl = 's3cret'\n");
    let mut sources = variables(&[
        ("THROUGHLINE_STORE__LIVE_KEY_FILE", "/run/secrets/live-key"),
        ("THROUGHLINE_AMQP__URL_FILE", "/nowhere/amqp-url"),
    ]);
    sources.files = vec![path.clone()];
    let at = path.display();
    let mut problems = problems(sources);
    assert!(problems.remove(0).starts_with("amqp.url: /nowhere/amqp-url cannot be read: "));
    assert_eq!(
        problems,
        [
            format!("amqp.url: expected a URL that begins with amqp:// or amqps:// ({at})"),
            format!(
                "store.url: expected a URL that begins with sqlite: or postgres:// or postgresql:// ({at})"
            ),
            format!(
                "store.live_key: is given twice: THROUGHLINE_STORE__LIVE_KEY_FILE sets store.live_key_file; keep one ({at})"
            ),
        ]
    );
}

#[test]
fn invalid_toml_is_named_with_its_line_but_not_quoted() {
    let (_folder, path) = file("lanes = 2\n[amqp]\nurl = amqp://worker:s3cret@mq/\n");
    let problems = problems(Sources { files: vec![path.clone()], ..Sources::default() });
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with(&format!("{}: line 3 is not TOML: ", path.display())));
    assert!(!problems[0].contains("s3cret"), "{}", problems[0]);
}

#[test]
fn a_client_certificate_needs_its_key() {
    assert_eq!(
        problems(variables(&[("THROUGHLINE_AMQP__CERT_FILE", "client.pem")])),
        ["amqp.cert_file: needs amqp.key_file beside it (THROUGHLINE_AMQP__CERT_FILE)"]
    );
    let both = [
        ("THROUGHLINE_AMQP__CERT_FILE", "client.pem"),
        ("THROUGHLINE_AMQP__KEY_FILE", "client-key.pem"),
    ];
    assert!(load(variables(&both)).settings.amqp.client.is_some());
}

#[test]
fn invalid_collector_url_is_named_but_not_quoted() {
    for url in ["https://otel:4318", "otel:4318", "http://otel", "http://u:hunter2@otel:4318"] {
        let [problem] = &problems(variables(&[("THROUGHLINE_TRACES__ENDPOINT", url)]))[..] else {
            panic!("one problem with {url}");
        };
        assert!(problem.starts_with("traces.endpoint: must be http://HOST:PORT"), "{problem}");
        assert!(!problem.contains("otel") && !problem.contains("hunter2"), "{problem}");
    }
}

#[test]
fn retention_is_a_list_in_files_and_in_variables() {
    let (_folder, path) = file(
        "[history]\nretention_days = 365\n\
         retention = ['channel:chat=30', 'queue: a:b=c@acme.test = 0 ']\n",
    );
    let loaded = load(Sources { files: vec![path], ..Sources::default() });
    let retention = &loaded.settings.history.retention;
    assert_eq!(retention.days, 365);
    assert_eq!(retention.channels, [("chat".to_owned(), 30)].into());
    assert_eq!(retention.queues, [("a:b=c@acme.test".to_owned(), 0)].into());
    let shown: toml_edit::DocumentMut = loaded.show().parse().expect("what is shown is TOML");
    assert_eq!(shown["history"]["retention"][0].as_str(), Some("channel:chat=30"));

    let list = "channel:chat=30, queue:vip=365";
    let loaded = load(variables(&[("THROUGHLINE_HISTORY__RETENTION", list)]));
    let retention = &loaded.settings.history.retention;
    assert_eq!((retention.channels["chat"], retention.queues["vip"]), (30, 365));
}

#[test]
fn retention_problems_are_named_by_entry() {
    let entries = "chat=30,channel:chat=a,channel:=1,queue:a=36501,queue:b=1,queue:b=2";
    let at = "(THROUGHLINE_HISTORY__RETENTION)";
    let expected =
        "history.retention: expected channel:NAME=DAYS or queue:NAME=DAYS, with 0 to 36500 days";
    assert_eq!(
        problems(variables(&[("THROUGHLINE_HISTORY__RETENTION", entries)])),
        [
            format!("{expected}, found \"chat=30\" {at}"),
            format!("{expected}, found \"channel:chat=a\" {at}"),
            format!("{expected}, found \"channel:=1\" {at}"),
            format!("{expected}, found \"queue:a=36501\" {at}"),
            format!("history.retention: names \"b\" twice {at}"),
        ]
    );
}

#[test]
fn repeats_are_recognised_for_as_long_as_messages_may_wait() {
    let env =
        [("THROUGHLINE_STORE__REPEAT_SECS", "60"), ("THROUGHLINE_WAITING__UNROUTABLE_SECS", "61")];
    assert_eq!(
        problems(variables(&env)),
        [
            "store.repeat_secs: is shorter than waiting.unroutable_secs (THROUGHLINE_STORE__REPEAT_SECS)"
        ]
    );
}

#[test]
fn settings_are_shown_as_toml_and_json_in_order() {
    let loaded = load(variables(&[("THROUGHLINE_LANES", "2")]));
    let shown: toml_edit::DocumentMut = loaded.show().parse().expect("what is shown is TOML");
    assert_eq!(shown["amqp"]["prefetch_messages"].as_integer(), Some(1000));
    assert_eq!(
        loaded.show_json()[0],
        serde_json::json!({ "setting": "lanes", "value": 2, "origin": "THROUGHLINE_LANES" })
    );
}
