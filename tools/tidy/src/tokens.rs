//! A source as a flat list of tokens: no comment, no inside of a string, macros included.
//!
//! Owns [`Token`], the search for a sequence of them, and which lines are for tests only. A syntax
//! tree would be more precise but ends at macros, where calls hide.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::ops::RangeInclusive;

/// One word, punctuation character, bracket or literal.
#[derive(Clone, Debug)]
pub struct Token {
    /// As it is written; literals as `""`, so that nothing matches inside them.
    pub text: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 0.
    pub column: usize,
}

/// All tokens in reading order, with the brackets of groups as tokens.
pub fn flatten(stream: TokenStream) -> Vec<Token> {
    let mut tokens = Vec::new();
    flatten_into(stream, &mut tokens);
    tokens
}

fn flatten_into(stream: TokenStream, out: &mut Vec<Token>) {
    for tree in stream {
        let at = tree.span().start();
        let mut push = |text: String, at: proc_macro2::LineColumn| {
            out.push(Token { text, line: at.line, column: at.column });
        };
        match tree {
            TokenTree::Ident(word) => push(word.to_string(), at),
            TokenTree::Punct(mark) => push(mark.as_char().to_string(), at),
            TokenTree::Literal(_) => push("\"\"".to_owned(), at),
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                push(open.to_owned(), at);
                let end = group.span_close().start();
                flatten_into(group.stream(), out);
                out.push(Token { text: close.to_owned(), line: end.line, column: end.column });
            }
        }
    }
}

/// The lines at which this sequence of tokens begins.
pub fn lines_of(tokens: &[Token], sequence: &[&str]) -> Vec<usize> {
    let matches = |window: &&[Token]| window.iter().zip(sequence).all(|(t, text)| t.text == *text);
    tokens.windows(sequence.len()).filter(matches).map(|window| window[0].line).collect()
}

/// Whether the file sets this level for this lint: `#![forbid(unsafe_code)]`.
pub fn has_inner_lint(tokens: &[Token], level: &str, lint: &str) -> bool {
    let begins = |at: &usize| texts(tokens, *at, &["#", "!", "[", level, "("]);
    (0..tokens.len()).filter(begins).any(|at| {
        let end = closing(tokens, at + 4);
        tokens[at..end].iter().any(|token| token.text == lint)
    })
}

/// The lines that only a test build has: items under `#[cfg(test)]` or `#[test]`.
pub fn test_lines(tokens: &[Token]) -> Vec<RangeInclusive<usize>> {
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if let Some(last) = test_item(tokens, at) {
            ranges.push(tokens[at].line..=tokens[last].line);
            at = last;
        }
        at += 1;
    }
    ranges
}

/// The last token of the item that a test attribute at `at` belongs to.
fn test_item(tokens: &[Token], at: usize) -> Option<usize> {
    if texts(tokens, at, &["#", "!", "["]) && means_test(&tokens[at + 3..closing(tokens, at + 2)]) {
        return Some(tokens.len() - 1);
    }
    if !texts(tokens, at, &["#", "["]) {
        return None;
    }
    let end = closing(tokens, at + 1);
    means_test(&tokens[at + 2..end]).then(|| item_end(tokens, end + 1))
}

/// The last token of an item: its semicolon or closing brace, or what closes around it.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            ";" => return at,
            "{" => {
                let end = closing(tokens, at);
                // `use a::{b};` goes on to its semicolon.
                return if texts(tokens, end + 1, &[";"]) { end + 1 } else { end };
            }
            "(" | "[" => at = closing(tokens, at),
            ")" | "]" | "}" => return at - 1,
            _ => {}
        }
        at += 1;
    }
    tokens.len() - 1
}

/// Whether an attribute's content lets its item into test builds only.
fn means_test(content: &[Token]) -> bool {
    match content {
        [word] => word.text == "test",
        [word, open, inner @ .., _] => {
            word.text == "cfg" && open.text == "(" && requires_test(inner)
        }
        _ => false,
    }
}

fn requires_test(condition: &[Token]) -> bool {
    match condition {
        [word] => word.text == "test",
        [word, _, inner @ .., _] if word.text == "all" => split(inner).any(requires_test),
        [word, _, inner @ .., _] if word.text == "any" => split(inner).all(requires_test),
        _ => false,
    }
}

/// The parts between the commas of one level.
fn split(tokens: &[Token]) -> impl Iterator<Item = &[Token]> {
    let mut depth = 0;
    let comma = move |token: &Token| {
        depth += i32::from(token.text == "(") - i32::from(token.text == ")");
        depth == 0 && token.text == ","
    };
    tokens.split(comma).filter(|part| !part.is_empty())
}

fn texts(tokens: &[Token], at: usize, sequence: &[&str]) -> bool {
    let Some(window) = tokens.get(at..at + sequence.len()) else { return false };
    window.iter().zip(sequence).all(|(token, text)| token.text == *text)
}

/// The index of the bracket that closes the one at `open`.
fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return index;
        }
    }
    tokens.len() - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<Token> {
        flatten(text.parse().unwrap())
    }

    #[test]
    fn comments_and_strings_hide_nothing_and_match_nothing() {
        let found =
            tokens("// a.unwrap()\n/// a.unwrap()\nfn f() { \"a.unwrap()\"; a\n.unwrap() }");
        assert_eq!(lines_of(&found, &[".", "unwrap", "(", ")"]), [4]);
    }

    #[test]
    fn a_macro_hides_nothing() {
        let found = tokens("fn f() { assert!(a.unwrap() == 1) }");
        assert_eq!(lines_of(&found, &[".", "unwrap", "(", ")"]), [1]);
    }

    #[test]
    fn test_items_are_found_whole() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\nfn b() {}\n}\nfn c() {}\n\
                    #[cfg(all(test, not(feature = \"x\")))]\nuse a::{b};\n#[test]\nfn d() {\n}\n";
        assert_eq!(test_lines(&tokens(text)), [2..=5, 7..=8, 9..=11]);
    }

    #[test]
    fn what_also_exists_outside_tests_is_no_test() {
        let text = "#[cfg(any(test, feature = \"metal\"))] mod a {}\n#[cfg(not(test))] mod b {}\n\
                    #[cfg_attr(test, allow(dead_code))] mod c {}";
        assert_eq!(test_lines(&tokens(text)), []);
    }

    #[test]
    fn an_inner_attribute_makes_the_file_a_test() {
        assert_eq!(test_lines(&tokens("#![cfg(test)]\nfn a() {}\nfn b() {}")), [1..=3]);
    }

    #[test]
    fn a_test_field_ends_with_its_group() {
        let text = "struct A {\n b: u8,\n #[cfg(test)]\n c: u8 }\nfn d() {}";
        assert_eq!(test_lines(&tokens(text)), [3..=4]);
    }

    #[test]
    fn inner_lints_are_read() {
        assert!(has_inner_lint(&tokens("#![forbid(unsafe_code)]"), "forbid", "unsafe_code"));
        assert!(!has_inner_lint(&tokens("#![deny(unsafe_code)]"), "forbid", "unsafe_code"));
        assert!(!has_inner_lint(&tokens("// #![forbid(unsafe_code)]"), "forbid", "unsafe_code"));
    }
}
