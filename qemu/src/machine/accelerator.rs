//! Which accelerator QEMU runs a machine with.
//!
//! Owns the decision between KVM and TCG. The mere presence of `/dev/kvm` is not enough: some
//! hosts offer a nested KVM without hardware virtualisation behind it, which emulates ring 0 and
//! stops at the kernel's first SSE instruction. Neighbour: `command`, which renders the choice.

use std::fs;

/// How the guest's instructions are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// Hardware virtualisation through `/dev/kvm`, with the host's own CPU model.
    Kvm,
    /// Translation by QEMU, with every CPU feature that it can emulate.
    Tcg,
}

impl Accelerator {
    /// KVM where the CPU has `vmx` or `svm` and `/dev/kvm` opens for reading and writing; else TCG.
    pub fn detect() -> Accelerator {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        if has_virtualisation(&cpuinfo) && kvm_opens() {
            Accelerator::Kvm
        } else {
            Accelerator::Tcg
        }
    }
}

fn kvm_opens() -> bool {
    fs::File::options().read(true).write(true).open("/dev/kvm").is_ok()
}

fn has_virtualisation(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(key, _)| key.trim() == "flags")
        .any(|(_, flags)| flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_flags_line_counts() {
        assert!(has_virtualisation("model name\t: A\nflags\t\t: fpu vmx sse2\n"));
        assert!(has_virtualisation("flags\t\t: svm\n"));
        assert!(!has_virtualisation("flags\t\t: fpu svm_lock vmxnet sse2\n"));
        assert!(!has_virtualisation("model name\t: vmx svm\nflags\t\t: fpu\n"));
        assert!(!has_virtualisation(""));
    }
}
