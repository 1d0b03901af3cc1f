//! Whether each unsafe block, `impl` and function says why it is sound.
//!
//! Owns the walk over the syntax tree. The compiler's own lint does not see what is configured away
//! on the host, which in this house is most of the unsafe code. A proof is a comment `// SAFETY: …`
//! above the block or the statement that holds it; `SAFETY (each arm): …` above an outer statement
//! speaks for all blocks in it. Functions and traits say `# Safety` in their documentation.

use crate::{Offence, Source};
use proc_macro2::Span;
use std::collections::HashSet;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

const RULE: &str = "safety-proof";

/// Holds one source against the rule.
pub(super) fn check(source: &Source) -> Vec<Offence> {
    let mut walk = Walk {
        path: &source.path,
        lines: source.text.lines().collect(),
        anchors: Vec::new(),
        in_trait_impl: false,
        seen: HashSet::new(),
        offences: Vec::new(),
    };
    walk.visit_file(&source.syntax);
    walk.check_macros(source);
    walk.offences
}

struct Walk<'a> {
    path: &'a str,
    lines: Vec<&'a str>,
    /// First lines of the statements, arms and items around, the innermost last.
    anchors: Vec<usize>,
    in_trait_impl: bool,
    /// Places of the word that the syntax tree has; the rest are inside macros.
    seen: HashSet<(usize, usize)>,
    offences: Vec<Offence>,
}

impl Walk<'_> {
    fn offend(&mut self, line: usize, advice: &str) {
        self.offences.push(Offence::new(self.path, line, RULE, advice));
    }

    fn see(&mut self, span: Span) -> usize {
        let at = span.start();
        self.seen.insert((at.line, at.column));
        at.line
    }

    fn within(&mut self, span: Span, visit: impl FnOnce(&mut Self)) {
        self.anchors.push(span.start().line);
        visit(self);
        self.anchors.pop();
    }

    /// Whether a comment on this line or right above it proves, alone or for all below it.
    fn proves(&self, line: usize, for_all: bool) -> bool {
        let above = self.lines[..line - 1].iter().rev().map(|line| line.trim_start());
        let block = above.take_while(|line| line.starts_with("//") || line.starts_with("#["));
        let mut comment: Vec<&str> = block.filter(|line| line.starts_with("//")).collect();
        comment.reverse();
        let beside = self.lines[line - 1].split_once("//").map_or("", |(_, beside)| beside);
        is_proof(&comment.join("\n"), for_all) || is_proof(beside, for_all)
    }

    fn check_block(&mut self, line: usize) {
        let innermost = self.anchors.last().copied().unwrap_or(line);
        let proven = self.proves(line, false)
            || self.proves(innermost, false)
            || self.anchors.iter().any(|anchor| self.proves(*anchor, true));
        if !proven {
            self.offend(line, "prove the callee's contract in `// SAFETY: …` above the block");
        }
    }

    fn check_fn(&mut self, signature: &syn::Signature, attributes: &[syn::Attribute], whole: Span) {
        let syn::Safety::Unsafe(word) = &signature.safety else { return };
        let line = self.see(word.span());
        // A trait's method keeps the contract that the trait documents.
        if self.in_trait_impl || has_safety_section(attributes) {
            return;
        }
        if !self.proves(line, false) && !self.proves(whole.start().line, false) {
            self.offend(line, "say under `# Safety` what the caller must guarantee");
        }
    }

    /// What the syntax tree does not have: the insides of macros.
    fn check_macros(&mut self, source: &Source) {
        for pair in source.tokens.windows(2) {
            let (word, next) = (&pair[0], &pair[1]);
            let is_block = word.text == "unsafe" && ["{", "impl"].contains(&next.text.as_str());
            if is_block && !self.seen.contains(&(word.line, word.column)) {
                self.anchors.clear();
                self.check_block(word.line);
            }
        }
    }
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_stmt(&mut self, node: &'ast syn::Stmt) {
        self.within(node.span(), |walk| visit::visit_stmt(walk, node));
    }

    fn visit_arm(&mut self, node: &'ast syn::Arm) {
        self.within(node.span(), |walk| visit::visit_arm(walk, node));
    }

    fn visit_field_value(&mut self, node: &'ast syn::FieldValue) {
        self.within(node.span(), |walk| visit::visit_field_value(walk, node));
    }

    fn visit_item(&mut self, node: &'ast syn::Item) {
        self.within(node.span(), |walk| visit::visit_item(walk, node));
    }

    fn visit_impl_item(&mut self, node: &'ast syn::ImplItem) {
        self.within(node.span(), |walk| visit::visit_impl_item(walk, node));
    }

    fn visit_trait_item(&mut self, node: &'ast syn::TraitItem) {
        self.within(node.span(), |walk| visit::visit_trait_item(walk, node));
    }

    fn visit_expr_unsafe(&mut self, node: &'ast syn::ExprUnsafe) {
        let line = self.see(node.unsafe_token.span());
        self.check_block(line);
        visit::visit_expr_unsafe(self, node);
    }

    fn visit_item_impl(&mut self, node: &'ast syn::ItemImpl) {
        if let Some(word) = &node.unsafety {
            let line = self.see(word.span());
            if !has_safety_section(&node.attrs) {
                self.check_block(line);
            }
        }
        let outer = std::mem::replace(&mut self.in_trait_impl, node.trait_.is_some());
        visit::visit_item_impl(self, node);
        self.in_trait_impl = outer;
    }

    fn visit_item_trait(&mut self, node: &'ast syn::ItemTrait) {
        if let Some(word) = &node.unsafety {
            let line = self.see(word.span());
            if !has_safety_section(&node.attrs) {
                self.offend(line, "say under `# Safety` what an implementation must guarantee");
            }
        }
        visit::visit_item_trait(self, node);
    }

    fn visit_item_fn(&mut self, node: &'ast syn::ItemFn) {
        self.check_fn(&node.sig, &node.attrs, node.span());
        let outer = std::mem::replace(&mut self.in_trait_impl, false);
        visit::visit_item_fn(self, node);
        self.in_trait_impl = outer;
    }

    fn visit_impl_item_fn(&mut self, node: &'ast syn::ImplItemFn) {
        self.check_fn(&node.sig, &node.attrs, node.span());
        visit::visit_impl_item_fn(self, node);
    }

    fn visit_trait_item_fn(&mut self, node: &'ast syn::TraitItemFn) {
        self.check_fn(&node.sig, &node.attrs, node.span());
        visit::visit_trait_item_fn(self, node);
    }
}

fn has_safety_section(attributes: &[syn::Attribute]) -> bool {
    let docs = attributes.iter().filter(|attribute| attribute.path().is_ident("doc"));
    docs.filter_map(|doc| match &doc.meta {
        syn::Meta::NameValue(pair) => Some(&pair.value),
        _ => None,
    })
    .any(|value| match value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => {
            text.value().trim() == "# Safety"
        }
        _ => false,
    })
}

/// Whether a comment has `SAFETY: ` and a reason, or `SAFETY (each …): ` and one for all below.
fn is_proof(comment: &str, for_all: bool) -> bool {
    let Some((_, rest)) = comment.split_once("SAFETY") else { return false };
    let reason = match rest.strip_prefix(" (").and_then(|rest| rest.split_once("):")) {
        Some((_, reason)) => reason,
        None if for_all => return false,
        None => match rest.strip_prefix(':') {
            Some(reason) => reason,
            None => return false,
        },
    };
    let reason = reason.trim_start_matches(['/', ' ', '\n']);
    !reason.is_empty() && !reason.to_uppercase().starts_with("TODO")
}

#[cfg(test)]
mod tests;
