//! The steps of a sweep in PostgreSQL.
//!
//! Rows that a batch holds are skipped, so a sweep waits for no batch, and a batch waits for it no
//! longer than its few statements take.

use super::{Postgres, columns, within};
use crate::domain::{Identity, State};
use crate::pipeline::ports::StoreError;
use crate::store::lifetimes::RowAge;
use crate::store::spilled::{AgedColumns, AgedEvent, SpilledKey};
use crate::store::stored::StoredAged;
use crate::store::sweep::SweepPlan;

impl Postgres {
    /// A page of rows beyond `after`, without their contents.
    pub(in crate::store) async fn aged(
        &self,
        after: Option<&Identity<'_>>,
        limit: u32,
    ) -> Result<Vec<RowAge>, StoreError> {
        let (tenant, id) = after.map_or(("", ""), |after| (&after.tenant, &after.id));
        let page = sqlx::query_as::<_, StoredAged>(include_str!("aged.sql"))
            .bind(tenant)
            .bind(id)
            .bind(i64::from(limit));
        let rows = within(self.timeout * 2, page.fetch_all(&self.connections.pool)).await?;
        Ok(rows.into_iter().map(StoredAged::open).collect())
    }

    /// A page of spilled events beyond `after`.
    pub(in crate::store) async fn aged_events(
        &self,
        after: &SpilledKey,
        limit: u32,
    ) -> Result<Vec<AgedEvent>, StoreError> {
        let page = sqlx::query_as::<_, AgedColumns>(include_str!("aged_events.sql"))
            .bind(after.identity.tenant.as_ref())
            .bind(after.identity.id.as_ref())
            .bind(after.generation)
            .bind(&after.digest)
            .bind(i64::from(limit));
        let page = within(self.timeout * 2, page.fetch_all(&self.connections.pool)).await?;
        Ok(page.into_iter().map(AgedEvent::from).collect())
    }

    /// Removes these spilled events but for those that another worker is removing; says how many.
    pub(in crate::store) async fn remove_events(
        &self,
        due: &[&SpilledKey],
    ) -> Result<u64, StoreError> {
        let (tenants, ids) = columns(due.iter().map(|key| &key.identity));
        let remove = sqlx::query(include_str!("remove_events.sql"))
            .bind(tenants)
            .bind(ids)
            .bind(due.iter().map(|key| key.generation).collect::<Vec<_>>())
            .bind(due.iter().map(|key| key.digest.as_slice()).collect::<Vec<_>>());
        let removed = within(self.timeout * 2, remove.execute(&self.connections.pool)).await?;
        Ok(removed.rows_affected())
    }

    /// Locks the rows of `due` that no other transaction holds, and carries out `make_plan`'s plan.
    pub(in crate::store) async fn clear(
        &self,
        due: &[Identity<'_>],
        make_plan: impl Fn(&[RowAge]) -> SweepPlan + Send,
    ) -> Result<SweepPlan, StoreError> {
        let mut transaction = within(self.timeout * 2, self.connections.pool.begin()).await?;
        let (tenants, ids) = columns(due);
        let lock = sqlx::query_as::<_, StoredAged>(include_str!("lock_due.sql"));
        let lock = lock.bind(tenants).bind(ids).fetch_all(&mut *transaction);
        let locked = within(self.timeout, lock).await?;
        let locked: Vec<_> = locked.into_iter().map(StoredAged::open).collect();
        let plan = make_plan(&locked);

        let (tenants, ids) = columns(&plan.expire);
        let expire = sqlx::query(include_str!("expire.sql"))
            .bind(tenants)
            .bind(ids)
            .bind(State::Expired.code())
            .bind(plan.live_ttl_ms);
        let (tenants, ids) = columns(&plan.forget);
        let forget = sqlx::query(include_str!("forget.sql")).bind(tenants).bind(ids);
        let (tenants, ids) = columns(&plan.delete);
        let delete = sqlx::query(include_str!("delete.sql")).bind(tenants).bind(ids);
        let logless: Vec<_> = plan.forget.iter().chain(&plan.delete).cloned().collect();
        let (tenants, ids) = columns(&logless);
        let events = sqlx::query(include_str!("drop_events.sql")).bind(tenants).bind(ids);
        for (statement, rows) in [
            (expire, &plan.expire),
            (events, &logless),
            (forget, &plan.forget),
            (delete, &plan.delete),
        ] {
            if !rows.is_empty() {
                within(self.timeout, statement.execute(&mut *transaction)).await?;
            }
        }
        within(self.timeout, transaction.commit()).await?;
        Ok(plan)
    }
}
