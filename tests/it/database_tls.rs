//! TLS to PostgreSQL: what the URL asks for is kept or refused with the way out, and its password is never shown.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use claviger::proto::v1::Verdict;
use tokio::time::timeout;

use crate::harness::{
    Cluster, Engine, Process,
    engine::skip,
    process::{command, root_secret, run},
};

const LONGEST: Duration = Duration::from_secs(60);
/// Nobody gets in without TLS, and `certified` only with a certificate of its name.
const RULES: &str = "hostssl all certified 127.0.0.1/32 cert\nhostssl all all 127.0.0.1/32 trust";
const SETTINGS: [&str; 4] =
    ["ssl=on", "ssl_cert_file=server.crt", "ssl_key_file=server.key", "ssl_ca_file=authority.crt"];

fn openssl(folder: &Path, arguments: &str) {
    let mut openssl = Command::new("openssl");
    openssl.current_dir(folder).args(arguments.split(' ')).stdin(Stdio::null()).stderr(Stdio::null());
    assert!(openssl.status().expect("openssl runs").success(), "openssl {arguments}");
}

const NEW_KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

fn authority(folder: &Path, name: &str) {
    openssl(folder, &format!("req -x509 {NEW_KEY} -keyout {name}.key -out {name}.crt -subj /CN={name} -days 2"));
}

/// A certificate by `authority` for this common name, which is also a DNS name.
fn certificate(folder: &Path, file: &str, name: &str) {
    openssl(folder, &format!("req {NEW_KEY} -keyout {file}.key -out {file}.csr -subj /CN={name}"));
    std::fs::write(folder.join("names"), format!("subjectAltName = DNS:{name}\n")).expect("written");
    let signer = "-CA authority.crt -CAkey authority.key -CAcreateserial";
    openssl(folder, &format!("x509 -req -in {file}.csr {signer} -days 2 -extfile names -out {file}.crt"));
}

/// The server's files, readable by it alone.
fn give(data: &Path, from: &Path) {
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(data).expect("a folder"));
    for file in ["server.crt", "server.key", "authority.crt"] {
        let file_there = data.join(file);
        std::fs::copy(from.join(file), &file_there).expect("copied");
        std::os::unix::fs::chown(&file_there, Some(owner), None).expect("given away");
        std::fs::set_permissions(&file_there, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("closed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_url_asks_for_is_kept_or_refused_with_the_way_out() {
    if !Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return skip("no openssl, which makes the certificates");
    }
    let files = tempfile::tempdir().expect("a folder");
    for name in ["authority", "stranger"] {
        authority(files.path(), name);
    }
    certificate(files.path(), "server", "localhost");
    certificate(files.path(), "client", "certified");
    let Some(cluster) = Cluster::start(RULES, &SETTINGS, |data| give(data, files.path())).await else { return };
    cluster.psql("postgres", "CREATE ROLE certified SUPERUSER LOGIN");
    let place = Engine::Sqlite.place().await.expect("a folder");
    let url = |user: &str, host: &str, mode: &str| {
        let mode = mode.replace('@', &format!("{}/", files.path().display()));
        format!("postgres://{user}:geheim@{host}:{}/postgres?sslmode={mode}", cluster.port)
    };

    let client = "sslcert=@client.crt&sslkey=@client.key";
    let certified = format!("verify-full&sslrootcert=@authority.crt&{client}");
    for (user, host, mode, says) in [
        (
            "postgres",
            "localhost",
            "verify-full&sslrootcert=@stranger.crt",
            "signed the server's certificate as sslrootcert",
        ),
        ("postgres", "localhost", "verify-full", "signed the server's certificate as sslrootcert"),
        (
            "postgres",
            "127.0.0.1",
            "verify-full&sslrootcert=@authority.crt",
            "a host in the database URL that its certificate",
        ),
        ("postgres", "localhost", "disable", "no encryption"),
        ("postgres", "localhost", "verify-ca&sslrootcert=@authority.crt", "use verify-full"),
        ("postgres", "localhost", "verify-full&sslrootcert=@nobody.crt", "nobody.crt: No such file"),
        ("postgres", "db.example", "", "disable, prefer, require or verify-full"),
        ("certified", "localhost", "verify-full&sslrootcert=@authority.crt", "certificate"),
        ("postgres", "localhost", "require", ""),
        ("postgres", "localhost", "verify-full&sslrootcert=@authority.crt", ""),
        ("certified", "localhost", &certified, ""),
    ] {
        let mut migrate = command(&place);
        migrate.arg("migrate").env("CLAVIGER_DATABASE_URL", url(user, host, mode)).env("CLAVIGER_LOG", "trace");
        let (code, out, err) = timeout(LONGEST, run(migrate)).await.expect("it ends");
        let expected = if says.is_empty() { Some(0) } else { Some(1) };
        assert!(code == expected && err.contains(says), "{user} {host} {mode}: {code:?} {err}");
        assert!(!err.contains("geheim") && !out.contains("geheim"), "{user} {host} {mode}: {err}");
    }

    let mut serve = command(&place);
    serve.env("CLAVIGER_DATABASE_URL", url("certified", "localhost", &certified));
    let service = Process::start_command(serve).await;
    let mut root = service.caller(Some(&root_secret(place.folder.path()))).await;
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    let (_, secret) = root.create_key(&owner, &[]).await;
    assert_eq!(root.verdict(&secret).await, Verdict::Valid);
    let in_the_clear = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                        WHERE usename = 'certified' AND NOT ssl";
    assert_eq!(cluster.psql("postgres", in_the_clear), "0");
    assert_eq!(service.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_refused_when_tls_is_asked_for() {
    let Some(mut place) = Engine::Postgres.place().await else { return };
    let url = place.database_url.take().expect("a URL");
    place.database_url = Some(format!("{url}?sslmode=require"));
    let (code, _, err) = timeout(LONGEST, run(command(&place))).await.expect("it ends");
    assert!(code == Some(1) && err.contains("turn on `ssl`"), "{code:?} {err}");
}
