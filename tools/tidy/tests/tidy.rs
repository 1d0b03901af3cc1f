//! The repository against the rules of the house: one test a rule, one line an offence.

use craton_tidy::{Offence, Repo, Source, listing};

fn repo() -> Repo {
    Repo::open().expect("git lists the files of the repository")
}

fn sources(repo: &Repo) -> Vec<Source> {
    let sources = repo.sources().expect("every tracked .rs file is Rust");
    assert!(sources.len() > 100, "only {} sources: the rules see nothing", sources.len());
    sources
}

#[track_caller]
fn clean(offences: &[Offence]) {
    assert!(offences.is_empty(), "{} offences:\n{}\n", offences.len(), listing(offences));
}

#[test]
fn crates_use_only_what_the_house_allows() {
    clean(&craton_tidy::edges::check(&repo()).expect("cargo describes both workspaces"));
}

#[test]
fn the_kernel_links_nothing_that_needs_a_host() {
    clean(&craton_tidy::kernel_tree::check(&repo()).expect("cargo resolves the kernel"));
}

#[test]
fn every_file_opens_with_its_tagline() {
    clean(&craton_tidy::tagline::check(&sources(&repo())));
}

#[test]
fn files_functions_and_lines_are_short() {
    clean(&craton_tidy::length::check(&sources(&repo())));
}

#[test]
fn unsafe_code_is_in_its_place_and_proven() {
    let repo = repo();
    clean(&craton_tidy::unsafe_code::check(&repo, &sources(&repo)));
}

#[test]
fn nothing_calls_what_is_banned() {
    clean(&craton_tidy::banned::check(&sources(&repo())));
}

#[test]
fn the_repository_speaks_of_the_project_alone() {
    clean(&craton_tidy::workplace::check(&repo()));
}

#[test]
fn the_packages_asked_for_are_used() {
    clean(&craton_tidy::packages::check(&sources(&repo())));
}

#[test]
fn decisions_are_numbered_and_titled() {
    clean(&craton_tidy::decisions::check(&repo()));
}
