//! What clients of others write is read, and what is published they can read: CloudEvents' own package
//! here, other protocols in `protocols`.

mod protocols;
mod types;

use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use crate::run::RULES;
use crate::support::bench::{declare_topology, with_bench};
use crate::support::program::{Worker, folder};
use crate::support::{clients, rabbitmq};

#[tokio::test]
async fn both_bindings_of_the_package_cloudevents_read_and_write_what_we_do() {
    with_bench(rabbitmq::shared(), async |bench| {
        let names = ["ce", "underscore", "structured"];
        let exchanges = names.map(|name| format!("{}-{name}", bench.settings.outbound_exchange));
        bench.settings.further_exchanges = exchanges.to_vec();
        declare_topology(bench).await;
        // Nothing is published that no queue is bound for.
        bench.downstream("#", Default::default()).await;
        let [ce, underscore, structured] = exchanges;
        let output = |exchange: &str, rest: &str| {
            format!("[[output]]\nexchange = '{exchange}'\nrouting_key = '{{id}}'\nmandatory = false\n{rest}\n")
        };
        let settings = [
            output(&ce, "format = 'cloud-event-binary'\nprefix = 'ce-'"),
            output(&underscore, "format = 'cloud-event-binary'\nprefix = 'cloudEvents_'"),
            output(&structured, "format = 'cloud-event'"),
        ]
        .concat();
        let folder = folder();
        let worker = Worker::configured(folder.path(), &bench.settings, RULES, &settings);
        let of = &bench.settings;
        let arguments = [&of.url, &of.inbound_exchange, &ce, &underscore, &structured];
        let told = clients::run("cloud_events.py", &arguments.map(String::as_str)).await;

        let kinds = ["interaction.enriched", "interaction.enriched", "interaction.ended"];
        let said = |event: &Value, name: &str| event[name].clone();
        for (events, binding) in told.chunks(3).zip(["rabbitmq", "amqp", "structured"]) {
            let found: Vec<_> = events.iter().map(|event| said(event, "type")).collect();
            assert_eq!(found, kinds, "{binding}");
            for (event, cause) in events.iter().zip(["e-1", "e-2", "e-3"]) {
                assert_eq!(event["binding"], binding);
                assert_eq!(event["specversion"], "1.0");
                assert_eq!(event["source"], "/throughline");
                assert_eq!(event["subject"], "A");
                assert_eq!(event["datacontenttype"], "application/json");
                assert_eq!(event["data"]["cause"]["id"], cause, "{event}");
                assert!(event["time"].as_f64().is_some_and(|secs| secs > 1.7e9), "{event}");
            }
            let data = &events[1]["data"]["interaction"];
            assert_eq!(data["userData"], json!({ "plan": "gold", "rule": "cart" }), "{binding}");
        }
        let ids = |chunk: usize| told[3 * chunk..][..3].iter().map(|event| said(event, "id"));
        assert_eq!(ids(0).collect::<Vec<_>>(), ids(1).collect::<Vec<_>>(), "the same events");
        assert_eq!(told.len(), 9);
        assert_eq!(worker.stop().code(), Some(0));
    })
    .await;
}
