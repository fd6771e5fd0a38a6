//! When a worker counts as alive, and when as ready.

use super::*;
use crate::app;
use crate::domain::{Identity, Rules};
use crate::http::Monitor as _;
use crate::pipeline::lane::Lane;
use crate::pipeline::ports::{
    Arrival, Delivery, Outgoing, PublishOutcome, Publisher, Row, RowChange, Settlement, Settler,
    Source, Store, StoreError, Transaction, TransportError,
};
use crate::pipeline::ports::{Doubtful, Recall};
use crate::pipeline::save::rules_in_force::RulesInForce;
use crate::reload::Reloader;
use crate::settings::{self, Sources};

/// A delivery that cannot be decoded: it needs no store, and is published as a dead letter.
struct StubDelivery(Arrival);

impl Delivery for StubDelivery {
    fn body(&self) -> &[u8] {
        b"no message"
    }
    fn arrival(&self) -> &Arrival {
        &self.0
    }
}

/// Yields two deliveries, unless `is_empty`, and then none for ever.
struct StubSource {
    is_empty: bool,
}

impl Source for StubSource {
    type Delivery = StubDelivery;
    async fn next_batch(&mut self, _max: usize) -> Result<Vec<StubDelivery>, TransportError> {
        if std::mem::replace(&mut self.is_empty, true) {
            std::future::pending::<()>().await;
        }
        Ok(vec![StubDelivery(Arrival::default()), StubDelivery(Arrival::default())])
    }
}

/// A broker that never answers, and a store that is never used.
struct StubAdapter;

impl Publisher<StubDelivery> for StubAdapter {
    async fn publish(
        &mut self,
        _batch: &[Outgoing<'_, StubDelivery>],
    ) -> Result<Vec<PublishOutcome>, TransportError> {
        std::future::pending().await
    }
}

impl Settler<StubDelivery> for StubAdapter {
    async fn settle(
        &mut self,
        _batch: Vec<(StubDelivery, Settlement)>,
    ) -> Result<(), TransportError> {
        unreachable!("nothing is ever confirmed")
    }
}

impl Store for StubAdapter {
    type Transaction = StubAdapter;
    async fn begin(
        &self,
        _own: &[Identity<'_>],
        _parents: &[Identity<'_>],
    ) -> Result<(Vec<Row>, StubAdapter), StoreError> {
        unreachable!("nothing can be decoded")
    }
}

impl Recall for StubAdapter {
    async fn recall(&mut self, _events: &[Doubtful<'_>]) -> Result<Vec<usize>, StoreError> {
        unreachable!("nothing is begun")
    }
}

impl Transaction for StubAdapter {
    async fn save(self, _rows: &[RowChange<'_>]) -> Result<(), StoreError> {
        unreachable!("nothing is begun")
    }
}

#[tokio::test(start_paused = true)]
async fn liveness_fails_for_a_stuck_lane_and_not_for_an_idle_one() {
    let mut settings = settings::load(Sources::default()).expect("the defaults").settings;
    settings.lanes = 2;
    let (health, broker) = watch::channel(Health::Up);
    let stop = CancellationToken::new();
    let rules = Arc::new(RulesInForce::new(Rules::empty()));
    let reloader = Reloader::new(app::rules_source(&settings), Arc::clone(&rules));
    let monitor = WorkerMonitor::new(&settings, reloader.status(), broker, &stop);
    let worker = app::worker(&settings, rules, StubAdapter);
    let lane = |number: usize, source: StubSource| {
        let lane = Lane {
            worker: &worker,
            source,
            publisher: StubAdapter,
            settler: StubAdapter,
            batch_messages: 10,
            tally: &monitor.lanes[number],
        };
        lane.run(&stop)
    };
    let bound = settings.amqp.confirm_timeout + OTHER_WAITS_MAX;
    let watching = async {
        tokio::time::sleep(bound).await;
        assert_eq!(monitor.liveness(), Liveness::default(), "no longer than it may wait");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let why = "lane 1 holds 2 messages, no step for 151 s";
        assert_eq!(monitor.liveness().dead, [Problem::new("lane", why)]);
        // Readiness does not depend on liveness.
        health.send_replace(Health::Down);
        let missing: Vec<_> =
            monitor.readiness().missing.into_iter().map(|problem| problem.what).collect();
        assert_eq!(missing, ["store", "broker"]);
        assert_eq!(monitor.in_hand(), 2);
    };
    tokio::select! {
        ended = lane(0, StubSource { is_empty: true }) => panic!("an idle lane goes on: {ended:?}"),
        ended = lane(1, StubSource { is_empty: false }) => panic!("it hangs: {ended:?}"),
        () = watching => {}
    }
    assert_eq!(monitor.in_hand(), 0, "a lane that is dropped gives back what it has");
    assert_eq!(monitor.counts().given_back, 2);
}
