//! Calls any RPC by its name with raw bytes, and walks the descriptors: what a table must cover, it can't forget.

use std::sync::LazyLock;
use std::time::Duration;

use claviger::proto::DESCRIPTORS;
use http::uri::PathAndQuery;
use prost::bytes::{Buf, BufMut};
use prost_reflect::{DescriptorPool, MethodDescriptor};
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).expect("descriptors"));

const PATIENCE: Duration = Duration::from_secs(30);

/// Every RPC of the contract, whatever its service.
pub fn rpcs() -> Vec<MethodDescriptor> {
    let services: Vec<_> = POOL.services().collect();
    services.iter().flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

/// The RPC's name, as `claviger.v1.KeyService/CreateKey`.
pub fn name(rpc: &MethodDescriptor) -> String {
    format!("{}/{}", rpc.parent_service().full_name(), rpc.name())
}

/// The RPC of this name.
pub fn rpc(wanted: &str) -> MethodDescriptor {
    rpcs().into_iter().find(|rpc| name(rpc) == wanted).unwrap_or_else(|| panic!("no RPC {wanted}"))
}

/// Metadata of a call, in order, names perhaps twice.
pub type Metadata<'a> = &'a [(&'static str, &'a str)];

/// Calls an RPC with one message; of a stream of answers the first is taken.
pub async fn call(channel: &Channel, rpc: &str, metadata: Metadata<'_>, bytes: Vec<u8>) -> Result<Vec<u8>, Status> {
    answer(channel, rpc, metadata, bytes).await.map(Response::into_inner)
}

/// Calls an RPC as the holder of this secret.
pub async fn call_as(channel: &Channel, secret: &str, rpc: &str, bytes: Vec<u8>) -> Result<Vec<u8>, Status> {
    call(channel, rpc, &[("authorization", &format!("Bearer {secret}"))], bytes).await
}

/// Calls an RPC; the answer has its metadata with it.
pub async fn answer(
    channel: &Channel,
    rpc: &str,
    metadata: Metadata<'_>,
    bytes: Vec<u8>,
) -> Result<Response<Vec<u8>>, Status> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.expect("the service answers");
    let mut request = Request::new(bytes);
    for (name, value) in metadata {
        request.metadata_mut().append(*name, value.parse().expect("ASCII"));
    }
    let path: PathAndQuery = format!("/{rpc}").parse().expect("a path");
    if !rpcs().iter().any(|known| name(known) == rpc && known.is_server_streaming()) {
        return client.unary(request, path, RawCodec).await;
    }
    let (metadata, mut messages, extensions) = client.server_streaming(request, path, RawCodec).await?.into_parts();
    let first = timeout(PATIENCE, messages.message()).await.expect("an answer in time")?;
    Ok(Response::from_parts(metadata, first.expect("an answer"), extensions))
}

struct RawCodec;

impl Codec for RawCodec {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}
