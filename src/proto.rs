//! The contract as Rust: messages, servers and clients generated from `proto/`.

/// Package `claviger.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::disallowed_methods)]
pub mod v1 {
    tonic::include_proto!("claviger.v1");
}

/// Descriptors of every file of `proto/`, as an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/claviger.binpb"));
