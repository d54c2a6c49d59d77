//! Who tells: the attributes of everything that is exported.

use std::sync::LazyLock;

use opentelemetry::{Key, KeyValue};
use opentelemetry_sdk::Resource;

use crate::random;

/// The standard variables win (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`). Without an id of its own each replica's
/// numbers would overwrite the others'.
#[must_use]
pub fn resource() -> Resource {
    static RESOURCE: LazyLock<Resource> = LazyLock::new(|| {
        let told = Resource::builder().build();
        let is_told = |key: &Key| told.get(key).is_some_and(|value| !value.as_str().starts_with("unknown_service"));
        let bytes: [u8; 16] = random::bytes().unwrap_or_default();
        let id = uuid::Builder::from_random_bytes(bytes).into_uuid().to_string();
        let own = [
            KeyValue::new("service.name", "claviger"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", id),
        ];
        Resource::builder().with_attributes(own.into_iter().filter(|own| !is_told(&own.key))).build()
    });
    RESOURCE.clone()
}
