//! Values of the field that says who calls by certificate.

use super::dynamic::Input::{self, *};
use super::kinds::{Bad, LAST_OF_UUID, id, with};

const GOOD: &str = "spiffe://example.org/ns/prod/sa/billing";

/// What is no name in a certificate, or another spelling of one.
fn bad_names() -> Vec<String> {
    let path = format!("spiffe://example.org/{}", "a/".repeat(1_100));
    let domain = format!("spiffe://{}/a", id(256));
    let (label, host) = (format!("dns:{}.example.org", id(64)), format!("dns:{}", [id(63).as_str(); 4].join(".")));
    with(
        GOOD,
        &[
            "",
            "billing",
            "billing.example.org",
            "https://example.org/billing",
            "urn:uuid:8c6f4b1e-2f4a-4a53-9d3e-4b7c5f0a9d21",
            "ops@example.org",
            "spiffe:",
            "spiffe://",
            "spiffe:///billing",
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe://example.org/a/",
            "spiffe://example.org//a",
            "spiffe://example.org/../a",
            "spiffe://example.org/*",
            "spiffe://*/billing",
            "spiffe://user@example.org/billing",
            "spiffe://user:password@example.org/billing",
            "spiffe://example.org:443/billing",
            "spiffe://example.org/billing?admin",
            "spiffe://example.org/billing#a",
            "spiffe://example.org/bill%69ng",
            "spiffe://exämple.org/billing",
            "spiffe://Example.org/billing",
            "SPIFFE://example.org/billing",
            "spiffe:/example.org/billing",
            "dns:",
            "dns:*",
            "dns:*.example.org",
            "dns:billing.*.org",
            "dns:Billing.example.org",
            "DNS:billing.example.org",
            "dns:billing.example.org.",
            "dns:.example.org",
            "dns:billing..org",
            "dns:-billing.example.org",
            "dns:192.0.2.1",
            "dns:bílling.example.org",
            "dns:billing.example.org:443",
            "dns:billing.example.org/a",
            "dns://billing.example.org",
            "dns:\u{430}dmin.example.org",
            &path,
            &domain,
            &label,
            &host,
        ],
    )
}

fn identity(name: &str, scopes: &[&str]) -> Vec<(&'static str, Input)> {
    let scopes = scopes.iter().map(ToString::to_string).collect();
    vec![("subject_alternative_name", Text(name.to_owned())), ("scopes", Texts(scopes))]
}

/// Each bad name and each bad scope as the second, after a good one; one that is the first again; too many.
pub fn identities() -> Vec<Bad> {
    let good = || identity("dns:a.example.org", &["claviger:verify"]);
    let names = bad_names().into_iter().map(|name| (identity(&name, &[]), "[1].subject_alternative_name"));
    let scopes =
        ["", "Pay", "claviger:*", "claviger:root", "a:*:b"].map(|bad| (identity(GOOD, &["pay", bad]), "[1].scopes[1]"));
    let admin = (identity(GOOD, &["claviger:admin"]), "[1].scopes[0]");
    let again = (identity("dns:a.example.org", &[]), "[1].subject_alternative_name");
    let second = names.chain(scopes).chain([admin, again]).map(|(bad, below)| (Entries(vec![good(), bad]), below));
    let many = (0..9).map(|number| identity(&format!("dns:{number}.example.org"), &[])).collect();
    second.chain([(Entries(many), ""), (Messages(1), "[0].subject_alternative_name")]).collect()
}

/// As many as there may be, the first as long as it may be. Each has what a test replaces by a number of its own.
pub fn most_identities() -> Input {
    let longest = format!("spiffe://{}/{LAST_OF_UUID}/", id(255));
    let longest = format!("{longest}{}", id(2_048 - longest.len()));
    let other = |n: usize| identity(&format!("dns:{n}.of-{LAST_OF_UUID}.example.org"), &["*", "claviger:verify"]);
    Entries([identity(&longest, &[])].into_iter().chain((1..8).map(other)).collect())
}
