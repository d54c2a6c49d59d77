//! Names in client certificates that are mapped to service users. They are read and written with their service user, and its
//! revision is theirs; the schema frees them when it is deleted.

use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, EntityTrait, QueryFilter, QueryResult, QuerySelect, Select,
    sea_query::Expr,
};

use crate::domain::{
    certificate_identity::{CertificateIdentities, CertificateIdentity},
    ids::{ServiceUserId, ServiceUserName, TenantId},
    owner::ServiceUser,
    peer_name::PeerName,
    rights::Right,
    scope::Scope,
};

use super::{
    StoreError, Write,
    entity::{
        certificate_identity::{ActiveModel, Column, Entity, Model},
        service_user,
    },
    error::within,
    key_row::{json_of, list_of},
    owned_keys::carries,
    row::{self, Row, column},
};

const LINES: &str = "identities";
/// A line for each name: the name, a space, its scopes as JSON. A name has no space, and neither has a line feed.
const OF_SERVICE_USER: &str = "(SELECT string_agg(identity.name || ' ' || identity.scopes, '\n' ORDER BY identity.name)
    FROM certificate_identity AS identity
    WHERE identity.tenant_id = service_user.tenant_id AND identity.service_user_id = service_user.id)";

impl Write {
    /// The service user that a name is mapped to.
    pub async fn owner_of_identity(&self, name: &PeerName) -> Result<Option<ServiceUserName>, StoreError> {
        let found = row::read_one(&self.transaction, Entity::find_by_id(name.as_str().to_owned())).await?;
        Ok(found.map(|(owner, _)| owner))
    }

    /// Makes these, and no others, the names of a service user. None of them may be another's, nor the service user deleted;
    /// its own row must be written in the same change.
    pub async fn set_identities(
        &self,
        owner: &ServiceUserName,
        identities: &CertificateIdentities,
    ) -> Result<(), StoreError> {
        let old = Entity::delete_many().filter(owned(&owner.tenant, Some(&owner.id)));
        within(old.exec(&self.transaction)).await?;
        let rows = identities.iter().map(|identity| columns(owner, identity)).collect::<Result<Vec<_>, _>>()?;
        if rows.is_empty() {
            return Ok(());
        }
        within(Entity::insert_many(rows).exec_without_returning(&self.transaction)).await.map(drop)
    }

    /// Whether somebody may do this by a name that is mapped to a service user, or to anybody of a tenant.
    pub(super) async fn has_identity_with(
        &self,
        tenant: &TenantId,
        service_user: Option<&ServiceUserId>,
        right: Right,
    ) -> Result<bool, StoreError> {
        let query = Entity::find().filter(owned(tenant, service_user)).filter(carries(Column::Scopes, right)).limit(1);
        Ok(!row::fetch(&self.transaction, query).await?.is_empty())
    }
}

/// Asks for the names of each service user too.
pub(super) fn with_identities(query: Select<service_user::Entity>) -> Select<service_user::Entity> {
    query.expr_as(Expr::cust(OF_SERVICE_USER), LINES)
}

/// Reads a service user of a query [with its names](with_identities).
pub(super) fn read_service_user(found: &QueryResult) -> Result<ServiceUser, StoreError> {
    let (mut service_user, lines) = read_lines(found)?;
    let read = lines.iter().map(|line| read_line(line)).collect::<Result<_, _>>();
    let identities = read.map_err(|why| corrupt(&service_user, why))?;
    service_user.identities = CertificateIdentities::from_stored(identities);
    Ok(service_user)
}

/// As [`read_service_user`], but a name that can't be understood is left out: nobody calls by it, and the keys go on.
pub(super) fn read_followed(found: &QueryResult) -> Result<ServiceUser, StoreError> {
    let (mut service_user, lines) = read_lines(found)?;
    let read = |line: &String| {
        let alarm = |why: String| {
            let error = corrupt(&service_user, why);
            tracing::error!(%error, "a stored name can't be understood; nobody can call by it until a change repairs it");
        };
        read_line(line).map_err(alarm).ok()
    };
    let identities = lines.iter().filter_map(read).collect();
    service_user.identities = CertificateIdentities::from_stored(identities);
    Ok(service_user)
}

fn read_lines(found: &QueryResult) -> Result<(ServiceUser, Vec<String>), StoreError> {
    let service_user = row::read::<service_user::Model>(found)?;
    let lines: Option<String> = found.try_get("", LINES).map_err(|error| corrupt(&service_user, error.to_string()))?;
    let lines = lines.iter().flat_map(|lines| lines.split('\n')).map(str::to_owned).collect();
    Ok((service_user, lines))
}

fn read_line(line: &str) -> Result<CertificateIdentity, String> {
    let (name, scopes) = line.split_once(' ').ok_or("is not a name and its scopes")?;
    read(name, scopes)
}

fn read(name: &str, scopes: &str) -> Result<CertificateIdentity, String> {
    Ok(CertificateIdentity {
        name: column("name", PeerName::parse(name))?,
        scopes: column("scopes", list_of(scopes, Scope::parse))?,
    })
}

fn corrupt(service_user: &ServiceUser, why: String) -> StoreError {
    StoreError::Corrupt { table: Model::TABLE, id: service_user.name.to_string(), why }
}

fn owned(tenant: &TenantId, service_user: Option<&ServiceUserId>) -> Condition {
    Condition::all()
        .add(Column::TenantId.eq(tenant.as_str()))
        .add_option(service_user.map(|id| Column::ServiceUserId.eq(id.as_str())))
}

fn columns(owner: &ServiceUserName, identity: &CertificateIdentity) -> Result<ActiveModel, StoreError> {
    Ok(ActiveModel {
        name: Set(identity.name.as_str().to_owned()),
        tenant_id: Set(owner.tenant.to_string()),
        service_user_id: Set(owner.id.to_string()),
        scopes: Set(json_of(identity.scopes.iter().map(Scope::to_string))?),
    })
}

impl Row for Model {
    type Value = (ServiceUserName, CertificateIdentity);
    const TABLE: &'static str = "certificate_identity";
    const NAMED_BY: &'static [&'static str] = &["name"];

    fn into_value(self) -> Result<Self::Value, String> {
        let owner = ServiceUserName {
            tenant: column("tenant_id", TenantId::parse(&self.tenant_id))?,
            id: column("service_user_id", ServiceUserId::parse(&self.service_user_id))?,
        };
        Ok((owner, read(&self.name, &self.scopes)?))
    }
}
