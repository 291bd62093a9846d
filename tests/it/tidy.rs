//! Shape is a test: who uses whom, how long a file is, what stands in it. The rules are functions
//! of texts, so that planted faults can show that they bite.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// For each module of the library, the modules that it may use.
const LAYERS: &[(&str, &[&str])] = &[
    ("sync", &[]),
    ("error", &[]),
    ("varint", &[]),
    ("http", &["error"]),
    ("conflict_log", &["sync", "error", "varint"]),
    ("conflict_report", &["error", "conflict_log"]),
    ("recording", &["sync", "error", "varint"]),
    ("cell", &["sync"]),
    ("transaction", &["sync", "error", "cell"]),
    ("collections", &["error", "cell", "transaction"]),
    ("executor", &["sync", "error", "cell", "transaction", "conflict_log"]),
    ("event_loop", &["sync", "error", "cell", "transaction", "executor", "recording"]),
    ("probe", &["sync", "cell", "transaction", "executor"]),
    ("testing", &["sync", "cell", "transaction"]),
    ("guide", &[]),
    (
        "web",
        &[
            "sync",
            "error",
            "http",
            "cell",
            "transaction",
            "executor",
            "event_loop",
            "conflict_log",
            "recording",
        ],
    ),
];
/// Public names at the root, and the module that each belongs to.
const ROOT_NAMES: &[(&str, &str)] = &[
    ("TVar", "cell"),
    ("Transaction", "transaction"),
    ("Snapshot", "transaction"),
    ("atomically", "transaction"),
];
/// The files that may contain `unsafe`.
const UNSAFE: [&str; 6] = [
    "src/cell/node.rs",
    "src/cell/boxes.rs",
    "src/cell/magazines.rs",
    "src/cell/logs.rs",
    "src/cell/slot.rs",
    "src/cell/block.rs",
];
/// The longest file, tests aside.
const LINES: usize = 600;
/// The longest line.
const WIDTH: usize = 100;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(below: &Path, out: &mut BTreeMap<String, String>) {
    let mut entries: Vec<_> = fs::read_dir(below)
        .expect("a folder of the project")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(root()).expect("below the root").display().to_string();
            out.insert(name, fs::read_to_string(&path).expect("UTF-8"));
        }
    }
}

/// The library's module that a file belongs to.
fn module(file: &str) -> Option<&str> {
    let rest = file.strip_prefix("src/")?;
    let first = rest.split('/').next()?;
    Some(first.strip_suffix(".rs").unwrap_or(first))
        .filter(|m| !["lib", "bin", "must_not_compile"].contains(m))
}

fn is_test(file: &str) -> bool {
    file.starts_with("tests/") || file.ends_with("tests.rs") || file.ends_with("models.rs")
}

/// The part of a line that is code.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or(line)
}

/// The modules named by `crate::name` in a file, also in a `use crate::{a, b}`.
fn used(text: &str) -> Vec<String> {
    let code: String = text.lines().map(|line| code(line).to_owned() + "\n").collect();
    let mut used = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with('$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            None => vec![rest],
            Some(group) => top_level(group),
        };
        for name in names {
            let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
            let name = &name[..end];
            let owner = ROOT_NAMES.iter().find(|(root, _)| *root == name).map(|(_, m)| *m);
            used.push(owner.unwrap_or(name).to_owned());
        }
    }
    used
}

/// The first names of the parts of `a::b, c::{d, e}, f}`.
fn top_level(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (i, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(group[start..i].trim());
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(group[start..i].trim());
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.into_iter().filter(|part| !part.is_empty()).collect()
}

/// What is wrong with a file.
fn faults(file: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |what: String| faults.push(format!("{file}: {what}"));
    if let Some(module) = module(file) {
        match LAYERS.iter().find(|(name, _)| *name == module) {
            None => fault(format!("module {module} has no place in the layers")),
            Some((_, allowed)) => {
                for used in used(text) {
                    let known = LAYERS.iter().any(|(name, _)| *name == used);
                    if known && used != module && !allowed.contains(&used.as_str()) {
                        fault(format!("{module} uses {used}"));
                    }
                }
            }
        }
        let has = |needle: &str| text.lines().any(|line| code(line).contains(needle));
        if has("mio::") && file != "src/event_loop/reactor.rs" {
            fault("mio outside the reactor".to_owned());
        }
        if module == "http" && (has("std::net") || has("std::io") || has("Instant")) {
            fault("I/O or a clock in http".to_owned());
        }
        if file.ends_with("schedule.rs") && (has("Atomic") || has("thread") || has("now_ns")) {
            fault("not pure".to_owned());
        }
        if module != "sync"
            && (has("std::sync::atomic::fence")
                || has("loom::sync") && !is_test(file)
                || has("shuttle::"))
        {
            fault("primitives come through sync.rs".to_owned());
        }
        if has("unsafe {") && !UNSAFE.contains(&file) && module != "sync" {
            fault("unsafe outside the six files".to_owned());
        }
    }
    if !is_test(file) && text.lines().count() > LINES {
        fault(format!("{} lines, more than {LINES}", text.lines().count()));
    }
    for (i, line) in text.lines().enumerate() {
        // A table in a comment cannot be broken.
        if line.chars().count() > WIDTH && !line.starts_with("//! |") {
            fault(format!("line {} is wider than {WIDTH}", i + 1));
        }
        let marks = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["#[al", "low("].concat()];
        for mark in marks {
            if line.contains(&mark) {
                fault(format!("line {}: {mark}", i + 1));
            }
        }
    }
    let first = text.lines().next().unwrap_or_default();
    if !first.starts_with("//!") && !file.ends_with("list.rs") {
        fault("the first line does not say what the file is for".to_owned());
    }
    faults
}

#[test]
fn the_tree_is_tidy() {
    let mut files = BTreeMap::new();
    for folder in ["src", "tests", "examples", "benches"] {
        sources(&root().join(folder), &mut files);
    }
    assert!(files.len() > 40, "found only {} files", files.len());
    let faults: Vec<String> = files.iter().flat_map(|(file, text)| faults(file, text)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[track_caller]
fn planted(file: &str, text: &str, expected: &str) {
    let found = faults(file, &format!("//! A file.\n{text}\n"));
    assert!(found.iter().any(|fault| fault.contains(expected)), "{file} {text:?}: {found:?}");
}

#[test]
fn planted_faults_are_found() {
    planted("src/cell/a.rs", "use crate::transaction::commit;", "cell uses transaction");
    planted(
        "src/transaction/a.rs",
        "use crate::conflict_log::Log;",
        "transaction uses conflict_log",
    );
    planted("src/conflict_log/a.rs", "use crate::{error::Error, cell::TVar};", "uses cell");
    planted("src/cell/a.rs", "use crate::Transaction;", "cell uses transaction");
    planted("src/executor/a.rs", "fn f() { crate::web::App::new(); }", "executor uses web");
    planted("src/event_loop/a.rs", "use crate::http::Decoder;", "event_loop uses http");
    planted("src/recording/a.rs", "use crate::web::App;", "recording uses web");
    planted("src/executor/a.rs", "use crate::recording::Entry;", "executor uses recording");
    planted("src/helpers/a.rs", "", "no place in the layers");
    planted("src/web/a.rs", "use mio::Poll;", "mio outside");
    planted("src/http/a.rs", "use std::net::TcpStream;", "I/O or a clock");
    planted("src/executor/schedule.rs", "use crate::sync::AtomicU64;", "not pure");
    planted("src/web/a.rs", "fn f() { unsafe { g() } }", "unsafe outside");
    planted("src/executor/a.rs", "use shuttle::thread;", "primitives come through");
    planted("src/web/a.rs", &"x\n".repeat(LINES), "lines, more than");
    planted("src/web/a.rs", &"x".repeat(WIDTH + 1), "wider than");
    let mark = ["TO", "DO"].concat();
    planted("src/web/a.rs", &format!("// {mark}"), &mark);
    assert!(faults("src/web/a.rs", "mod x;\n").iter().any(|f| f.contains("first line")));
    assert_eq!(faults("src/web/a.rs", "//! Fine.\nuse crate::http::Decoder;\n"), [""; 0]);
}
