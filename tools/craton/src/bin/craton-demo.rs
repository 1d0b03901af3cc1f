//! The demo behind `make run`: three bare machines boot, join and count words.
//!
//! Owns the story that a person reads: boot, join, run, check, stay. It uses the tool's library as
//! `craton up` and `craton run` do, and checks the cluster's result against a plain count here.

use clap::Parser;
use craton_abi::Place;
use craton_tool::client::{Client, RunIo};
use craton_tool::cluster::{ClusterOptions, default_kernel};
use craton_tool::commands::{Running, boot, print_nodes};
use craton_tool::error::{Context, Error, Result};
use craton_tool::keys::Keys;
use craton_tool::signals;
use craton_tool::table::bytes;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

/// Enough text that the answer takes a while on emulated machines.
const TEXT_BYTES_WANTED: u64 = 50_000_000;

/// Boots machines, joins them, counts the words of a large text on all of them.
#[derive(Parser)]
#[command(name = "craton-demo", version)]
struct Arguments {
    /// How many machines
    #[arg(long, default_value_t = 3)]
    nodes: u8,
    /// CPUs of each machine
    #[arg(long, default_value_t = 1)]
    cpus: u8,
    /// Memory of each machine, in MiB
    #[arg(long, default_value_t = 64)]
    memory: u32,
    /// The folder whose files are the text [default: the sources of this build's dependencies]
    #[arg(long)]
    text: Option<PathBuf>,
    /// The folder with the cluster's keys [default: ~/.config/craton/keys]
    #[arg(long, value_name = "FOLDER", env = "CRATON_KEYS")]
    keys: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("craton: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let options = ClusterOptions {
        nodes: arguments.nodes,
        cpus: arguments.cpus,
        memory_mib: arguments.memory,
        kernel: default_kernel()?,
        command_line: String::new(),
        verbose: false,
    };
    let keys_folder = Keys::folder(&arguments.keys)?;
    let (down, downed) = channel();
    let running = boot(&options, "local", keys_folder, down.clone())?;
    let node = running.registered.nodes.first();
    let node = node.ok_or_else(|| Error::new("reach the cluster", "it has no nodes"))?;
    let keys = Keys::load(&running.registered.keys)?;
    let mut client = Client::connect(node.forwarded, &keys)?;
    println!();
    print_nodes(&mut client)?;
    println!();
    let text = Text::find(arguments.text.as_deref())?;
    count(&mut client, &text)?;
    stay(&running, down, &downed)
}

/// Counts on the cluster, counts again here, and compares.
fn count(client: &mut Client, text: &Text) -> Result<()> {
    println!(
        "counting the words of {} in {} files under {}",
        bytes(text.bytes),
        text.files.len(),
        text.folder.display()
    );
    let bundle = std::fs::read(beside("programs/wordcount.craton")?)
        .tried(|| "read the program (make build makes it)".into())?;
    let mut printed = Vec::new();
    let started = Instant::now();
    let total = text.bytes;
    let look = io::stderr().is_terminal();
    let mut tenths = 0;
    let io = RunIo {
        input: Box::new(text.reader()),
        output: &mut |_, bytes| {
            printed.extend_from_slice(bytes);
            Ok(())
        },
        progress: &mut |sent| {
            let now = sent * 10 / total.max(1);
            if now > tenths {
                tenths = now;
                let rate = (sent as f64 / started.elapsed().as_secs_f64()) as u64;
                let end = if look && sent < total { "\r" } else { "\n" };
                eprint!("  {:>3} %  {:>9}  {:>9}/s{end}", now * 10, bytes(sent), bytes(rate));
            }
        },
        stop: None,
    };
    let end = client.run(&bundle, Vec::new(), Place::Here, io)?;
    let elapsed = started.elapsed();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    print!("\n{printed}");
    if !end.reason.is_orderly() {
        return Err(Error::new("count the words", end.reason));
    }
    let rate = (total as f64 / elapsed.as_secs_f64()) as u64;
    println!("\ncounted in {:.2} s: {}/s", elapsed.as_secs_f64(), bytes(rate));
    let counts = wordcount_reference::count(text.reader()).tried(|| "count here".into())?;
    let expected = String::from_utf8_lossy(&wordcount_reference::render(&counts)).into_owned();
    if printed != expected {
        let happened = format!("the cluster's answer differs; this machine counts\n{expected}");
        return Err(Error::new("check the result", happened));
    }
    println!("a plain count on this machine gives the same");
    Ok(())
}

/// On a terminal: tells how to reach the cluster and stays. Else ends at once.
fn stay(running: &Running, down: std::sync::mpsc::Sender<()>, downed: &Receiver<()>) -> Result<()> {
    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        println!("shutting {} machines down", running.cluster.nodes().len());
        return Ok(());
    }
    signals::forward_to(down)?;
    println!("\nthe cluster stays up; from another terminal, in this folder:");
    println!("  build/craton nodes");
    println!("  build/craton ps");
    println!("  build/craton run build/programs/hello.craton");
    println!("  build/craton run build/programs/wordcount.craton < FILE");
    println!("  build/craton logs --node n2");
    println!("Ctrl-C here, or build/craton down, ends it");
    // Only threads that never end hold the other end.
    let _ = downed.recv();
    println!("shutting {} machines down", running.cluster.nodes().len());
    Ok(())
}

fn beside(name: &str) -> Result<PathBuf> {
    let tool = std::env::current_exe().tried(|| "find the demo's own folder".into())?;
    Ok(tool.parent().unwrap_or(Path::new(".")).join(name))
}

/// The files to count, in a fixed order.
struct Text {
    folder: PathBuf,
    files: Vec<PathBuf>,
    bytes: u64,
}

impl Text {
    /// All files under the folder that was given, or enough of cargo's source folder.
    fn find(given: Option<&Path>) -> Result<Self> {
        let folder = given.map_or_else(cargo_sources, |folder| Ok(folder.to_path_buf()))?;
        let mut files = Vec::new();
        list(&folder, given.is_none(), &mut files)?;
        files.sort();
        let mut text = Text { folder, files: Vec::new(), bytes: 0 };
        for (path, length) in files {
            if given.is_none() && text.bytes >= TEXT_BYTES_WANTED {
                break;
            }
            text.bytes += length;
            text.files.push(path);
        }
        if text.bytes == 0 {
            let tried = format!("find text under {}", text.folder.display());
            return Err(Error::new(tried, "there is none").advise("make run TEXT=FOLDER"));
        }
        Ok(text)
    }

    fn reader(&self) -> impl Read + Send + use<> {
        let files = self.files.clone().into_iter();
        Concatenated { files, current: None }
    }
}

fn cargo_sources() -> Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let folder = home.map(|home| home.join("registry").join("src"));
    folder.filter(|folder| folder.exists()).ok_or_else(|| {
        Error::new("find the sources of the dependencies", "cargo keeps none here")
            .advise("make run TEXT=FOLDER")
    })
}

fn list(folder: &Path, only_text: bool, files: &mut Vec<(PathBuf, u64)>) -> Result<()> {
    let tried = || format!("list {}", folder.display());
    for entry in std::fs::read_dir(folder).tried(tried)? {
        let entry = entry.tried(tried)?;
        let kind = entry.file_type().tried(tried)?;
        let path = entry.path();
        if kind.is_dir() {
            list(&path, only_text, files)?;
        } else if kind.is_file() {
            let extension = path.extension().and_then(|extension| extension.to_str());
            if !only_text || matches!(extension, Some("rs" | "md" | "txt")) {
                files.push((path, entry.metadata().tried(tried)?.len()));
            }
        }
    }
    Ok(())
}

/// Files read one after the other, each read as long as it can be.
struct Concatenated {
    files: std::vec::IntoIter<PathBuf>,
    current: Option<File>,
}

impl Read for Concatenated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let count = match &mut self.current {
                Some(file) => file.read(&mut buffer[filled..])?,
                None => 0,
            };
            filled += count;
            if count == 0 {
                match self.files.next() {
                    Some(path) => self.current = Some(File::open(path)?),
                    None => break,
                }
            }
        }
        Ok(filled)
    }
}
