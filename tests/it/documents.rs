//! The README and the operations guide agree with the product and with each other: every link leads somewhere, and what they
//! list of errors is the contract's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use prost::Message;
use prost_types::FileDescriptorSet;

const README: &str = "README.md";
const GUIDE: &str = "docs/operations.md";

fn text(document: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(document)).expect(document)
}

/// The anchors of a document, as GitHub names them.
fn anchors(document: &str) -> BTreeSet<String> {
    let text = outside_blocks(document);
    let headings = text.lines().filter_map(|line| line.strip_prefix("## ").or_else(|| line.strip_prefix("### ")));
    headings.map(anchor).collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|&c| c.is_alphanumeric() || " -_".contains(c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// A document without its blocks of code, where a `#` begins a comment.
fn outside_blocks(document: &str) -> String {
    let text = text(document);
    text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_link_leads_somewhere() {
    for document in [README, GUIDE] {
        let folder = Path::new(document).parent().expect("a folder");
        let text = outside_blocks(document);
        let links: Vec<&str> = text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
        assert!(links.len() > 5, "the links of {document}: {links:?}");
        for link in links.into_iter().filter(|link| !link.starts_with("https://")) {
            let (file, heading) = link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
            let target = if file.is_empty() { document.into() } else { folder.join(file) };
            let found = Path::new(env!("CARGO_MANIFEST_DIR")).join(&target).canonicalize();
            let found = found.unwrap_or_else(|_| panic!("{link} in {document}"));
            let inside = found.strip_prefix(env!("CARGO_MANIFEST_DIR")).expect("inside the repository");
            let known = heading.is_none_or(|heading| anchors(inside.to_str().expect("UTF-8")).contains(heading));
            assert!(known, "{link} in {document}");
        }
    }
}

/// What the contract says of each reason: its code, and what to do. The comment on a reason is `CODE: what to do.`
fn contract() -> BTreeMap<String, (String, String)> {
    let set = FileDescriptorSet::decode(claviger::proto::DESCRIPTORS).expect("descriptors");
    let file = set.file.iter().find(|file| file.name() == "claviger/v1/error.proto").expect("error.proto");
    let index = file.enum_type.iter().position(|found| found.name() == "ErrorReason").expect("ErrorReason");
    let comments = &file.source_code_info.as_ref().expect("comments").location;
    let mut reasons = BTreeMap::new();
    for (number, value) in file.enum_type[index].value.iter().enumerate().skip(1) {
        let path = [5, i32::try_from(index).expect("small"), 2, i32::try_from(number).expect("small")];
        let comment = comments.iter().find(|location| location.path == path).expect("a comment").leading_comments();
        let comment = comment.split_whitespace().collect::<Vec<_>>().join(" ");
        let (code, remedy) = comment.split_once(": ").expect("a code and a remedy");
        let name = value.name().trim_start_matches("ERROR_REASON_").to_owned();
        reasons.insert(name, (code.to_owned(), remedy.to_owned()));
    }
    reasons
}

/// The rows of a section's only table, without head.
fn rows(document: &str, heading: &str) -> Vec<String> {
    let text = text(document);
    let after = text.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no {heading}")).1;
    let section = after.split("\n## ").next().expect("a section");
    section.lines().filter(|line| line.starts_with('|')).skip(2).map(str::to_owned).collect()
}

#[test]
fn the_readmes_error_table_lists_exactly_the_reasons_with_their_codes() {
    let rows = rows(README, "Errors");
    let listed: BTreeSet<(&str, &str)> = rows
        .iter()
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            (cells[1], cells[0])
        })
        .collect();
    let contract = contract();
    assert_eq!(listed, contract.iter().map(|(reason, (code, _))| (&**reason, &**code)).collect());
    assert_eq!(rows.len(), contract.len(), "one is listed twice");
}

/// The guide's table is written by the contract; this prints it when it isn't.
#[test]
fn the_guides_error_table_is_the_contracts() {
    let row = |(reason, (code, remedy)): (&String, &(String, String))| format!("| {reason} | {code} | {remedy} |");
    let expected: Vec<String> = contract().iter().map(row).collect();
    assert_eq!(rows(GUIDE, "Every error reason"), expected, "the table should be\n{}\n", expected.join("\n"));
}
