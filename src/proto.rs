//! The contract as Rust: messages, servers and clients generated from `proto/`.

/// Package `claviger.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::disallowed_methods)]
pub mod v1 {
    tonic::include_proto!("claviger.v1");
}

/// Descriptors of every file of `proto/`, as an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/claviger.binpb"));

mod debug {
    //! Messages that hold a secret print everything else.

    use std::fmt;

    use super::v1::{CreateKeyResponse, RotateKeyResponse, VerifyRequest};

    impl fmt::Debug for VerifyRequest {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("VerifyRequest")
                .field("required_scopes", &self.required_scopes)
                .field("client_ip", &self.client_ip)
                .field("tenant", &self.tenant)
                .finish_non_exhaustive()
        }
    }

    impl fmt::Debug for CreateKeyResponse {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("CreateKeyResponse").field("key", &self.key).finish_non_exhaustive()
        }
    }

    impl fmt::Debug for RotateKeyResponse {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("RotateKeyResponse")
                .field("key", &self.key)
                .field("predecessor", &self.predecessor)
                .finish_non_exhaustive()
        }
    }
}
