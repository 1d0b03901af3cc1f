//! One Rust source, parsed, and whether it is product or test.
//!
//! Owns [`Source`] and [`Kind`]. What a file is follows from how it is declared: `#[cfg(test)] mod
//! a;` makes `a.rs` and all below it a test, wherever they lie and whatever they are called.

use crate::tokens::{self, Token};
use proc_macro2::TokenStream;
use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

/// What a file is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The product.
    Product,
    /// Tests only: integration tests, and modules under `#[cfg(test)]`.
    Test,
    /// An example or benchmark: a host's program.
    Example,
    /// A build script.
    Build,
}

/// A parsed file.
pub struct Source {
    /// From the repository's root.
    pub path: String,
    /// As it is on disk.
    pub text: String,
    /// What it is compiled for.
    pub kind: Kind,
    /// Its syntax tree.
    pub syntax: syn::File,
    /// Its tokens.
    pub tokens: Vec<Token>,
    /// The lines that only test builds have.
    pub test_lines: Vec<RangeInclusive<usize>>,
}

impl Source {
    /// Whether a line exists in test builds only.
    pub fn is_test(&self, line: usize) -> bool {
        self.kind == Kind::Test || self.test_lines.iter().any(|lines| lines.contains(&line))
    }

    /// How many lines exist outside of test builds.
    pub fn product_lines(&self) -> usize {
        (1..=self.text.lines().count()).filter(|line| !self.is_test(*line)).count()
    }

    fn parse(path: &str, text: &str) -> Result<Source, String> {
        let wrong = |error: syn::Error| {
            let at = error.span().start();
            format!("{path}:{}: {error}", at.line)
        };
        let syntax = syn::parse_file(text).map_err(wrong)?;
        let stream: TokenStream =
            text.parse().map_err(|error| format!("{path}: no tokens: {error}"))?;
        let tokens = tokens::flatten(stream);
        let test_lines = tokens::test_lines(&tokens);
        let (path, text) = (path.to_owned(), text.to_owned());
        Ok(Source { kind: kind_by_path(&path), path, text, syntax, tokens, test_lines })
    }
}

/// Parses every `.rs` file among these, and tells tests from product.
///
/// # Errors
///
/// The first file that is not Rust, and where.
pub fn parse_all(files: &[(String, String)]) -> Result<Vec<Source>, String> {
    let rust = files.iter().filter(|(path, _)| path.ends_with(".rs"));
    let mut sources =
        rust.map(|(path, text)| Source::parse(path, text)).collect::<Result<Vec<_>, _>>()?;
    let tests = test_files(&sources);
    for source in &mut sources {
        if source.kind == Kind::Product && tests.contains(&source.path) {
            source.kind = Kind::Test;
        }
    }
    Ok(sources)
}

fn kind_by_path(path: &str) -> Kind {
    let parts: Vec<&str> = path.split('/').collect();
    let folders = &parts[..parts.len() - 1];
    // `src/tests/` is a module and known by its declaration.
    let outside_src = folders.iter().take_while(|folder| **folder != "src");
    for folder in outside_src {
        match *folder {
            "tests" => return Kind::Test,
            "examples" | "benches" => return Kind::Example,
            _ => {}
        }
    }
    if parts.ends_with(&["build.rs"]) && !folders.contains(&"src") {
        return Kind::Build;
    }
    Kind::Product
}

/// The files that a declaration under `#[cfg(test)]` leads to, however far.
fn test_files(sources: &[Source]) -> HashSet<String> {
    let known: HashSet<&str> = sources.iter().map(|source| source.path.as_str()).collect();
    let mut children: HashMap<&str, Vec<(String, bool)>> = HashMap::new();
    for source in sources {
        let mut declared = Vec::new();
        let folder = module_folder(&source.path);
        declarations(source, &source.syntax.items, &folder, &mut declared);
        declared.retain(|(path, _)| known.contains(path.as_str()));
        children.insert(&source.path, declared);
    }
    let mut tests = HashSet::new();
    let all = children.values().flatten();
    let mut waiting: Vec<&String> = all.filter(|(_, test)| *test).map(|(path, _)| path).collect();
    while let Some(path) = waiting.pop() {
        if tests.insert(path.clone()) {
            waiting.extend(children[path.as_str()].iter().map(|(child, _)| child));
        }
    }
    tests
}

/// Every path that a `mod name;` in here could mean, and whether it is declared for tests.
fn declarations(source: &Source, items: &[syn::Item], folder: &str, out: &mut Vec<(String, bool)>) {
    for item in items {
        let syn::Item::Mod(module) = item else { continue };
        let name = module.ident.to_string();
        if let Some((_, items)) = &module.content {
            declarations(source, items, &format!("{folder}{name}/"), out);
            continue;
        }
        let test = source.is_test(module.ident.span().start().line);
        if let Some(path) = path_attribute(&module.attrs) {
            let beside = source.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            out.push((format!("{beside}/{path}"), test));
        } else {
            out.push((format!("{folder}{name}.rs"), test));
            out.push((format!("{folder}{name}/mod.rs"), test));
        }
    }
}

/// Where the modules lie that a file declares, with a slash at its end.
fn module_folder(path: &str) -> String {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    match file {
        "lib.rs" | "main.rs" | "mod.rs" => folder,
        _ => format!("{folder}{}/", file.trim_end_matches(".rs")),
    }
}

fn path_attribute(attributes: &[syn::Attribute]) -> Option<String> {
    let named = attributes.iter().find(|attribute| attribute.path().is_ident("path"))?;
    let syn::Meta::NameValue(pair) = &named.meta else { return None };
    let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &pair.value else {
        return None;
    };
    Some(text.value())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Repo;

    fn kinds(files: &[(&str, &str)]) -> Vec<Kind> {
        let sources = Repo::of(files).sources().unwrap();
        sources.iter().map(|source| source.kind).collect()
    }

    #[test]
    fn a_declaration_makes_a_test_and_what_it_declares() {
        let files = [
            ("a/src/lib.rs", "#[cfg(test)] mod tests;\nmod real;"),
            ("a/src/tests.rs", "mod deep;"),
            ("a/src/tests/deep.rs", ""),
            ("a/src/real.rs", "#[cfg(test)] #[path = \"odd_name.rs\"] mod tests;"),
            ("a/src/odd_name.rs", ""),
        ];
        assert_eq!(
            kinds(&files),
            [Kind::Product, Kind::Test, Kind::Test, Kind::Product, Kind::Test]
        );
    }

    #[test]
    fn the_folder_tells_the_rest() {
        let files = [
            ("a/tests/whole.rs", ""),
            ("a/tests/world/mod.rs", ""),
            ("a/examples/e.rs", ""),
            ("a/build.rs", ""),
            ("a/src/commands/build.rs", ""),
            ("a/src/tests/undeclared.rs", ""),
        ];
        let expected =
            [Kind::Test, Kind::Test, Kind::Example, Kind::Build, Kind::Product, Kind::Product];
        assert_eq!(kinds(&files), expected);
    }

    #[test]
    fn lines_of_tests_do_not_count() {
        let text = "fn a() {}\n\n#[cfg(test)]\nmod tests {\n}\n";
        let sources = Repo::of(&[("a/src/lib.rs", text)]).sources().unwrap();
        assert_eq!(sources[0].product_lines(), 2);
        assert!(sources[0].is_test(4));
        assert!(!sources[0].is_test(1));
    }

    #[test]
    fn what_is_not_rust_is_named() {
        let error = Repo::of(&[("a/src/lib.rs", "fn a( {}")]).sources().err();
        assert!(error.is_some_and(|error| error.starts_with("a/src/lib.rs")));
    }
}
