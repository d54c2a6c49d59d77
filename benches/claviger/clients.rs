//! Callers on tonic's client, for the measurements that aren't about the generator's speed.

use std::net::SocketAddr;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::{Interceptor, interceptor::InterceptedService};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::Outcome;

/// A connection whose calls carry a credential.
pub type Connection = InterceptedService<Channel, Credential>;

/// Puts the credential into each call.
#[derive(Clone)]
pub struct Credential(MetadataValue<Ascii>);

impl Interceptor for Credential {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// Connects as the holder of `secret`.
pub async fn connect(address: SocketAddr, secret: &str) -> Outcome<Connection> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true).connect().await?;
    Ok(InterceptedService::new(channel, Credential(format!("Bearer {secret}").parse()?)))
}
