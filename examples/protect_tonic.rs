//! A tonic server with one service that only keys with the scope `health:read` get into: `protect_tonic KEY_FILE`.
//!
//! KEY_FILE holds the service's own key, which needs the right `claviger:verify`. The standard health service stands here for
//! one of yours; reflection is open to everybody. Then:
//! `grpcurl -plaintext -H "authorization: Bearer $secret" 127.0.0.1:50052 grpc.health.v1.Health/Check`

use claviger::client::{Options, RequireKeyLayer, Verifier};
use tonic::transport::{Endpoint, Server, server::TcpConnectInfo};
use tower::Layer;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let key_file = std::env::args().nth(1).ok_or("usage: protect_tonic KEY_FILE")?;
    let channel = Endpoint::from_static("http://127.0.0.1:50051").connect_lazy();
    let verifier = Verifier::new(channel, std::fs::read_to_string(key_file)?.trim_end(), &Options::default())?;

    let protect = RequireKeyLayer::new(verifier, ["health:read"])
        .client_ip(|extensions| Some(extensions.get::<TcpConnectInfo>()?.remote_addr()?.ip()));
    // A handler finds who calls by `request.extensions().get::<Arc<Identity>>()`.
    let (_reporter, health) = tonic_health::server::health_reporter();
    let descriptors = tonic_health::pb::FILE_DESCRIPTOR_SET;
    let open = tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(descriptors);
    // `Server::builder().layer(protect)` would protect all services alike.
    let server = Server::builder().add_service(protect.layer(health)).add_service(open.build_v1alpha()?);
    server.serve("127.0.0.1:50052".parse()?).await?;
    Ok(())
}
