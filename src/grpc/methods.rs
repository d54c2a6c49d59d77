//! The methods there are, by the paths that call them.

use std::collections::HashSet;
use std::sync::LazyLock;

use prost::Message;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};

use crate::proto::DESCRIPTORS;

const REFLECTION: [&str; 2] = [
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// The method of a path; whatever else a client writes there, a secret perhaps, is not repeated.
pub(super) fn known(path: &str) -> &'static str {
    static METHODS: LazyLock<HashSet<String>> = LazyLock::new(|| {
        let sets = [DESCRIPTORS, tonic_health::pb::FILE_DESCRIPTOR_SET];
        let described = sets.into_iter().filter_map(|set| FileDescriptorSet::decode(set).ok()).flat_map(methods);
        described.chain(REFLECTION.map(str::to_owned)).collect()
    });
    let method = path.strip_prefix('/').unwrap_or(path);
    METHODS.get(method).map_or("unknown", String::as_str)
}

fn methods(set: FileDescriptorSet) -> Vec<String> {
    let mut methods = Vec::new();
    for file in &set.file {
        for service in &file.service {
            let name =
                |method: &MethodDescriptorProto| format!("{}.{}/{}", file.package(), service.name(), method.name());
            methods.extend(service.method.iter().map(name));
        }
    }
    methods
}
