//! The README's program, as a new user would paste it.

use std::{fs, path::Path, process::Command};

/// The first block of the README in this language.
fn block(language: &str) -> String {
    let readme = include_str!("../../README.md");
    let start = format!("```{language}\n");
    let rest = readme.split_once(&start).expect("a block in this language").1;
    rest.split_once("```").expect("its end").0.to_owned()
}

#[test]
fn the_program_compiles_as_pasted() {
    let program = block("rust");
    assert!(program.lines().count() <= 16, "a program of about 15 lines");
    let root = env!("CARGO_MANIFEST_DIR");
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pasted");
    fs::create_dir_all(package.join("src")).expect("a folder");
    let dependency = block("toml").replace("../txloop", root);
    let manifest =
        format!("[workspace]\n[package]\nname = \"pasted\"\nedition = \"2024\"\n{dependency}");
    fs::write(package.join("Cargo.toml"), manifest).expect("a manifest");
    fs::write(package.join("src/main.rs"), program).expect("a program");
    // The library's own versions: everything needed is there already.
    fs::copy(Path::new(root).join("Cargo.lock"), package.join("Cargo.lock")).expect("a lock file");
    let output = Command::new(env!("CARGO"))
        .args(["check", "--offline", "--manifest-path"])
        .arg(package.join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", package.join("target"))
        .env_remove("RUSTFLAGS")
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
