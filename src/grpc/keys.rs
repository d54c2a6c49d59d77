//! KeyService: convert, call the authority, convert.

use std::sync::Arc;
use std::time::Duration;

use prost_types::Timestamp;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::domain::{Revision, ids::KeyName, limits, replica::Reach, rights::Right, secret::Secret};
use crate::proto::v1::{self, key_service_server::KeyService};

use super::{
    convert::{self, credential_file, fields::Fields, keys},
    desk::Desk,
};

const READERS: [Right; 2] = [Right::KeysSelf, Right::KeysRead];
const WRITERS: [Right; 2] = [Right::KeysSelf, Right::KeysWrite];

/// The service.
pub struct Keys {
    desk: Desk,
    /// Where callers reach this service, as credential files say.
    host: Arc<str>,
}

impl Keys {
    /// A service behind `desk`, which callers reach at `host`.
    #[must_use]
    pub fn new(desk: Desk, host: Arc<str>) -> Self {
        Self { desk, host }
    }

    fn file(&self, format: Option<credential_file::Format>, secret: &Secret) -> Option<v1::CredentialFile> {
        format.map(|format| credential_file::write(format, &self.host, secret))
    }

    /// Waits until every replica knows `revision`, as long as the caller asked for, but not so long that a call that `begun`
    /// then would end with DEADLINE_EXCEEDED: that would look as if the change might not have been made.
    async fn reach(&self, revision: Revision, wanted: Option<Duration>, begun: Instant) -> Reach {
        let Some(wanted) = wanted else { return Reach::default() };
        let left = (limits::CALL_DEADLINE - limits::REPLICA_WAIT_MARGIN).saturating_sub(begun.elapsed());
        self.desk.authority().reach(revision, wanted.min(left)).await
    }
}

#[tonic::async_trait]
impl KeyService for Keys {
    async fn create_key(
        &self,
        request: Request<v1::CreateKeyRequest>,
    ) -> Result<Response<v1::CreateKeyResponse>, Status> {
        let call = self.desk.admit(&request, "claviger.v1.KeyService/CreateKey", &WRITERS).await?;
        let now = call.now;
        let (wanted, format) = self.desk.answer(&call, keys::create(request.get_ref(), &call))?;
        let creating = self.desk.authority().create_key(call.clone(), wanted);
        let created = self.desk.answer(&call, creating.await)?;
        let (key, secret) = (keys::write(&created.key, now), created.secret.reveal().to_owned());
        let credential_file = self.file(format, &created.secret);
        Ok(Response::new(v1::CreateKeyResponse { key: Some(key), secret, credential_file }))
    }

    async fn get_key(&self, request: Request<v1::GetKeyRequest>) -> Result<Response<v1::GetKeyResponse>, Status> {
        let call = self.desk.admit(&request, "claviger.v1.KeyService/GetKey", &READERS).await?;
        let name = self.desk.answer(&call, convert::name("name", &request.get_ref().name, KeyName::parse))?;
        let key = self.desk.answer(&call, self.desk.authority().get_key(&call, &name).await)?;
        Ok(Response::new(v1::GetKeyResponse { key: Some(keys::write(&key, call.now)) }))
    }

    async fn list_keys(&self, request: Request<v1::ListKeysRequest>) -> Result<Response<v1::ListKeysResponse>, Status> {
        let call = self.desk.admit(&request, "claviger.v1.KeyService/ListKeys", &READERS).await?;
        let request = request.get_ref();
        let listing = self.desk.listing(&call, list_filter(request));
        let mut fields = Fields::default();
        let filter = keys::filter(&mut fields, request);
        let page = listing.page(&mut fields, request.page_size, &request.page_token);
        let (filter, page) = self.desk.answer(&call, fields.finish(filter.zip(page)))?;
        let paged = self.desk.answer(&call, self.desk.authority().list_keys(&call, &filter, &page).await)?;
        let (keys, next_page_token) =
            listing.write(paged, |key| key.name.id.to_string(), |key| keys::write(&key, call.now));
        Ok(Response::new(v1::ListKeysResponse { keys, next_page_token }))
    }

    async fn update_key(
        &self,
        request: Request<v1::UpdateKeyRequest>,
    ) -> Result<Response<v1::UpdateKeyResponse>, Status> {
        let call = self.desk.admit(&request, "claviger.v1.KeyService/UpdateKey", &WRITERS).await?;
        let wanted = self.desk.answer(&call, keys::update(request.get_ref(), &call))?;
        let updating = self.desk.authority().update_key(call.clone(), wanted.name, wanted.edit, wanted.expected);
        let key = self.desk.answer(&call, updating.await)?;
        Ok(Response::new(v1::UpdateKeyResponse { key: Some(keys::write(&key, call.now)) }))
    }

    async fn enable_key(
        &self,
        request: Request<v1::EnableKeyRequest>,
    ) -> Result<Response<v1::EnableKeyResponse>, Status> {
        let call = self.desk.admit(&request, "claviger.v1.KeyService/EnableKey", &[Right::KeysWrite]).await?;
        let request = request.get_ref();
        let named = convert::named(&request.name, request.expected_revision, KeyName::parse);
        let (name, expected) = self.desk.answer(&call, named)?;
        let key = self.desk.answer(&call, self.desk.authority().enable_key(call.clone(), name, expected).await)?;
        Ok(Response::new(v1::EnableKeyResponse { key: Some(keys::write(&key, call.now)) }))
    }

    async fn disable_key(
        &self,
        request: Request<v1::DisableKeyRequest>,
    ) -> Result<Response<v1::DisableKeyResponse>, Status> {
        let begun = Instant::now();
        let call = self.desk.admit(&request, "claviger.v1.KeyService/DisableKey", &[Right::KeysWrite]).await?;
        let wanted = self.desk.answer(&call, keys::disable(request.get_ref()))?;
        let disabling = self.desk.authority().disable_key(call.clone(), wanted.name, wanted.expected);
        let key = self.desk.answer(&call, disabling.await)?;
        let reach = self.reach(key.revision, wanted.replica_wait, begun).await;
        Ok(Response::new(v1::DisableKeyResponse {
            key: Some(keys::write(&key, call.now)),
            confirmed_replicas: reach.confirmed,
            unconfirmed_replicas: reach.unconfirmed,
        }))
    }

    async fn revoke_key(
        &self,
        request: Request<v1::RevokeKeyRequest>,
    ) -> Result<Response<v1::RevokeKeyResponse>, Status> {
        let begun = Instant::now();
        let call = self.desk.admit(&request, "claviger.v1.KeyService/RevokeKey", &WRITERS).await?;
        let (wanted, reason) = self.desk.answer(&call, keys::revoke(request.get_ref()))?;
        let revoking = self.desk.authority().revoke_key(call.clone(), wanted.name, reason, wanted.expected);
        let key = self.desk.answer(&call, revoking.await)?;
        let reach = self.reach(key.revision, wanted.replica_wait, begun).await;
        Ok(Response::new(v1::RevokeKeyResponse {
            key: Some(keys::write(&key, call.now)),
            confirmed_replicas: reach.confirmed,
            unconfirmed_replicas: reach.unconfirmed,
        }))
    }

    async fn rotate_key(
        &self,
        request: Request<v1::RotateKeyRequest>,
    ) -> Result<Response<v1::RotateKeyResponse>, Status> {
        let call = self.desk.admit(&request, "claviger.v1.KeyService/RotateKey", &WRITERS).await?;
        let (wanted, format) = self.desk.answer(&call, keys::rotate(request.get_ref(), call.now))?;
        let rotating = self.desk.authority().rotate_key(call.clone(), wanted);
        let rotated = self.desk.answer(&call, rotating.await)?;
        Ok(Response::new(v1::RotateKeyResponse {
            key: Some(keys::write(&rotated.created.key, call.now)),
            secret: rotated.created.secret.reveal().to_owned(),
            predecessor: Some(keys::write(&rotated.predecessor, call.now)),
            credential_file: self.file(format, &rotated.created.secret),
        }))
    }

    async fn reveal_key(
        &self,
        request: Request<v1::RevealKeyRequest>,
    ) -> Result<Response<v1::RevealKeyResponse>, Status> {
        let call = self.desk.admit(&request, "claviger.v1.KeyService/RevealKey", &[Right::KeysReveal]).await?;
        let name = self.desk.answer(&call, convert::name("name", &request.get_ref().name, KeyName::parse))?;
        let secret = self.desk.answer(&call, self.desk.authority().reveal_key(call.clone(), name).await)?;
        Ok(Response::new(v1::RevealKeyResponse { secret: secret.reveal().to_owned() }))
    }

    async fn delete_key(
        &self,
        request: Request<v1::DeleteKeyRequest>,
    ) -> Result<Response<v1::DeleteKeyResponse>, Status> {
        let call = self.desk.admit(&request, "claviger.v1.KeyService/DeleteKey", &[Right::KeysWrite]).await?;
        let request = request.get_ref();
        let named = convert::named(&request.name, request.expected_revision, KeyName::parse);
        let (name, expected) = self.desk.answer(&call, named)?;
        let key = self.desk.answer(&call, self.desk.authority().delete_key(call.clone(), name, expected).await)?;
        Ok(Response::new(v1::DeleteKeyResponse { key: Some(keys::write(&key, call.now)) }))
    }
}

/// What a page token is bound to.
fn list_filter(request: &v1::ListKeysRequest) -> Vec<String> {
    let time = |time: &Option<Timestamp>| {
        time.as_ref().map_or_else(String::new, |time| format!("{}.{}", time.seconds, time.nanos))
    };
    vec![
        request.parent.clone(),
        request.state.to_string(),
        request.key_group.clone(),
        time(&request.expiring_before),
        time(&request.unused_since),
        request.show_deleted.to_string(),
    ]
}
