//! A caller: one connection and one credential, with every service.

use std::net::SocketAddr;

use claviger::proto::v1::{
    self, audit_service_client::AuditServiceClient, key_group_service_client::KeyGroupServiceClient,
    key_service_client::KeyServiceClient, notification_service_client::NotificationServiceClient,
    service_user_service_client::ServiceUserServiceClient, tenant_service_client::TenantServiceClient,
    user_group_service_client::UserGroupServiceClient, verification_service_client::VerificationServiceClient,
};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::{Interceptor, interceptor::InterceptedService};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// Puts the credential into each call.
#[derive(Clone)]
pub struct Credential(Option<MetadataValue<Ascii>>);

impl Interceptor for Credential {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

type Authorised = InterceptedService<Channel, Credential>;

/// A caller.
#[derive(Clone)]
pub struct Client {
    pub channel: Channel,
    pub keys: KeyServiceClient<Authorised>,
    pub tenants: TenantServiceClient<Authorised>,
    pub service_users: ServiceUserServiceClient<Authorised>,
    pub key_groups: KeyGroupServiceClient<Authorised>,
    pub user_groups: UserGroupServiceClient<Authorised>,
    pub notifications: NotificationServiceClient<Authorised>,
    pub audit: AuditServiceClient<Authorised>,
    pub verification: VerificationServiceClient<Authorised>,
}

impl Client {
    /// Connects to `address`; `secret` is the credential, if any.
    pub async fn connect(address: SocketAddr, secret: Option<&str>) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        Self::over(endpoint.connect().await.expect("the service answers"), secret)
    }

    /// Uses an existing connection.
    pub fn over(channel: Channel, secret: Option<&str>) -> Self {
        let bearer = |secret: &str| format!("Bearer {secret}").parse().expect("ASCII");
        let service = InterceptedService::new(channel.clone(), Credential(secret.map(bearer)));
        Self {
            channel,
            keys: KeyServiceClient::new(service.clone()),
            tenants: TenantServiceClient::new(service.clone()),
            service_users: ServiceUserServiceClient::new(service.clone()),
            key_groups: KeyGroupServiceClient::new(service.clone()),
            user_groups: UserGroupServiceClient::new(service.clone()),
            notifications: NotificationServiceClient::new(service.clone()),
            audit: AuditServiceClient::new(service.clone()),
            verification: VerificationServiceClient::new(service),
        }
    }

    /// The same connection with another credential.
    pub fn with(&self, secret: Option<&str>) -> Self {
        Self::over(self.channel.clone(), secret)
    }

    /// Makes a tenant; answers its name.
    pub async fn create_tenant(&mut self, id: &str) -> String {
        let tenant = v1::Tenant { display_name: id.to_owned(), ..Default::default() };
        let request = v1::CreateTenantRequest { tenant_id: id.to_owned(), tenant: Some(tenant) };
        let made = self.tenants.create_tenant(request).await.expect("a tenant");
        made.into_inner().tenant.expect("a tenant").name
    }

    /// Makes a service user; answers its name.
    pub async fn create_service_user(&mut self, tenant: &str, id: &str) -> String {
        let service_user = v1::ServiceUser { display_name: id.to_owned(), ..Default::default() };
        let request = v1::CreateServiceUserRequest {
            parent: tenant.to_owned(),
            service_user_id: id.to_owned(),
            service_user: Some(service_user),
        };
        let made = self.service_users.create_service_user(request).await.expect("a service user");
        made.into_inner().service_user.expect("a service user").name
    }

    /// Makes a user group with account alerts and these addresses; answers its name.
    pub async fn create_user_group(&mut self, tenant: &str, id: &str, addresses: &[&str]) -> String {
        let member = |email: &&str| v1::UserGroupMember { email: email.to_string(), ..Default::default() };
        let members = addresses.iter().map(member).collect();
        let user_group =
            v1::UserGroup { display_name: id.to_owned(), account_alerts: true, members, ..Default::default() };
        let request = v1::CreateUserGroupRequest {
            parent: tenant.to_owned(),
            user_group_id: id.to_owned(),
            user_group: Some(user_group),
        };
        let made = self.user_groups.create_user_group(request).await.expect("a user group");
        made.into_inner().user_group.expect("a user group").name
    }

    /// Makes a key group; answers its name.
    pub async fn create_key_group(&mut self, tenant: &str, id: &str) -> String {
        let (parent, key_group_id) = (tenant.to_owned(), id.to_owned());
        let key_group = Some(v1::KeyGroup { display_name: id.to_owned(), ..Default::default() });
        let request = v1::CreateKeyGroupRequest { parent, key_group_id, key_group };
        let made = self.key_groups.create_key_group(request).await.expect("a key group");
        made.into_inner().key_group.expect("a key group").name
    }

    /// Makes a never-expiring key with these scopes.
    pub async fn create_key(&mut self, parent: &str, scopes: &[&str]) -> (v1::Key, String) {
        self.try_create_key(parent, scopes).await.expect("a key")
    }

    /// Tries to make a never-expiring key with these scopes.
    pub async fn try_create_key(&mut self, parent: &str, scopes: &[&str]) -> Result<(v1::Key, String), Status> {
        let key = v1::Key {
            display_name: "a key".to_owned(),
            scopes: scopes.iter().map(ToString::to_string).collect(),
            ..Default::default()
        };
        let request = v1::CreateKeyRequest { parent: parent.to_owned(), key: Some(key), ..Default::default() };
        let made = self.keys.create_key(request).await?.into_inner();
        Ok((made.key.expect("a key"), made.secret))
    }

    /// Sets the scopes of a key.
    pub async fn set_scopes(&mut self, name: &str, scopes: &[&str]) -> Result<(), Status> {
        let (name, scopes) = (name.to_owned(), scopes.iter().map(ToString::to_string).collect());
        let update_mask = Some(prost_types::FieldMask { paths: vec!["scopes".to_owned()] });
        let key = Some(v1::Key { name, scopes, ..Default::default() });
        self.keys.update_key(v1::UpdateKeyRequest { key, update_mask, expected_revision: 0 }).await.map(drop)
    }

    /// The verdict about a secret, with nothing else asked.
    pub async fn verdict(&mut self, secret: &str) -> v1::Verdict {
        self.verify(v1::VerifyRequest { secret: secret.to_owned(), ..Default::default() }).await.verdict()
    }

    /// The answer of Verify.
    pub async fn verify(&mut self, request: v1::VerifyRequest) -> v1::VerifyResponse {
        self.verification.verify(request).await.expect("a verdict").into_inner()
    }
}
