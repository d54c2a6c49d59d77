//! Values of the fields that say what a key may, and from where: scopes and networks.

use super::kinds::{id, with};

pub fn scopes(more: &[&str]) -> Vec<String> {
    let (deep, wide) = (["a"; 9].join(":"), format!("a:{}", id(33)));
    with(
        "mcp:read",
        &["", ":", "a:", ":a", "a::b", "Mcp:read", "mcp:Read", "mcp read", "mcp/read", "mcp:é", &deep, &wide],
    )
    .into_iter()
    .chain(more.iter().map(ToString::to_string))
    .collect()
}

pub fn networks() -> Vec<String> {
    with(
        "198.51.100.0/24",
        &[
            "",
            "a",
            "/8",
            "0.0.0.0/0",
            "::/0",
            "::ffff:0:0/96",
            "198.51.100.1/24",
            "2001:db8::1/32",
            "198.51.100.0/33",
            "2001:db8::/129",
            "198.51.100.0/-1",
            "198.51.100.0/024",
            "198.51.100.0/ 24",
            "198.051.100.0/24",
            "fe80::1%eth0",
            "198.51.100.0/24/24",
        ],
    )
}

pub fn hundred() -> Vec<String> {
    (0..100).map(|number| format!("scope-{number}")).collect()
}

/// The longest scope there is: 8 segments of 32 characters.
pub fn widest() -> Vec<String> {
    vec![[id(32).as_str(); 8].join(":")]
}
