//! A function fits on a screen, a file holds one idea, a line has a hundred columns.
//!
//! Owns the rules `file-length`, `function-length` and `columns`, their limits and the exceptions.

use crate::{Kind, Offence, Source};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Lines of a file that are not for tests.
const FILE_LINES_MAX: usize = 500;
/// Lines of a file of tests, and of a file that has an exception.
const FILE_LINES_CAP: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;

/// Files that may go up to the cap: path and reason. One that no longer needs it is an offence.
const EXCEPTIONS: &[(&str, &str)] = &[];

/// Holds every source against the three rules.
pub fn check(sources: &[Source]) -> Vec<Offence> {
    let mut offences = check_files(sources, EXCEPTIONS);
    for source in sources {
        offences.extend(check_functions(source));
        offences.extend(check_columns(source));
    }
    offences
}

fn check_files(sources: &[Source], exceptions: &[(&str, &str)]) -> Vec<Offence> {
    const RULE: &str = "file-length";
    let mut offences = Vec::new();
    for source in sources {
        let excepted = exceptions.iter().any(|(path, _)| *path == source.path);
        let is_test = source.kind == Kind::Test;
        let lines = if is_test { source.text.lines().count() } else { source.product_lines() };
        let max = if excepted || is_test { FILE_LINES_CAP } else { FILE_LINES_MAX };
        if lines > max {
            let advice = format!("{lines} lines without tests, {max} at most: split it by idea");
            offences.push(Offence::new(&source.path, 1, RULE, advice));
        }
        if excepted && (is_test || lines <= FILE_LINES_MAX) {
            let advice = "needs no exception any more: remove it from EXCEPTIONS";
            offences.push(Offence::new(&source.path, 1, RULE, advice));
        }
    }
    for (path, _) in exceptions {
        if !sources.iter().any(|source| source.path == *path) {
            let advice = "does not exist: remove it from EXCEPTIONS";
            offences.push(Offence::new(path, 1, RULE, advice));
        }
    }
    offences
}

fn check_functions(source: &Source) -> Vec<Offence> {
    let mut functions = Functions { path: &source.path, offences: Vec::new() };
    functions.visit_file(&source.syntax);
    functions.offences
}

struct Functions<'a> {
    path: &'a str,
    offences: Vec<Offence>,
}

impl Functions<'_> {
    fn judge(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let first = signature.span().start().line;
        let lines = block.span().end().line + 1 - first;
        if lines > FUNCTION_LINES_MAX {
            let name = &signature.ident;
            let advice =
                format!("{name} has {lines} lines, {FUNCTION_LINES_MAX} at most: split it");
            self.offences.push(Offence::new(self.path, first, "function-length", advice));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.judge(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.judge(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.judge(&function.sig, block);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

fn check_columns(source: &Source) -> Vec<Offence> {
    let lines = source.text.lines().enumerate();
    let widths = lines.map(|(index, line)| (index + 1, line.chars().count()));
    let wide = widths.filter(|(_, width)| *width > COLUMNS_MAX);
    let offend = |(line, width)| {
        let advice = format!("{width} columns, {COLUMNS_MAX} at most: break it");
        Offence::new(&source.path, line, "columns", advice)
    };
    wide.map(offend).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Repo;

    fn sources(path: &str, text: &str) -> Vec<Source> {
        Repo::of(&[(path, text)]).sources().unwrap()
    }

    fn rules(path: &str, text: &str) -> Vec<&'static str> {
        check(&sources(path, text)).into_iter().map(|offence| offence.rule).collect()
    }

    #[test]
    fn a_file_is_measured_without_its_tests() {
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(300));
        let good = format!("{}{tests}", "\n".repeat(FILE_LINES_MAX));
        assert!(rules("a/src/lib.rs", &good).is_empty());
        let bad = format!("{}{tests}", "\n".repeat(FILE_LINES_MAX + 1));
        assert_eq!(rules("a/src/lib.rs", &bad), ["file-length"]);
    }

    #[test]
    fn tests_have_the_cap() {
        assert!(rules("a/tests/b.rs", &"\n".repeat(FILE_LINES_CAP)).is_empty());
        assert_eq!(rules("a/tests/b.rs", &"\n".repeat(FILE_LINES_CAP + 1)), ["file-length"]);
    }

    #[test]
    fn an_exception_holds_to_the_cap_and_not_longer_than_needed() {
        let exception = [("a/src/lib.rs", "reason")];
        let found = |lines: usize| {
            check_files(&sources("a/src/lib.rs", &"\n".repeat(lines)), &exception).len()
        };
        assert_eq!(found(FILE_LINES_CAP), 0);
        assert_eq!(found(FILE_LINES_CAP + 1), 1);
        assert_eq!(found(FILE_LINES_MAX), 1);
        assert_eq!(check_files(&[], &exception).len(), 1);
    }

    #[test]
    fn every_kind_of_function_is_measured() {
        let body = "\n".repeat(FUNCTION_LINES_MAX - 1);
        let good = format!("/// Documents\n/// do not\n/// count.\nfn a() {{{body}}}");
        assert!(rules("a/src/lib.rs", &good).is_empty());
        let long = format!("fn a() {{\n{body}}}");
        for bad in [long.clone(), format!("impl A {{ {long} }}"), format!("trait A {{ {long} }}")] {
            assert_eq!(rules("a/src/lib.rs", &bad), ["function-length"]);
        }
        assert_eq!(rules("a/src/lib.rs", &format!("mod m {{ {long} }}")), ["function-length"]);
    }

    #[test]
    fn columns_are_characters_not_bytes() {
        assert!(rules("a/src/lib.rs", &format!("// {}", "…".repeat(97))).is_empty());
        assert_eq!(rules("a/src/lib.rs", &format!("// {}", "…".repeat(98))), ["columns"]);
    }
}
