//! Compiles `proto/` without protoc, and keeps the descriptors for reflection and for the tests.

use std::{env, error::Error, ffi::OsString, fs, path::Path};

const PROTOS: [&str; 9] =
    ["audit", "error", "key", "key_group", "notification", "service_user", "tenant", "user_group", "verification"];
const ENVOY: &str = "envoy/service/auth/v3/external_auth.proto";
/// For a transcoder, which writes the details of errors as JSON.
const ERROR_DETAILS: &str = "google/rpc/error_details.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let is_server = variable("CARGO_FEATURE_SERVER").is_some();
    let mut files: Vec<String> = PROTOS.map(|name| format!("claviger/v1/{name}.proto")).into();
    if is_server {
        files.extend([ENVOY, ERROR_DETAILS].map(str::to_owned));
    }
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(files)?;
    let descriptors = compiler.file_descriptor_set();
    let out = variable("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    // Encoded by the compiler, because prost would drop the google.api annotations.
    fs::write(Path::new(&out).join("claviger.binpb"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        // google.rpc.Status is the one of tonic-types, so that batch errors and call errors are built alike.
        .extern_path(".google.rpc", "::tonic_types::pb")
        // These hold a secret; `proto` says how they print.
        .skip_debug([
            ".claviger.v1.VerifyRequest",
            ".claviger.v1.CreateKeyResponse",
            ".claviger.v1.RotateKeyResponse",
            ".claviger.v1.RevealKeyResponse",
        ])
        .skip_debug([".envoy.service.auth.v3.AttributeContext.HttpRequest", ".envoy.config.core.v3.HeaderValue"])
        .build_server(is_server)
        .compile_fds(descriptors)?;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "cargo speaks to build scripts by variables")]
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name)
}
