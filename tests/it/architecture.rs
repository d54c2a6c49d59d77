//! The house keeps its order: who may know whom, as one table (design, section 5), and a few rules for every file.
//!
//! Comments, texts in quotes and `#[cfg(test)]` modules don't count.

mod house;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use house::{EDGES, GUARDED, HOUSE, IMPURE};

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every file below `src/`, by its path there, as it is.
fn files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders = vec![source()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(source()).expect("below src").to_str().expect("UTF-8").to_owned();
                files.push((name, std::fs::read_to_string(&path).expect("UTF-8")));
            }
        }
    }
    files.sort();
    assert!(files.len() > 50, "most of the house is missing");
    files
}

/// The room a file belongs to, and the depth of its own module below the crate.
fn room(file: &str) -> (&str, usize) {
    let parts: Vec<&str> = file.trim_end_matches(".rs").split('/').collect();
    let depth = parts.len() - usize::from(parts.last() == Some(&"mod"));
    (parts[0], depth)
}

/// The program itself: without comments, texts, characters and test modules.
fn code(text: &str) -> String {
    let text = without_texts(text);
    let mut lines = text.lines();
    let mut out = String::new();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            // rustfmt puts the end of an item below its beginning.
            let indent = &line[..line.len() - line.trim_start().len()];
            let one_line = |line: &str| line.trim_end().ends_with([';', '}']);
            let end = format!("{indent}}}");
            if lines.next().is_some_and(|first| !one_line(first)) {
                assert!(lines.any(|line| line == end), "a test module ends");
            }
            continue;
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// Replaces comments by nothing and texts by `""`. Knows line comments, texts, raw texts, and characters.
fn without_texts(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '"' => text_length(rest),
            'r' if is_raw_text(rest) && !ends_in_word(&out) => raw_text_length(rest),
            '\'' => character_length(rest),
            _ => 0,
        };
        if skipped == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            if c != '/' {
                out.push_str("\"\"");
            }
            rest = &rest[skipped..];
        }
    }
    out
}

fn ends_in_word(text: &str) -> bool {
    text.ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

fn text_length(rest: &str) -> usize {
    let mut escaped = false;
    for (index, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return index + 1,
            _ => {}
        }
    }
    panic!("a text doesn't end");
}

fn is_raw_text(rest: &str) -> bool {
    rest[1..].trim_start_matches('#').starts_with('"')
}

fn raw_text_length(rest: &str) -> usize {
    let hashes = rest[1..].find('"').expect("a text");
    let end = format!("\"{}", "#".repeat(hashes));
    let start = 2 + hashes;
    start + rest[start..].find(&end).expect("a raw text ends") + end.len()
}

/// 0 for a lifetime.
fn character_length(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => rest[3..].find('\'').map_or(0, |end| end + 4),
        Some(_) => chars.next().filter(|&(_, c)| c == '\'').map_or(0, |(index, _)| index + 1),
        None => 0,
    }
}

/// Every path that starts at the crate's root, written out of its braces, as `store::StoreError`.
fn own_paths(file: &str, code: &str) -> BTreeSet<String> {
    let (_, depth) = room(file);
    let mut found = BTreeSet::new();
    for root in ["crate::", "claviger::"] {
        if root == "claviger::" && file != "main.rs" {
            continue;
        }
        for (index, _) in code.match_indices(root) {
            if !ends_in_word(&code[..index]) {
                expand("", &code[index + root.len()..], &mut found);
            }
        }
    }
    let up = "super::".repeat(depth);
    let mut above = BTreeSet::new();
    for (index, _) in code.match_indices(&up) {
        if !ends_in_word(&code[..index]) && !code[..index].ends_with("super::") {
            expand("", &code[index + up.len()..], &mut above);
        }
    }
    // From a module inside the file, as many steps up end below the crate's root: no room is there.
    let leads_to_room = |path: &String| HOUSE.iter().any(|room| path.split("::").next() == Some(room.name));
    found.extend(above.into_iter().filter(leads_to_room));
    found
}

/// `a::{b, c::d}` → `a::b`, `a::c::d`. Answers what comes after the tree.
fn expand<'a>(prefix: &str, tree: &'a str, found: &mut BTreeSet<String>) -> &'a str {
    let tree = tree.trim_start();
    if let Some(mut rest) = tree.strip_prefix('{') {
        loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix('}') {
                return after;
            }
            rest = expand(prefix, rest, found).trim_start();
            if let Some((_, after)) = rest.strip_prefix("as ").and_then(|alias| alias.split_once([',', '}'])) {
                rest = &rest[rest.len() - after.len() - 1..];
            }
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
    }
    let end = tree.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*').unwrap_or(tree.len());
    assert!(end > 0, "can't read a path at {:?}", tree.chars().take(40).collect::<String>());
    let path = if prefix.is_empty() { tree[..end].to_owned() } else { format!("{prefix}::{}", &tree[..end]) };
    match tree[end..].strip_prefix("::") {
        // A turbofish ends the path.
        Some(rest) if !rest.starts_with('<') => expand(&path, rest, found),
        Some(_) | None => {
            found.insert(path);
            &tree[end..]
        }
    }
}

/// First words of paths that could be outside crates.
fn outside_crates(code: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for (index, _) in code.match_indices("::") {
        let start = code[..index].rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |before| before + 1);
        if !code[..start].ends_with("::") {
            found.insert(&code[start..index]);
        }
    }
    found.extend(code.lines().filter_map(|line| line.trim().strip_prefix("use ")?.strip_suffix(';')));
    found
}

fn guarded(name: &str) -> Option<&'static str> {
    let is = |guarded: &&&str| name == **guarded || name.starts_with(&format!("{guarded}_"));
    // `tokio_cron_scheduler` comes before `tokio`, which would claim it too.
    GUARDED.iter().find(is).copied()
}

#[test]
fn no_module_knows_what_its_room_may_not() {
    let mut wrong = Vec::new();
    for (file, text) in files() {
        let code = code(&text);
        let (name, _) = room(&file);
        if name == "lib" {
            continue;
        }
        let Some(room) = HOUSE.iter().find(|room| room.name == name) else { continue };
        for path in own_paths(&file, &code) {
            let module = path.split("::").next().unwrap_or_default();
            let is_edge = name != "domain" && EDGES.contains(&module);
            let is_known = room.knows.iter().any(|&known| known == module || known == path);
            if module != name && !is_edge && !is_known {
                wrong.push(format!("src/{file} knows crate::{path}"));
            }
        }
        for outside in outside_crates(&code) {
            if let Some(guarded) = guarded(outside).filter(|guarded| !room.uses.contains(guarded)) {
                wrong.push(format!("src/{file} uses {outside} (reserved: {guarded})"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} violations of the house's order:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_module_has_a_row_in_the_table() {
    let library = std::fs::read_to_string(source().join("lib.rs")).expect("lib.rs");
    let code = code(&library);
    let declared = code.lines().filter_map(|line| line.split_once("mod ")?.1.split([';', ' ']).next());
    let mut declared: BTreeSet<&str> = declared.collect();
    declared.insert("main");
    assert_eq!(HOUSE.map(|room| room.name).into_iter().collect::<BTreeSet<_>>(), declared);
    let rooms: BTreeSet<String> = files().iter().map(|(file, _)| room(file).0.to_owned()).collect();
    let rooms: BTreeSet<&str> = rooms.iter().map(String::as_str).filter(|&name| name != "lib").collect();
    assert_eq!(rooms, declared, "a file that no module declares");
}

#[test]
fn the_domain_is_pure_and_synchronous() {
    for (file, text) in files().iter().filter(|(file, _)| file.starts_with("domain/")) {
        let code = code(text);
        for word in IMPURE {
            let found = code.match_indices(word).find(|&(index, _)| {
                let after = code[index + word.len()..].chars().next();
                !ends_in_word(&code[..index]) && !after.is_some_and(|c| c.is_alphanumeric())
            });
            assert!(found.is_none(), "src/{file} says {word}");
        }
    }
}

#[test]
fn unsafe_code_is_forbidden() {
    let library = std::fs::read_to_string(source().join("lib.rs")).expect("lib.rs");
    assert!(code(&library).lines().any(|line| line == "#![forbid(unsafe_code)]"));
}

#[test]
fn nothing_unwraps_outside_tests() {
    for (file, text) in files() {
        let code = code(&text);
        for call in [".unwrap()", ".expect(", "unreachable!(", "panic!(", "todo!("] {
            assert!(!code.contains(call), "src/{file} has {call}");
        }
    }
}

#[test]
fn no_file_is_longer_than_a_reader() {
    for (file, text) in files() {
        assert!(text.lines().count() <= 400, "src/{file} has {} lines; split it", text.lines().count());
    }
}

/// The rules above are only as good as what they read.
#[test]
fn the_reader_sees_through_comments_texts_braces_and_tests() {
    let text = "// crate::no\nuse crate::{a, b::{self, c::D as E}, f};\nlet x = \"crate::no \\\" \";\nlet y = r#\"crate::no\"#;\n\
                let z = '\"'; crate::g::<u8>(); fn h<'a>() {}\nuse super::super::store::J;\n\
                #[cfg(test)]\nmod tests {\n    use crate::no;\n}\nuse tonic::Status;\n";
    let code = code(text);
    let found = own_paths("x/y.rs", &code);
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), ["a", "b::c::D", "b::self", "f", "g", "store::J"]);
    assert!(outside_crates(&code).contains("tonic"));
    assert_eq!(guarded("tonic_types"), Some("tonic"));
    assert_eq!(guarded("tokio_cron_scheduler"), Some("tokio_cron_scheduler"));
    assert_eq!(guarded("tonics"), None);
}
