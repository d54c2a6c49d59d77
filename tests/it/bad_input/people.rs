//! Values of the fields that say who is told and when: members of user groups, mail addresses, time zones.

use super::dynamic::Input::{self, *};
use super::kinds::{Bad, id, with};

/// What is no name of a time zone.
pub fn zones() -> Vec<String> {
    let no_zones = [
        "utc",
        "europe/berlin",
        "Europe/berlin",
        "Europe",
        "Europe/",
        "/Europe/Berlin",
        "Europe/Atlantis",
        "CEST",
        "+01:00",
        "UTC+1",
        "../UTC",
        "Europe\\Berlin",
        "9",
    ];
    with("Europe/Berlin", &no_zones)
}

/// Addresses that aren't one plain address (RFC 5321 without quotes, comments, routes and literals).
pub fn bad_addresses() -> Vec<String> {
    let long_local = format!("{}@example.com", id(65));
    let long_label = format!("a@{}.com", id(64));
    let long = format!("a@{}.com", [id(60).as_str(); 5].join("."));
    with(
        "ops@example.com",
        &[
            "",
            "ops",
            "@",
            "ops@",
            "@example.com",
            "a@b@example.com",
            "o ps@example.com",
            "ops@exam ple.com",
            "ops@example.com,x@example.com",
            "ops@example.com;x@example.com",
            "ops@example.com x@example.com",
            "\"ops\"@example.com",
            "\"o ps\"@example.com",
            "\"ops@example.com",
            "ops@[127.0.0.1]",
            "ops@127.0.0.1",
            "ops@example.com\r\nBcc: x@example.com",
            "ops@example.com\n",
            "o\rps@example.com",
            "<ops@example.com>",
            "Ops <ops@example.com>",
            "ops@example.com (Ops)",
            "ops(x)@example.com",
            "@a,@b:ops@example.com",
            ".ops@example.com",
            "ops.@example.com",
            "o..ps@example.com",
            "ops@.com",
            "ops@example.",
            "ops@-example.com",
            "ops@example-.com",
            "öps@example.com",
            "ops@exämple.com",
            "ops@exa_mple.com",
            "ops\\@example.com",
            "ops%40example.com",
            "mailto:ops@example.com",
            "ops:x@example.com",
            &long_local,
            &long_label,
            &long,
        ],
    )
}

/// The fields of a member.
pub fn member(email: &str, display_name: &str) -> Vec<(&'static str, Input)> {
    vec![("email", Text(email.to_owned())), ("display_name", Text(display_name.to_owned()))]
}

/// Each bad member as the second, after a good one; one that is the first again; and a list that is too long.
pub fn members() -> Vec<Bad> {
    let good = || member("dev@example.com", "");
    let addresses = bad_addresses().into_iter().map(|address| (member(&address, "Ops"), "[1].email"));
    let bad_names = with("Ops", &[" ", "a\nb", &"é".repeat(101)]);
    let names = bad_names.into_iter().map(|name| (member("ops@example.com", &name), "[1].display_name"));
    let again = ["dev@example.com", "dev@EXAMPLE.com"].map(|address| (member(address, "again"), "[1].email"));
    let second = addresses.chain(names).chain(again).map(|(bad, below)| (Entries(vec![good(), bad]), below));
    second.chain([(Messages(1_001), ""), (Messages(1), "[0].email")]).collect()
}

/// As many as there may be, each as long as it may be.
pub fn longest_members() -> Input {
    let domain = [id(60).as_str(), &id(60), &id(60)].join(".");
    let longest = |number: usize| member(&format!("{number:064}@{domain}.abcdef"), &"👩".repeat(100));
    Entries((0..1_000).map(longest).collect())
}
