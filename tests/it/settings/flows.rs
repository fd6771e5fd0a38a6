//! `[[source]]` and `[[output]]`: what they mean, and everything that is refused about them.

use pretty_assertions::assert_eq;
use throughline::formats::outbound::{OutboundFormat, Prefix};
use throughline::settings::{Settings, Sources};

use super::{file, load, problems, variables};

fn load_settings(text: &str) -> Settings {
    let (_folder, path) = file(text);
    load(Sources { files: vec![path], ..Sources::default() }).settings
}

/// The problems with a file, without its name, which is the same on all.
fn wrong(text: &str) -> Vec<String> {
    let (_folder, path) = file(text);
    let at = format!(" ({})", path.display());
    let problems = problems(Sources { files: vec![path], ..Sources::default() });
    problems.iter().map(|problem| problem.replace(&at, "")).collect()
}

#[test]
fn amqp_section_is_the_default_source() {
    let settings = load_settings("lanes = 3\n[amqp]\nqueue = 'work'\nformat = 'sinch-rti'\n");
    let [source] = &settings.sources()[..] else { panic!("one source") };
    assert_eq!((source.queue.as_str(), source.lanes), ("work", 3));
    assert_eq!(
        (source.exchange.as_str(), &source.routing_keys[..]),
        ("interactions", &["#".into()][..])
    );
    assert_eq!(source.waiting_prefix, "throughline.wait.");
    assert_eq!(source.format.as_deref(), Some("sinch-rti"));
    assert!(source.tenant.is_none() && source.signing_secret.is_none());
    assert!(settings.output.further.is_empty());
}

#[test]
fn source_inherits_the_shared_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "s3cret\n").expect("written");
    let text = format!(
        "lanes = 2\n[amqp]\nprefetch_messages = 7\nformat = 'canonical'\nwaiting_prefix = 'w.'\n\
         [[source]]\nqueue = 'a'\n\
         [[source]]\nqueue = 'b'\nexchange = 'x'\nrouting_keys = ['sinch.#']\nlanes = 1\n\
         prefetch_messages = 9\nformat = 'sinch-conversation'\ntenant = 'emea'\n\
         signature_secret_file = '{}'\n\
         [[source]]\nqueue = 'c'\nrouting_keys = ['sinch.#']\nformat = 'auto'\n",
        secret.display()
    );
    let (_folder, path) = file(&text);
    let loaded = load(Sources { files: vec![path], ..Sources::default() });
    let [a, b, c] = &loaded.settings.sources()[..] else { panic!("three sources") };
    assert_eq!((a.lanes, a.prefetch_messages, a.waiting_prefix.as_str()), (2, 7, "w.a."));
    assert_eq!((a.exchange.as_str(), a.routing_keys.len()), ("interactions", 0));
    assert_eq!(a.format.as_deref(), Some("canonical"));
    assert_eq!((b.lanes, b.prefetch_messages, b.exchange.as_str()), (1, 9, "x"));
    assert_eq!(b.tenant.as_deref(), Some("emea"));
    assert!(b.signing_secret.is_some() && a.signing_secret.is_none());
    assert_eq!(c.format, None, "`auto` is no format");
    // Shown as TOML, and no secret anywhere.
    let shown: toml_edit::DocumentMut = loaded.show().parse().expect("what is shown is TOML");
    assert_eq!(shown["source"][1]["tenant"].as_str(), Some("emea"));
    let everything = format!("{}{}{loaded:?}", loaded.show(), loaded.show_json());
    assert!(!everything.contains("s3cret"), "{everything}");
}

#[test]
fn all_source_problems_are_named_together() {
    assert_eq!(
        wrong(
            "[amqp]\ndead_letters = 'dead'\nwaiting_prefix = 'w.'\n\
             [[source]]\nqueue = 'a'\nrouting_keys = ['x.#', '']\n\
             [[source]]\nqueue = 'a'\n\
             [[source]]\nformat = 'xml'\nlanes = 65\nprefetch = 5\n\
             [[source]]\nqueue = 'dead'\nrouting_keys = ['*.y']\n\
             [[source]]\nqueue = 'w.b'\nprefetch_messages = 0\nsignature_secret = 's3cret'\n\
             [[source]]\nqueue = 7\nrouting_keys = 'x'\ntenant = ''\nsignature_secret_file = '/nowhere/s'\n"
        ),
        [
            "source[2].queue: is missing",
            "source[2].lanes: expected a whole number from 1 to 64, found 65",
            "source[2].format: expected `auto` or one of canonical, cloud-event, genesys-open-media, \
             genesys-widgets, genesys-callback, genesys-cloud, sinch-conversation, \
             sinch-contact-pro, sinch-rti, mindful-scheduler, mindful-webhook, found \"xml\"",
            "source[2].prefetch: is no setting; did you mean prefetch_messages?",
            "source[4].prefetch_messages: expected a whole number from 1 to 65535, found 0",
            "source[4].signature_secret: is no setting; did you mean signature_secret_file?",
            "source[5].queue: expected a name of 1 to 255 bytes, found 7",
            "source[5].routing_keys: expected a list of texts, found \"x\"",
            "source[5].tenant: expected a name of 1 to 255 bytes, found \"\"",
            "source[5].signature_secret_file: /nowhere/s cannot be read: No such file or directory \
             (os error 2)",
            "source[0].routing_keys: holds a key that has not 1 to 255 bytes",
            "source[1].queue: is the queue of source[0], too",
            "source[3].queue: is the queue of dead letters",
            "source[3].routing_keys: share keys with source[0]: a message would be in both queues",
            "source[4].queue: begins as the waiting queues do (amqp.waiting_prefix)",
        ]
    );
    let long = "q".repeat(240);
    assert_eq!(
        wrong(&format!("[[source]]\nqueue = '{long}'\n")),
        ["source[0].queue: is too long for the names of its waiting queues"]
    );
    assert_eq!(
        wrong("source = 'a'\n"),
        ["source: expected tables, each under [[source]], found \"a\""]
    );
    assert_eq!(
        problems(variables(&[("THROUGHLINE_SOURCE", "a,b")])),
        ["source: expected tables, each under [[source]], found \"a,b\" (THROUGHLINE_SOURCE)"]
    );
}

#[test]
fn an_empty_secret_is_no_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "\n").expect("written");
    let text = format!("[[source]]\nqueue = 'a'\nsignature_secret_file = '{}'\n", secret.display());
    let what = format!("source[0].signature_secret_file: {} is empty", secret.display());
    assert_eq!(wrong(&text), [what]);
}

#[test]
fn outputs_are_written_short_or_long() {
    let entry = "exchange = 'crm'\nrouting_key = 'c4c.{channel}'\nformat = 'sap-c4c'\n";
    let short =
        load_settings(&format!("[[output]]\n{entry}mandatory = false\nchannels = ['voice']\n"));
    let long = load_settings(&format!(
        "[output]\norigins = false\n[[output.further]]\n{entry}mandatory = false\nchannels = ['voice']\n"
    ));
    assert!(short.output.origins && !long.output.origins);
    assert_eq!(short.output.further, long.output.further);
    let [output] = &short.output.further[..] else { panic!("one output") };
    assert_eq!((output.exchange.as_str(), output.mandatory), ("crm", false));
    assert_eq!(output.format.words(), ("sap-c4c", Some("json")));
    let xml = load_settings(&format!("[[output]]\n{entry}encoding = 'xml'\n"));
    assert_eq!(xml.output.further[0].format.words(), ("sap-c4c", Some("xml")));
    let event = "[[output]]\nexchange = 'crm'\nrouting_key = 'a'\nformat = 'cloud-event-binary'\n";
    for (line, prefix) in [
        ("", Prefix::Colon),
        ("prefix = 'cloudEvents_'\n", Prefix::Underscore),
        ("prefix = 'ce-'\n", Prefix::Ce),
    ] {
        let format = load_settings(&format!("{event}{line}")).output.further[0].format;
        assert_eq!(format, OutboundFormat::CloudEventBinary(prefix), "{line}");
    }
    assert!(xml.output.further[0].mandatory && xml.output.further[0].channels.is_empty());
}

#[test]
fn all_output_problems_are_named_together() {
    assert_eq!(
        wrong(
            "[[output]]\nexchange = 'crm'\nrouting_key = 'a.{id}'\nformat = 'enriched'\n\
             [[output]]\nexchange = 'crm'\nrouting_key = 'a.{id}'\nformat = 'enriched'\n\
             [[output]]\nexchange = 'interactions'\nrouting_key = 'a'\nformat = 'cloud-event'\nprefix = 'ce-'\n\
             [[output]]\nrouting_key = '{AccNum}'\nformat = 'soap'\nmandatory = 'no'\n\
             [[output]]\nexchange = 'crm'\nrouting_key = 'a{'\nencoding = 'xml'\n\
             [[output]]\nexchange = 'crm'\nrouting_key = 'a.#'\nformat = 'enriched'\nencoding = 'xml'\n\
             [[output]]\nexchange = 'throughline.dead-letters'\nrouting_key = 'a'\nformat = 'sap-c4c'\n\
             channel = ['voice']\n"
        ),
        [
            "output[1]: has exchange, routing key and format of output[0]",
            "output[2].exchange: is one that interactions come in by: they would come again",
            "output[2].prefix: is not for the format `cloud-event`",
            "output[3].exchange: is missing",
            "output[3].routing_key: knows no {AccNum}; there are {id}, {channel}, {tenant}, \
             {queue}, {widget} and {call_target}",
            "output[3].format: expected `enriched`, `cloud-event`, `cloud-event-binary` or \
             `sap-c4c`, found \"soap\"",
            "output[3].mandatory: expected true or false, found \"no\"",
            "output[4].routing_key: has a brace that is not closed, or not opened",
            "output[4].format: is missing",
            "output[5].routing_key: holds '#'; it may hold visible ASCII characters but `*` \
             and `#`",
            "output[5].encoding: is not for the format `enriched`",
            "output[6].exchange: is the exchange of dead letters",
            "output[6].channel: is no setting; did you mean channels?",
        ]
    );
}

#[test]
fn output_exchange_may_not_feed_a_source() {
    let again =
        "amqp.outbound_exchange: is one that interactions come in by: they would come again";
    let amqp = "[amqp]\noutbound_exchange = 'interactions'\n";
    assert_eq!(wrong(amqp), [again]);
    assert_eq!(
        wrong(&format!("{amqp}[[source]]\nqueue = 'a'\nrouting_keys = ['*.ended.#']\n")),
        [again]
    );
    let apart =
        load_settings(&format!("{amqp}[[source]]\nqueue = 'a'\nrouting_keys = ['genesys.#']\n"));
    assert_eq!(apart.amqp.outbound_exchange, "interactions");
    assert_eq!(
        wrong("[amqp]\noutbound_exchange = 'throughline.dead-letters'\n"),
        ["amqp.outbound_exchange: is the exchange of dead letters"]
    );
}

#[test]
fn unknown_format_is_refused_for_amqp() {
    let problems = wrong("[amqp]\nformat = 'genesys'\n");
    assert!(
        problems[0].starts_with("amqp.format: expected `auto` or one of canonical, "),
        "{problems:?}"
    );
}
