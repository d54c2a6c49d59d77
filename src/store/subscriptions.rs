//! Whether people of a tenant get its mails, inside a change. Who is subscribed is said by the members of its user groups.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, QueryResult, Statement, Value};

use crate::domain::{
    Time,
    address::MailAddress,
    ids::{SubscriberId, TenantId, UserGroupId, UserGroupName},
    limits,
};

use super::{StoreError, Write, error::within, row::column, subscribers::has_subscribers};

/// Its memberships that aren't unsubscribed.
const SUBSCRIBED: &str = "(tenant_id, folded) IN (SELECT tenant_id, folded FROM subscriber WHERE id = $1)
    AND unsubscribe_time IS NULL";

impl Write {
    /// Whether anybody of a tenant gets its mails.
    pub async fn has_subscribers(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        has_subscribers(&self.transaction, tenant).await
    }

    /// The tenant whose subscriber this is or was.
    pub async fn tenant_of_subscriber(&self, subscriber: &SubscriberId) -> Result<Option<TenantId>, StoreError> {
        let sql = "SELECT tenant_id FROM subscriber WHERE id = $1";
        let rows = self.rows(sql, [subscriber.as_str().into()]).await?;
        rows.first().map(|row| read_id(row, "subscriber", "tenant_id", TenantId::parse)).transpose()
    }

    /// Marks an address as unsubscribed since `now` in every group of its tenant where it isn't yet. Answers these groups,
    /// by id: none when there was nothing to do, or no such subscriber.
    pub async fn unsubscribe(&self, subscriber: &SubscriberId, now: Time) -> Result<Vec<UserGroupName>, StoreError> {
        let groups = format!(
            "UPDATE user_group SET update_time = $2, revision = $3
             WHERE (tenant_id, id) IN (SELECT tenant_id, user_group_id FROM user_group_member WHERE {SUBSCRIBED})
             RETURNING tenant_id, id"
        );
        let values = [subscriber.as_str().into(), now.into(), self.revision().into()];
        let touched = self.rows(&groups, values).await?;
        let members = format!("UPDATE user_group_member SET unsubscribe_time = $2 WHERE {SUBSCRIBED}");
        self.execute(&members, vec![subscriber.as_str().into(), now.into()]).await?;
        let mut names = touched.iter().map(read_name).collect::<Result<Vec<_>, _>>()?;
        names.sort_unstable();
        Ok(names)
    }

    /// Since when these addresses are unsubscribed in some group of a tenant; by folded address.
    pub async fn unsubscribed(
        &self,
        tenant: &TenantId,
        addresses: &[&MailAddress],
    ) -> Result<HashMap<String, Time>, StoreError> {
        let mut found = HashMap::new();
        for some in addresses.chunks(limits::ROWS_PER_STATEMENT) {
            let sql = format!(
                "SELECT folded, MIN(unsubscribe_time) AS since FROM user_group_member
                 WHERE tenant_id = $1 AND unsubscribe_time IS NOT NULL AND folded IN ({}) GROUP BY folded",
                marks(some.len())
            );
            let folded = some.iter().map(|address| Value::from(address.folded()));
            let values: Vec<Value> = [tenant.as_str().into()].into_iter().chain(folded).collect();
            let statement = Statement::from_sql_and_values(self.transaction.get_database_backend(), sql, values);
            for row in within(self.transaction.query_all_raw(statement)).await? {
                found.insert(row.try_get("", "folded")?, row.try_get("", "since")?);
            }
        }
        Ok(found)
    }

    /// Forgets that the mail server refused these addresses of a tenant: they get its mails again.
    pub async fn clear_refusals(&self, tenant: &TenantId, addresses: &[MailAddress]) -> Result<(), StoreError> {
        for some in addresses.chunks(limits::ROWS_PER_STATEMENT) {
            let sql = format!(
                "UPDATE subscriber SET refusals = 0, refusal = '', refuse_time = NULL
                 WHERE tenant_id = $1 AND refusals > 0 AND folded IN ({})",
                marks(some.len())
            );
            let folded = some.iter().map(|address| Value::from(address.folded()));
            self.execute(&sql, [tenant.as_str().into()].into_iter().chain(folded).collect()).await?;
        }
        Ok(())
    }

    pub(super) async fn rows(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<QueryResult>, StoreError> {
        let statement = Statement::from_sql_and_values(self.transaction.get_database_backend(), sql, values);
        within(self.transaction.query_all_raw(statement)).await
    }

    async fn execute(&self, sql: &str, values: Vec<Value>) -> Result<(), StoreError> {
        let statement = Statement::from_sql_and_values(self.transaction.get_database_backend(), sql, values);
        within(self.transaction.execute_raw(statement)).await.map(drop)
    }
}

/// `$2, $3, …`
fn marks(count: usize) -> String {
    (2..).take(count).map(|number: usize| format!("${number}")).collect::<Vec<_>>().join(", ")
}

fn read_name(row: &QueryResult) -> Result<UserGroupName, StoreError> {
    let tenant = read_id(row, "user_group", "tenant_id", TenantId::parse)?;
    let id = read_id(row, "user_group", "id", UserGroupId::parse)?;
    Ok(UserGroupName { tenant, id })
}

fn read_id<T>(
    row: &QueryResult,
    table: &'static str,
    name: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, StoreError> {
    let id: String = row.try_get("", name)?;
    column(name, parse(&id)).map_err(|why| StoreError::Corrupt { table, id, why })
}
