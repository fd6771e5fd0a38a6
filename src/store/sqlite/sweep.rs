//! The steps of a sweep in SQLite.
//!
//! Pages are read beside the flow, by a connection that only reads. Clearing takes the write lock as
//! a batch does, and queues for it behind the batches.

use sqlx::{QueryBuilder, Sqlite as Database};

use super::Sqlite;
use crate::domain::{Identity, State};
use crate::pipeline::ports::StoreError;
use crate::store::lifetimes::RowAge;
use crate::store::spilled::{AgedColumns, AgedEvent, SpilledKey};
use crate::store::stored::StoredAged;
use crate::store::sweep::SweepPlan;

const PAGE: &str = "SELECT tenant, id, state, channel, queue, length(events) > 0, record <> '{}', \
                    updated_ms, ended_ms FROM throughline_interaction \
                    WHERE (tenant, id) > (?, ?) ORDER BY tenant, id LIMIT ?";

const PAGE_OF_EVENTS: &str = "SELECT e.tenant, e.id, e.generation, e.digest, e.seen_ms, \
                              (SELECT max(newer.generation) \
                              FROM throughline_spilled_event AS newer \
                              WHERE newer.tenant = e.tenant AND newer.id = e.id) \
                              FROM throughline_spilled_event AS e \
                              WHERE (e.tenant, e.id, e.generation, e.digest) > (?, ?, ?, ?) \
                              ORDER BY e.tenant, e.id, e.generation, e.digest LIMIT ?";

const READ_DUE: &str = "SELECT i.tenant, i.id, i.state, i.channel, i.queue, length(i.events) > 0, \
                        i.record <> '{}', i.updated_ms, i.ended_ms \
                        FROM due CROSS JOIN throughline_interaction AS i \
                        ON i.tenant = due.tenant AND i.id = due.id";

/// Which rows a statement over `due` concerns.
const WHERE_DUE: &str = " WHERE (tenant, id) IN (SELECT tenant, id FROM due)";

impl Sqlite {
    /// A page of rows beyond `after`, without their contents.
    pub(in crate::store) async fn aged(
        &self,
        after: Option<&Identity<'_>>,
        limit: u32,
    ) -> Result<Vec<RowAge>, StoreError> {
        let (tenant, id) = after.map_or(("", ""), |after| (&after.tenant, &after.id));
        let page = sqlx::query_as::<_, StoredAged>(PAGE).bind(tenant).bind(id).bind(limit);
        let rows = page.fetch_all(&self.readers).await?;
        Ok(rows.into_iter().map(StoredAged::open).collect())
    }

    /// A page of spilled events beyond `after`.
    pub(in crate::store) async fn aged_events(
        &self,
        after: &SpilledKey,
        limit: u32,
    ) -> Result<Vec<AgedEvent>, StoreError> {
        let page = sqlx::query_as::<_, AgedColumns>(PAGE_OF_EVENTS)
            .bind(after.identity.tenant.as_ref())
            .bind(after.identity.id.as_ref())
            .bind(after.generation)
            .bind(&after.digest)
            .bind(limit);
        Ok(page.fetch_all(&self.readers).await?.into_iter().map(AgedEvent::from).collect())
    }

    /// Removes these spilled events; says how many were there.
    pub(in crate::store) async fn remove_events(
        &self,
        due: &[&SpilledKey],
    ) -> Result<u64, StoreError> {
        let mut remove = QueryBuilder::<Database>::new(
            "DELETE FROM throughline_spilled_event \
             WHERE (tenant, id, generation, digest) IN (",
        );
        remove.push_values(due, |mut row, key: &&SpilledKey| {
            row.push_bind(key.identity.tenant.clone().into_owned())
                .push_bind(key.identity.id.clone().into_owned())
                .push_bind(key.generation)
                .push_bind(key.digest.clone());
        });
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let removed = remove.push(")").build().execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(removed.rows_affected())
    }

    /// Reads the rows of `due` again under the write lock, and carries out `make_plan`'s plan.
    pub(in crate::store) async fn clear(
        &self,
        due: &[Identity<'_>],
        make_plan: impl Fn(&[RowAge]) -> SweepPlan + Send,
    ) -> Result<SweepPlan, StoreError> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let mut read = with_due(due);
        let read = read.push(READ_DUE).build_query_as::<StoredAged>();
        let rows = read.fetch_all(&mut *transaction).await?;
        let rows: Vec<_> = rows.into_iter().map(StoredAged::open).collect();
        let plan = make_plan(&rows);
        if !plan.expire.is_empty() {
            let mut expire = with_due(&plan.expire);
            expire.push("UPDATE throughline_interaction SET live = NULL, state = ");
            expire.push_bind(State::Expired.code());
            // From the end of its lifetime, not from the sweep that finds it.
            expire.push(", ended_ms = coalesce(ended_ms, updated_ms + ");
            expire.push_bind(plan.live_ttl_ms).push(")").push(WHERE_DUE);
            expire.build().execute(&mut *transaction).await?;
        }
        let logless: Vec<_> = plan.forget.iter().chain(&plan.delete).cloned().collect();
        if !logless.is_empty() {
            let mut events = with_due(&logless);
            events.push("DELETE FROM throughline_spilled_event").push(WHERE_DUE);
            events.build().execute(&mut *transaction).await?;
        }
        if !plan.forget.is_empty() {
            let mut forget = with_due(&plan.forget);
            forget.push("UPDATE throughline_interaction SET events = x''").push(WHERE_DUE);
            forget.build().execute(&mut *transaction).await?;
        }
        if !plan.delete.is_empty() {
            let mut delete = with_due(&plan.delete);
            delete.push("DELETE FROM throughline_interaction").push(WHERE_DUE);
            delete.build().execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(plan)
    }
}

/// The beginning of a statement over the rows of these identities, as the table `due`.
fn with_due<'i>(identities: &'i [Identity<'_>]) -> QueryBuilder<Database> {
    let mut query = QueryBuilder::new("WITH due (tenant, id) AS (");
    query.push_values(identities, |mut row, identity: &'i Identity<'_>| {
        row.push_bind(identity.tenant.as_ref()).push_bind(identity.id.as_ref());
    });
    query.push(") ");
    query
}
