//! Clients that we didn't write: grpcurl, grpcio, openssl.

use std::process::Stdio;

use tokio::process::Command;

use super::{NAME, Scene, place, run_tool};
use crate::harness::certificates::{Authority, Wanted};
use crate::harness::{Process, engine::skip, process};

const VERIFY: &str = "claviger.v1.VerificationService/Verify";

#[tokio::test(flavor = "multi_thread")]
async fn grpcurl_verifies_a_key_and_whom_it_speaks_to() {
    let scene = Scene::new();
    std::fs::write(scene.file("other.crt"), &Authority::new("another").pem).expect("written");
    let service = scene.start().await;
    let secret = process::root_secret(scene.folder());
    let (header, request) = (format!("authorization: Bearer {secret}"), format!("{{\"secret\": \"{secret}\"}}"));
    let address = service.address.to_string();
    let [ca, other] = ["ca.crt", "other.crt"].map(|name| scene.file(name).display().to_string());
    let grpcurl = async |security: &[&str]| {
        let call = ["-H", &header, "-d", &request, &address, VERIFY];
        run_tool("grpcurl", &[security, &call[..]].concat()).await
    };
    let Some((code, said)) = grpcurl(&["-cacert", &ca, "-authority", NAME]).await else { return };
    assert!(code == Some(0) && said.contains("VERDICT_VALID"), "{code:?} {said}");
    for (security, says) in [
        (&["-cacert", &other, "-authority", NAME][..], "certificate signed by unknown authority"),
        (&["-cacert", &ca, "-authority", "other.claviger.test"], "certificate is valid for keys.claviger.test"),
        (&["-cacert", &ca], "cannot validate certificate for 127.0.0.1"),
        // What it is told is in `handshakes`; this one says only that the connection was closed, and on a busy machine it
        // asks on for ever, over no connection.
        (&["-plaintext", "-max-time", "10"], ""),
    ] {
        let (code, said) = grpcurl(security).await.expect("grpcurl");
        assert!(code != Some(0) && said.contains(says), "{security:?}: {code:?} {said}");
    }
    assert_eq!(service.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tls_client_on_a_port_in_the_clear_hears_that_it_is() {
    let place = place().await;
    let service = Process::start(&place).await;
    let address = service.address.to_string();
    let arguments = ["-insecure", "-max-time", "10", &address, "grpc.health.v1.Health/Check"];
    let Some((code, said)) = run_tool("grpcurl", &arguments).await else { return };
    assert!(code != Some(0) && said.contains("first record does not look like a TLS handshake"), "{code:?} {said}");
    assert_eq!(service.terminate().await, Some(0));
}

/// The health check, whose answer `SERVING` is two bytes.
const GRPCIO: &str = "
import sys, grpc
address, name, *files = sys.argv[1:]
ca, key, certificate = [open(file, 'rb').read() for file in files] + [None] * (3 - len(files))
trust = grpc.ssl_channel_credentials(ca, key, certificate)
with grpc.secure_channel(address, trust, [('grpc.ssl_target_name_override', name)]) as channel:
    check = channel.unary_unary('/grpc.health.v1.Health/Check')
    print(check(b'', timeout=20) == b'\\x08\\x01')
";

#[tokio::test(flavor = "multi_thread")]
async fn grpcio_connects_with_and_without_a_certificate() {
    let scene = Scene::new();
    scene.authority.sign(&Wanted::client(&["spiffe://claviger.test/billing"], &[])).write(scene.folder(), "client");
    let service = Process::start_command(scene.command(true)).await;
    let address = service.address.to_string();
    let [ca, key, own] = ["ca.crt", "client.key", "client.crt"].map(|name| scene.file(name).display().to_string());
    for files in [&[ca.as_str()][..], &[&ca, &key, &own]] {
        let arguments = [&["-c", GRPCIO, &address, NAME], files].concat();
        let Some((code, said)) = run_tool("python3", &arguments).await else { return };
        assert_eq!((code, said.as_str()), (Some(0), "True\n"), "{files:?}");
    }
    assert_eq!(service.terminate().await, Some(0));
}

/// Says what openssl's client says.
async fn s_client(address: &str, arguments: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", address]).args(arguments.split(' '));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let (_, out, err) = process::run(command).await;
    out + &err
}

#[tokio::test(flavor = "multi_thread")]
async fn only_tls_1_2_and_1_3_and_only_http_2_are_spoken() {
    let version = Command::new("openssl").arg("version").stdout(Stdio::null()).status().await;
    if !version.is_ok_and(|status| status.success()) {
        return skip("no openssl, which speaks old TLS");
    }
    let scene = Scene::new();
    let service = scene.start().await;
    let address = service.address.to_string();
    for (arguments, says) in [
        ("-tls1_3 -alpn h2", "ALPN protocol: h2"),
        ("-tls1_2 -alpn h2", "ALPN protocol: h2"),
        ("-tls1_2 -alpn h2", "ECDHE"),
        ("-tls1_1 -cipher DEFAULT@SECLEVEL=0", "no peer certificate available"),
        ("-tls1 -cipher DEFAULT@SECLEVEL=0", "no peer certificate available"),
        ("-tls1_3 -alpn http/1.1", "alert no application protocol"),
        ("-tls1_2 -cipher AES128-SHA", "alert handshake failure"),
    ] {
        let said = s_client(&address, arguments).await;
        assert!(said.contains(says), "{arguments}: {said}");
    }
    // No session is resumed: each connection shows its certificate again.
    let said = s_client(&address, "-tls1_2 -alpn h2 -reconnect").await;
    assert!(said.contains("New, TLSv1.2") && !said.contains("Reused, "), "{said}");
    assert_eq!(service.terminate().await, Some(0));
}
