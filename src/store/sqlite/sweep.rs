//! The steps of a sweep in SQLite.
//!
//! Pages are read beside the flow, by a connection that only reads. Clearing takes the write lock as
//! a batch does, and queues for it behind the batches.

use sqlx::{QueryBuilder, Sqlite as Database};

use super::Sqlite;
use crate::domain::{Identity, State};
use crate::pipeline::ports::StoreError;
use crate::store::lifetimes::Aged;
use crate::store::stored::StoredAged;
use crate::store::sweep::Sentence;

const PAGE: &str = "SELECT tenant, id, state, channel, queue, length(events) > 0, record <> '{}', \
                    updated_ms, ended_ms FROM throughline_interaction \
                    WHERE (tenant, id) > (?, ?) ORDER BY tenant, id LIMIT ?";

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
    ) -> Result<Vec<Aged>, StoreError> {
        let (tenant, id) = after.map_or(("", ""), |after| (&after.tenant, &after.id));
        let page = sqlx::query_as::<_, StoredAged>(PAGE).bind(tenant).bind(id).bind(limit);
        let rows = page.fetch_all(&self.readers).await?;
        Ok(rows.into_iter().map(StoredAged::open).collect())
    }

    /// Reads the rows of `due` again under the write lock, and does to them what `judge` says.
    pub(in crate::store) async fn clear(
        &self,
        due: &[Identity<'_>],
        judge: impl Fn(&[Aged]) -> Sentence + Send,
    ) -> Result<Sentence, StoreError> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let mut read = over(due);
        let read = read.push(READ_DUE).build_query_as::<StoredAged>();
        let rows = read.fetch_all(&mut *transaction).await?;
        let rows: Vec<_> = rows.into_iter().map(StoredAged::open).collect();
        let sentence = judge(&rows);
        if !sentence.expire.is_empty() {
            let mut expire = over(&sentence.expire);
            expire.push("UPDATE throughline_interaction SET live = NULL, state = ");
            expire.push_bind(State::Expired.code());
            // Since its time was over, not since somebody noticed.
            expire.push(", ended_ms = coalesce(ended_ms, updated_ms + ");
            expire.push_bind(sentence.live_ttl_ms).push(")").push(WHERE_DUE);
            expire.build().execute(&mut *transaction).await?;
        }
        if !sentence.forget.is_empty() {
            let mut forget = over(&sentence.forget);
            forget.push("UPDATE throughline_interaction SET events = x''").push(WHERE_DUE);
            forget.build().execute(&mut *transaction).await?;
        }
        if !sentence.delete.is_empty() {
            let mut delete = over(&sentence.delete);
            delete.push("DELETE FROM throughline_interaction").push(WHERE_DUE);
            delete.build().execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(sentence)
    }
}

/// The beginning of a statement over the rows of these identities, as the table `due`.
fn over<'i>(identities: &'i [Identity<'_>]) -> QueryBuilder<Database> {
    let mut query = QueryBuilder::new("WITH due (tenant, id) AS (");
    query.push_values(identities, |mut row, whose: &'i Identity<'_>| {
        row.push_bind(whose.tenant.as_ref()).push_bind(whose.id.as_ref());
    });
    query.push(") ");
    query
}
