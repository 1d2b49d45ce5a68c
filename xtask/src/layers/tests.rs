//! Each rule finds what it is for in a small made-up tree, and nothing in a clean one.

use super::*;
use std::fs;

struct Tree(PathBuf);
impl Tree {
    fn new(name: &str) -> Tree {
        let dir = std::env::temp_dir().join(format!("layers-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Tree(dir)
    }
    fn file(self, path: &str, text: &str) -> Tree {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }
    fn krate(self, name: &str, dependencies: &str, lib: &str) -> Tree {
        let manifest = format!("[package]\nname = \"{name}\"\n[lints]\nworkspace = true\n{dependencies}");
        self.file(&format!("crates/{name}/Cargo.toml"), &manifest)
            .file(&format!("crates/{name}/src/lib.rs"), lib)
    }
    fn found(&self, allowed: &[Allowed]) -> Vec<(&'static str, String, usize)> {
        findings(&self.0, allowed).unwrap().1.into_iter().map(|f| (f.rule, f.path, f.line)).collect()
    }
    fn rules(&self) -> Vec<&'static str> {
        self.found(&[]).into_iter().map(|(rule, ..)| rule).collect()
    }
}
impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn clean_tree() {
    let t = Tree::new("clean")
        .krate("hadal-core", "[dependencies]\nhalf = \"2\"", "//! Core. unsafe HashMap println!\n")
        .krate("hadal-cpu", "[dependencies]\nhadal-core = { path = \"../hadal-core\" }", "//! Cpu.\n")
        .krate("hadal-cli", "[dependencies]\nhadal-core.workspace = true", "fn f() { println!(\"x\"); }\n")
        .file(
            "crates/hadal-cpu/tests/t.rs",
            "use std::collections::HashMap; fn f() { None::<u8>.unwrap(); }\n",
        );
    assert_eq!(t.found(&[]), []);
}

#[test]
fn edges_upwards_are_found() {
    for section in ["dependencies", "build-dependencies", "target.'cfg(unix)'.dependencies"] {
        let t = Tree::new("edges").krate(
            "hadal-core",
            &format!("[{section}]\nhadal-tensor.workspace = true"),
            "",
        );
        assert_eq!(t.rules(), ["edges"], "{section}");
    }
    let renamed = "[dependencies]\nkernels = { package = \"hadal-cpu\", path = \"x\" }";
    assert_eq!(Tree::new("renamed").krate("hadal-nn", renamed, "").rules(), ["edges"]);
    let free = "[dev-dependencies]\nhadal-io.workspace = true";
    assert!(Tree::new("dev").krate("hadal-core", free, "").rules().is_empty());
    assert_eq!(
        Tree::new("data").krate("hadal-zoo", "[dependencies]\nhadal-data.workspace = true", "").rules(),
        ["edges"]
    );
}

#[test]
fn unknown_crates_names_and_lints_are_found() {
    assert_eq!(Tree::new("unknown").krate("hadal-new", "", "").rules(), ["edges"]);
    let t = Tree::new("name").file("crates/hadal-core/Cargo.toml", "[package]\nname = \"hadal-cpu\"\n");
    assert_eq!(t.rules(), ["edges", "edges"]);
}

#[test]
fn unsafe_is_found_also_in_tests() {
    let t = Tree::new("unsafe")
        .krate("hadal-core", "", "// SAFETY: no.\nunsafe impl Send for A {}\n")
        .file("crates/hadal-core/tests/t.rs", "fn f() {\n    unsafe { g() }\n}\n");
    let place = |rule, path: &str, line| (rule, path.to_owned(), line);
    assert_eq!(
        t.found(&[]),
        [
            place("unsafe", "crates/hadal-core/src/lib.rs", 2),
            place("safety", "crates/hadal-core/tests/t.rs", 2),
            place("unsafe", "crates/hadal-core/tests/t.rs", 2),
        ]
    );
    let all = Allowed { rule: "unsafe", path: "crates/hadal-core/", text: "", reason: "" };
    assert_eq!(t.found(&[all]), [place("safety", "crates/hadal-core/tests/t.rs", 2)]);
}

#[test]
fn libraries_keep_quiet() {
    for (line, rule) in [
        ("println!(\"x\")", "prints"),
        ("let _ = writeln!(std::io::stderr(), \"x\")", "prints"),
        ("dbg!(1)", "prints"),
        ("let v = std::env::var(\"X\")", "environment"),
        ("std::process::exit(1)", "exits"),
        ("let m: HashMap<u8, u8> = x", "hashmap"),
        ("x.unwrap()", "panic"),
        ("x.expect(\"y\")", "panic"),
        ("panic!()", "panic"),
        ("todo!()", "panic"),
        ("assert_eq!(a, b)", "panic"),
    ] {
        let t = Tree::new("quiet").krate("hadal-io", "", &format!("fn f() {{\n    {line};\n}}\n"));
        assert_eq!(t.found(&[]), [(rule, "crates/hadal-io/src/lib.rs".to_owned(), 2)], "{line}");
    }
    for line in ["p.expect('(')", "debug_assert!(a)", "const _: () = assert!(N > 0)", "x.unwrap_or(1)"] {
        let t = Tree::new("fine").krate("hadal-io", "", &format!("fn f() {{ {line}; }}\n"));
        assert!(t.rules().is_empty(), "{line}");
    }
}

#[test]
fn tests_inside_a_library_may_unwrap() {
    let t = Tree::new("inner")
        .krate(
            "hadal-io",
            "",
            "mod a;\n#[cfg(test)]\nmod t { fn f() { x.unwrap(); } }\n#[cfg(test)]\nmod u;\n",
        )
        .file("crates/hadal-io/src/u.rs", "mod v;\nfn f() { x.unwrap(); }\n")
        .file("crates/hadal-io/src/u/v.rs", "fn f() { x.unwrap(); }\n")
        .file("crates/hadal-io/src/a.rs", "#[cfg(test)]\nmod b;\nfn f() { x.unwrap(); }\n")
        .file("crates/hadal-io/src/a/b.rs", "fn f() { x.unwrap(); }\n");
    assert_eq!(t.found(&[]), [("panic", "crates/hadal-io/src/a.rs".to_owned(), 3)]);
}

#[test]
fn long_files_and_stale_exceptions_are_found() {
    let t = Tree::new("long").krate("hadal-io", "", &"\n".repeat(601));
    assert_eq!(t.found(&[]), [("length", "crates/hadal-io/src/lib.rs".to_owned(), 0)]);
    let stale = Allowed { rule: "panic", path: "crates/hadal-io/src/lib.rs", text: "", reason: "" };
    assert!(t.found(&[stale]).iter().any(|f| f.0 == "stale"));
}
