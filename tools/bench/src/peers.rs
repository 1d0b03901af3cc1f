//! What a user would run instead: Linux guests, under the same QEMU, in the same run.
//!
//! Owns finding the built peers (a folder outside the repository, `CRATON_PEERS`), running their
//! benchmarks, and which of their figures stands beside which row. They print one JSON object a
//! line. Whatever of them fails is a dash and a complaint, not the end of the run.

use crate::bench::Section;
use crate::erlang::Erlang;
use crate::net;
use crate::report::{MIB, Peer, PeerFigures};
use craton_qemu::Accelerator;
use craton_tool::complain;
use craton_tool::error::{Context, Error, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Kernels that the peers may have been built with, the leanest first.
const KERNELS: [(&str, &str); 2] = [("vmlinux-lean", "min"), ("vmlinux-debian", "debian")];

/// Built peers.
pub struct Peers {
    folder: PathBuf,
    kernel: &'static str,
}

impl Peers {
    /// The peers in this folder.
    ///
    /// # Errors
    ///
    /// If they are not built.
    pub fn open(folder: &Path) -> Result<Self> {
        let built = |(file, name)| folder.join("out").join(file).exists().then_some(name);
        let kernel = KERNELS.into_iter().find_map(built).ok_or_else(|| {
            Error::new(format!("find the peers in {}", folder.display()), "they are not built")
                .advise("./build.sh in that folder")
        })?;
        Ok(Peers { folder: folder.to_path_buf(), kernel })
    }

    /// Their Erlang/OTP, which runs on this host too.
    pub fn erlang(&self) -> Option<Erlang> {
        Erlang::at(&self.folder.join("root/usr/lib/erlang"))
    }

    /// Something that was built there.
    pub fn built(&self, file: &str) -> PathBuf {
        self.folder.join("out").join(file)
    }

    /// Their Linux kernel.
    pub fn kernel(&self) -> PathBuf {
        let file = KERNELS.into_iter().find(|(_, name)| *name == self.kernel);
        self.built(file.map_or("", |(file, _)| file))
    }

    /// One phrase on what the peers are.
    pub fn phrase(&self) -> String {
        format!("Linux guests with the kernel '{}', of {}", self.kernel, self.folder.display())
    }

    /// Measures what stands beside a section's rows.
    pub fn measure(&self, section: Section) -> PeerFigures {
        let mut figures = PeerFigures::new();
        if section == Section::Net {
            match self.network() {
                Ok(rows) => figures.extend(rows),
                Err(error) => complain!("craton-bench: {error}"),
            }
        }
        for script in self.scripts(section) {
            match self.run(&script) {
                Ok(lines) => lines.iter().for_each(|line| place(line, &mut figures)),
                Err(error) => complain!("craton-bench: {error}"),
            }
        }
        figures
    }

    /// The lean guest, booted and asked as a node is.
    fn network(&self) -> Result<PeerFigures> {
        let image = self.built("lean.cpio");
        let rows = net::measure(net::Guest::Lean, &self.kernel(), Some(&image))?;
        Ok(rows.iter().map(|row| ((row.name, Peer::Lean), row.median())).collect())
    }

    fn scripts(&self, section: Section) -> Vec<String> {
        let kernel = self.kernel;
        let accel = match Accelerator::detect() {
            Accelerator::Kvm => "kvm",
            Accelerator::Tcg => "tcg",
        };
        let boot = format!("boot.py --accel {accel} --machines q35");
        match section {
            Section::Boot => vec![
                format!("{boot} -n 7 --guests lean-{kernel},beam-{kernel}"),
                // For their size alone: compressed, as one would ship them.
                format!("{boot} -n 0 --guests lean-{kernel}-bz,beam-{kernel}-bz"),
            ],
            Section::Memory => {
                vec![format!("{boot} -n 1 --min-mem --guests lean-{kernel},beam-{kernel}")]
            }
            Section::Processes => vec![
                format!("micro.py --where {accel} --guest beam-{kernel} --runs 5"),
                format!("cluster.py --where {accel} --guest beam-{kernel} --nodes 2"),
            ],
            // As it is without any setting: a tick of 60 s.
            Section::Loss => vec![format!(
                "cluster.py --where {accel} --guest beam-{kernel} --nodes 3 --ticktime 60"
            )],
            // The network is asked by clients of our own, see `network`.
            Section::Words
            | Section::Heap
            | Section::Idle
            | Section::Turns
            | Section::Host
            | Section::Net => Vec::new(),
        }
    }

    fn run(&self, script: &str) -> Result<Vec<Value>> {
        let tried = || format!("run the peers' {script}");
        // If this process ends, they are interrupted, and then end their own machines.
        let output = Command::new("setpriv")
            .args(["--pdeathsig", "INT", "--", "python3"])
            .args(script.split(' ').enumerate().map(|(index, word)| match index {
                0 => self.folder.join("bench").join(word).into_os_string(),
                _ => word.into(),
            }))
            .stderr(Stdio::inherit())
            .output()
            .tried(tried)?;
        if !output.status.success() {
            return Err(Error::new(tried(), output.status));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }
}

/// Puts the figure of one of the peers' lines beside its row.
fn place(line: &Value, figures: &mut PeerFigures) {
    let text = |field: &str| line[field].as_str().unwrap_or_default();
    let number = |field: &str| line[field].as_f64();
    let peer = if text("guest").starts_with("lean") { Peer::Lean } else { Peer::Beam };
    let two = number("nodes") == Some(2.0);
    let mut put = |row, value: Option<f64>, scale: f64| {
        if let Some(value) = value {
            figures.insert((row, peer), value * scale);
        }
    };
    match text("bench") {
        "image" if text("guest").ends_with("-bz") => put("image", number("total_bytes"), 1.0),
        "boot" if number("n") > Some(1.0) => {
            put("boot.ready.seabios", number("wall_s"), 1.0);
            put("memory.resident", number("rss_mib"), MIB);
        }
        "min_mem" => put("memory.ready", number("min_mem_mib"), MIB),
        "micro.spawn_exit" => put("process.spawn", number("value"), 1e-9),
        "micro.pingpong_roundtrip" => {
            put("process.pingpong", number("value"), 1e-9);
            put("bench.pingpong", number("value"), 1e-9);
        }
        "micro.ring_1000x1000" => {
            put("bench.threadring", number("value").map(|hops| 1.0 / hops), 1.0);
        }
        "micro.skynet_100k" => put("bench.skynet", number("value"), 1e-3 / 1e5),
        "micro.fib_30" => put("bench.fib", number("value"), 1e-3),
        "cluster.dist_rtt" if number("bytes") == Some(32.0) && two => {
            put("remote.pingpong", number("value"), 1e-6);
        }
        "cluster.dist_spawn_sync" if two => put("remote.spawn", number("value"), 1e-6),
        "cluster.detect_vanished" => put("loss.told", number("value"), 1e-3),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn placed(line: &Value) -> PeerFigures {
        let mut figures = PeerFigures::new();
        place(line, &mut figures);
        figures
    }

    #[test]
    fn figures_find_their_rows_in_their_units() {
        let boot = json!({"bench": "boot", "guest": "lean-min", "n": 7, "wall_s": 0.6,
            "rss_mib": 100.0});
        let expected = PeerFigures::from([
            (("boot.ready.seabios", Peer::Lean), 0.6),
            (("memory.resident", Peer::Lean), 100.0 * MIB),
        ]);
        assert_eq!(placed(&boot), expected);
        let ring = json!({"bench": "micro.ring_1000x1000", "guest": "beam-min", "value": 4e5});
        assert_eq!(placed(&ring), PeerFigures::from([(("bench.threadring", Peer::Beam), 2.5e-6)]));
        let trip = json!({"bench": "cluster.dist_rtt", "nodes": 2, "bytes": 32,
            "value": 500.0});
        assert_eq!(placed(&trip), PeerFigures::from([(("remote.pingpong", Peer::Beam), 500e-6)]));
    }

    #[test]
    fn what_stands_beside_no_row_is_passed_over() {
        for line in [
            json!({"bench": "image", "guest": "lean-min", "total_bytes": 9}),
            json!({"bench": "boot", "guest": "lean-min", "ok": false}),
            json!({"bench": "cluster.dist_rtt", "nodes": 2, "bytes": 1024, "value": 1.0}),
            json!({"bench": "cluster.dist_rtt", "nodes": 3, "bytes": 32, "value": 1.0}),
            json!({"bench": "micro.unknown", "value": 1.0}),
            json!([1, 2]),
        ] {
            assert_eq!(placed(&line), PeerFigures::new(), "{line}");
        }
    }
}
