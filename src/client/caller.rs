//! Our own way to the authority: the channel, and the key that we ask with.

use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

use crate::proto::v1::verification_service_client::VerificationServiceClient;

use super::StartError;

/// Calls the authority with our own key.
#[derive(Clone)]
pub(super) struct Caller {
    client: VerificationServiceClient<Channel>,
    bearer: MetadataValue<Ascii>,
}

impl Caller {
    pub(super) fn new(channel: Channel, secret: &str) -> Result<Self, StartError> {
        if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(StartError::SecretInvalid);
        }
        let bearer = format!("Bearer {secret}").parse();
        let mut bearer: MetadataValue<Ascii> = bearer.map_err(|_| StartError::SecretInvalid)?;
        // Keeps it out of debug output, and out of HTTP/2's header tables.
        bearer.set_sensitive(true);
        Ok(Self { client: VerificationServiceClient::new(channel), bearer })
    }

    /// The stub; each call has one of its own, over the same connection.
    pub(super) fn stub(&self) -> VerificationServiceClient<Channel> {
        self.client.clone()
    }

    /// A request that says who asks.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.bearer.clone());
        request
    }
}
