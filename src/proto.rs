//! The contract as Rust: messages, servers and clients generated from `proto/`.

use std::fmt;

/// Package `claviger.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::disallowed_methods)]
pub mod v1 {
    tonic::include_proto!("claviger.v1");
}

/// The part of Envoy's API that is answered; its modules lie as its packages do.
#[cfg(feature = "server")]
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::disallowed_methods)]
pub mod envoy {
    pub use r#type::v3::{HttpStatus, StatusCode};

    pub mod config {
        pub mod core {
            pub mod v3 {
                tonic::include_proto!("envoy.config.core.v3");
            }
        }
    }
    pub mod service {
        pub mod auth {
            pub mod v3 {
                tonic::include_proto!("envoy.service.auth.v3");
            }
        }
    }
    pub mod r#type {
        pub mod v3 {
            tonic::include_proto!("envoy.r#type.v3");
        }
    }
}

/// Descriptors of every file of `proto/`, as an encoded `google.protobuf.FileDescriptorSet`.
#[cfg(feature = "server")]
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/claviger.binpb"));

/// Messages that hold a secret print everything else.
impl fmt::Debug for v1::VerifyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyRequest")
            .field("required_scopes", &self.required_scopes)
            .field("client_ip", &self.client_ip)
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for v1::CreateKeyResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateKeyResponse").field("key", &self.key).finish_non_exhaustive()
    }
}

impl fmt::Debug for v1::RotateKeyResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotateKeyResponse")
            .field("key", &self.key)
            .field("predecessor", &self.predecessor)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for v1::RevealKeyResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevealKeyResponse").finish_non_exhaustive()
    }
}

/// The headers of somebody's request: one of them is a credential.
#[cfg(feature = "server")]
impl fmt::Debug for envoy::service::auth::v3::attribute_context::HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest").finish_non_exhaustive()
    }
}

#[cfg(feature = "server")]
impl fmt::Debug for envoy::config::core::v3::HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeaderValue").field("key", &self.key).finish_non_exhaustive()
    }
}
