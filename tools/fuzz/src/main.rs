//! `craton-fuzz`: throws mutations at one parser for a while.
//!
//! Owns the command line, the corpus on disk (`build/fuzz/TARGET`) and what is said at the end. An
//! input that a parser does not survive is kept, and the line that replays it is printed.

#![forbid(unsafe_code)]

use clap::Parser;
use craton_fuzz::{Campaign, Failure, TARGETS, Target, target};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

/// Inputs between two looks at the clock.
const BATCH: usize = 256;

/// Throws mutations at a parser of outside bytes.
#[derive(Parser)]
struct Arguments {
    /// Which parser, or `all` in turn; without one they are listed.
    target: Option<String>,
    /// For how long, each.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What decides the mutations; the clock does, if it is not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Reads this file and nothing else.
    #[arg(long)]
    input: Option<PathBuf>,
    /// Where corpora and failures are kept.
    #[arg(long, default_value = "build/fuzz")]
    folder: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Some(name) = &arguments.target else {
        for Target { name, about, .. } in TARGETS {
            println!("{name:<14} {about}");
        }
        return ExitCode::SUCCESS;
    };
    let targets: Vec<Target> = match name.as_str() {
        "all" => TARGETS.to_vec(),
        name => target(name).into_iter().collect(),
    };
    if targets.is_empty() {
        eprintln!("there is no parser '{name}'; without an argument all are listed");
        return ExitCode::FAILURE;
    }
    let mut code = ExitCode::SUCCESS;
    for target in targets {
        if let Err(problem) = run(target, &arguments) {
            eprintln!("{}: {problem}", target.name);
            code = ExitCode::FAILURE;
        }
    }
    code
}

fn run(target: Target, arguments: &Arguments) -> Result<(), String> {
    if let Some(input) = &arguments.input {
        let bytes = fs::read(input).map_err(|error| format!("{}: {error}", input.display()))?;
        println!("{}: it comes to {:#x}", target.name, (target.fuzz)(&bytes));
        return Ok(());
    }
    let folder = arguments.folder.join(target.name);
    let seed = arguments.seed.unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(1, |since| since.as_nanos() as u64)
    });
    println!("{}: seed {seed}, corpus in {}", target.name, folder.display());
    let failed = |failure: Failure| kept(&target, &folder, &failure);
    let mut campaign = Campaign::new(target, seed, known(&folder)).map_err(failed)?;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(arguments.seconds) {
        campaign.run(BATCH).map_err(failed)?;
    }
    for input in campaign.corpus() {
        keep(&folder, "", input)?;
    }
    let each = campaign.executed() as f64 / start.elapsed().as_secs_f64().max(1e-9);
    println!(
        "{}: {} inputs ({each:.0} a second) came to {} things; none was the parser's end",
        target.name,
        campaign.executed(),
        campaign.outcomes()
    );
    Ok(())
}

/// Inputs that earlier runs kept.
fn known(folder: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    // The same corpus and seed make the same inputs.
    paths.sort();
    paths.iter().filter_map(|path| fs::read(path).ok()).collect()
}

fn kept(target: &Target, folder: &Path, failure: &Failure) -> String {
    match keep(folder, "failure-", &failure.input) {
        Ok(path) => format!(
            "does not survive {} bytes: make fuzz TARGET={} INPUT={}",
            failure.input.len(),
            target.name,
            path.display()
        ),
        Err(problem) => format!("does not survive {:02x?} ({problem})", failure.input),
    }
}

fn keep(folder: &Path, prefix: &str, input: &[u8]) -> Result<PathBuf, String> {
    let hash = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    let path = folder.join(format!("{prefix}{hash:016x}"));
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, input));
    written.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}
